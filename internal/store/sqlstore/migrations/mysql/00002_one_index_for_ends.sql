-- +goose NO TRANSACTION
-- +goose Up

-- One index finds what has expired and what may be purged, where there were two:
-- a row that changes its state is moved in every index that holds the state.
-- Unfinished and timed out rows have no finished_at.

SET @gateway_ddl = (SELECT IF(COUNT(*) > 0, 'DO 0',
    'CREATE INDEX idx_push_messages_status_finished_expired ON push_messages (status, finished_at, expired_at)')
    FROM (SELECT CONCAT(GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index), ',') AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_type = 'BTREE'
        GROUP BY index_name) existing
    WHERE indexed LIKE 'status,finished_at,expired_at,%');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;

-- Only those go that the first migration has created: by its names, and with
-- its columns. Not one that another SDK or an administrator made.

SET @gateway_ddl = (SELECT IF(COUNT(*) = 0, 'DO 0', 'DROP INDEX idx_push_messages_status_expired ON push_messages')
    FROM (SELECT GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index) AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_name = 'idx_push_messages_status_expired'
        GROUP BY index_name) existing
    WHERE indexed = 'status,expired_at');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;

SET @gateway_ddl = (SELECT IF(COUNT(*) = 0, 'DO 0', 'DROP INDEX idx_push_messages_status_finished ON push_messages')
    FROM (SELECT GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index) AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_name = 'idx_push_messages_status_finished'
        GROUP BY index_name) existing
    WHERE indexed = 'status,finished_at');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;
