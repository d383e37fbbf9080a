-- +goose NO TRANSACTION
-- +goose Up

-- The table of the wire contract, unless another SDK has created it: then it
-- stays as it is and only lacking indexes are added below.
--
-- Ids have a binary collation, so that "Bob" and "bob" are two users. Times are
-- DATETIME(6) in UTC, not TIMESTAMP: they do not end in 2038, do not depend on the
-- time_zone of a session, and no server gives the first of them an automatic
-- update, as MariaDB and older MySQL do with TIMESTAMP columns.
CREATE TABLE IF NOT EXISTS push_messages (
    id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    sender_type VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    sender_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    target_user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    push_type INT NOT NULL,
    seq BIGINT NULL,
    payload JSON NULL,
    status VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    command_request_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    command_response JSON NULL,
    command_response_queue VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    nonce VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    expired_at DATETIME(6) NULL,
    retry_interval INT NULL,
    delivering_at DATETIME(6) NULL,
    request_delivered_at DATETIME(6) NULL,
    finished_at DATETIME(6) NULL,
    created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    deleted_at DATETIME(6) NULL,
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC;

-- Each index below is created unless one starts with the same columns, whatever
-- its name. An index on the start of a column (sub_part) does not count.

SET @gateway_ddl = (SELECT IF(COUNT(*) > 0, 'DO 0',
    'CREATE INDEX idx_push_messages_user_status_seq ON push_messages (target_user_id, status, seq)')
    FROM (SELECT CONCAT(GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index), ',') AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_type = 'BTREE'
        GROUP BY index_name) existing
    WHERE indexed LIKE 'target_user_id,status,seq,%');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;

SET @gateway_ddl = (SELECT IF(COUNT(*) > 0, 'DO 0',
    'CREATE INDEX idx_push_messages_user_seq ON push_messages (target_user_id, seq)')
    FROM (SELECT CONCAT(GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index), ',') AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_type = 'BTREE'
        GROUP BY index_name) existing
    WHERE indexed LIKE 'target_user_id,seq,%');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;

SET @gateway_ddl = (SELECT IF(COUNT(*) > 0, 'DO 0',
    'CREATE INDEX idx_push_messages_status_expired ON push_messages (status, expired_at)')
    FROM (SELECT CONCAT(GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index), ',') AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_type = 'BTREE'
        GROUP BY index_name) existing
    WHERE indexed LIKE 'status,expired_at,%');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;

SET @gateway_ddl = (SELECT IF(COUNT(*) > 0, 'DO 0',
    'CREATE INDEX idx_push_messages_status_finished ON push_messages (status, finished_at)')
    FROM (SELECT CONCAT(GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index), ',') AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_type = 'BTREE'
        GROUP BY index_name) existing
    WHERE indexed LIKE 'status,finished_at,%');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;
