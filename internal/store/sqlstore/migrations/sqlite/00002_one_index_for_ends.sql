-- +goose NO TRANSACTION
-- +goose Up

-- One index finds what has expired and what may be purged, where there were two:
-- a row that changes its state is moved in every index that holds the state.
-- Unfinished and timed out rows have no finished_at.
CREATE INDEX IF NOT EXISTS idx_push_messages_status_finished_expired ON push_messages (status, finished_at, expired_at);
DROP INDEX IF EXISTS idx_push_messages_status_expired;
DROP INDEX IF EXISTS idx_push_messages_status_finished;
