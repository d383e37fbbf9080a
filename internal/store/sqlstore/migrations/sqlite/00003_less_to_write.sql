-- +goose NO TRANSACTION
-- +goose Up

-- A row is in one index of its user's rows, where it was in two: unfinished ones
-- by state, the others by number only. A send writes a page less, and pages are
-- what a commit consists of. A statement that names the condition of an index,
-- word for word, can use it.
CREATE INDEX IF NOT EXISTS idx_push_messages_user_unfinished ON push_messages (target_user_id, status, seq, id)
    WHERE status IN ('PENDING', 'DELIVERING', 'REQUEST_DELIVERED');
CREATE INDEX IF NOT EXISTS idx_push_messages_user_ended ON push_messages (target_user_id, seq, id)
    WHERE status NOT IN ('PENDING', 'DELIVERING', 'REQUEST_DELIVERED');
-- Answers name a command by this, whatever its state.
CREATE INDEX IF NOT EXISTS idx_push_messages_user_request ON push_messages (target_user_id, command_request_id)
    WHERE push_type = 2;
DROP INDEX IF EXISTS idx_push_messages_user_status_seq;
DROP INDEX IF EXISTS idx_push_messages_user_seq;
