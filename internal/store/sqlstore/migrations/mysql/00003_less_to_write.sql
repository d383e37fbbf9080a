-- +goose NO TRANSACTION
-- +goose Up

-- What reads a user's rows of all states by number goes by the index on state and
-- number, one place of it for each state. The one on the number alone cost each
-- INSERT a quarter of its time.
--
-- Only the one goes that the first migration has created: by its name, and with its
-- columns. Not one that another SDK or an administrator made.

SET @gateway_ddl = (SELECT IF(COUNT(*) = 0, 'DO 0', 'DROP INDEX idx_push_messages_user_seq ON push_messages')
    FROM (SELECT GROUP_CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '') ORDER BY seq_in_index) AS indexed
        FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND index_name = 'idx_push_messages_user_seq'
        GROUP BY index_name) existing
    WHERE indexed = 'target_user_id,seq');
PREPARE gateway_statement FROM @gateway_ddl;
EXECUTE gateway_statement;
DEALLOCATE PREPARE gateway_statement;
