-- +goose NO TRANSACTION
-- +goose Up

-- Times are text in UTC with microseconds, which compares in order of time.
-- The CHECKs refuse what MySQL would.
CREATE TABLE IF NOT EXISTS push_messages (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) <= 64),
    sender_type TEXT CHECK (length(sender_type) <= 32),
    sender_id TEXT CHECK (length(sender_id) <= 255),
    target_user_id TEXT NOT NULL CHECK (length(target_user_id) <= 255),
    push_type INTEGER NOT NULL,
    seq INTEGER,
    payload TEXT CHECK (json_valid(payload)),
    status TEXT NOT NULL CHECK (length(status) <= 32),
    command_request_id TEXT CHECK (length(command_request_id) <= 64),
    command_response TEXT CHECK (json_valid(command_response)),
    command_response_queue TEXT CHECK (length(command_response_queue) <= 255),
    nonce TEXT CHECK (length(nonce) <= 64),
    expired_at TEXT,
    retry_interval INTEGER,
    delivering_at TEXT,
    request_delivered_at TEXT,
    finished_at TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')),
    deleted_at TEXT
);

-- The id at the end gives the order (seq, id) without sorting.
CREATE INDEX IF NOT EXISTS idx_push_messages_user_status_seq ON push_messages (target_user_id, status, seq, id);
CREATE INDEX IF NOT EXISTS idx_push_messages_user_seq ON push_messages (target_user_id, seq, id);
CREATE INDEX IF NOT EXISTS idx_push_messages_status_expired ON push_messages (status, expired_at);
CREATE INDEX IF NOT EXISTS idx_push_messages_status_finished ON push_messages (status, finished_at);
