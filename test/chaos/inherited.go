package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// originalTable is push_messages as the original SDK makes it.
const originalTable = `CREATE TABLE push_messages (
	id VARCHAR(64) NOT NULL, sender_type VARCHAR(64), sender_id VARCHAR(255), target_user_id VARCHAR(255) NOT NULL,
	push_type INTEGER NOT NULL, seq BIGINT, payload JSON, status VARCHAR(64) NOT NULL, command_request_id VARCHAR(64),
	command_response JSON, command_response_queue VARCHAR(255), nonce VARCHAR(64), expired_at TIMESTAMP(6) NULL, retry_interval INTEGER,
	delivering_at TIMESTAMP(6) NULL, request_delivered_at TIMESTAMP(6) NULL, finished_at TIMESTAMP(6) NULL,
	created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
	deleted_at TIMESTAMP(6) NULL, PRIMARY KEY (id))`

// inherited is a row that the original SDK wrote before this run.
type inherited struct {
	id, user string
	// untouched says that it is none of a node's business any more; in that
	// case status is what it stays.
	untouched bool
	status    string
}

// inheritedRows are the states in which rows are found. Times are in seconds
// from now.
var inheritedRows = []struct {
	pushType              int
	status                string
	seq, expired, deleted any
	response              any
	untouched             bool
}{
	{1, "PENDING", 1, nil, nil, nil, false},
	{1, "DELIVERING", 2, nil, nil, nil, false},
	{1, "PENDING", nil, nil, nil, nil, false},
	{1, "FINISHED", 4, nil, nil, nil, true},
	{1, "PENDING", 5, nil, -60, nil, true},
	{2, "PENDING", 6, 60, nil, "null", false}, // as its ORM writes what is not there
	{2, "DELIVERING", 7, 60, nil, nil, false},
	{2, "REQUEST_DELIVERED", 8, 60, nil, nil, false},
	{2, "PENDING", 9, -3600, nil, nil, false},
	{2, "FINISHED", 10, 60, nil, `{"ok":true}`, true},
	{2, "TIMED_OUT", 11, -3600, nil, nil, true},
}

// inherit makes the table of the original SDK with rows in every state, for a
// user of each kind.
func inherit(ctx context.Context, db *sql.DB, l *ledger) error {
	if _, err := db.ExecContext(ctx, originalTable); err != nil {
		return fmt.Errorf("the original's table: %w", err)
	}
	for i := range kinds {
		for k, row := range inheritedRows {
			p := payload{User: userName(i), N: fmt.Sprintf("inherited.%d.%d", i, k)}
			body, err := json.Marshal(p)
			if err != nil {
				return err
			}
			var request any
			if row.pushType == typeCommand {
				body, request = fmt.Appendf(nil, `{"type": "CHAOS", "data": %s}`, body), uuid.NewString()
			}
			id := uuid.NewString()
			_, err = db.ExecContext(ctx, `INSERT INTO push_messages (id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
				command_request_id, command_response, nonce, expired_at, retry_interval, deleted_at, created_at, updated_at)
				VALUES (?, 'server', 'python', ?, ?, ?, ?, ?, ?, ?, UUID(), UTC_TIMESTAMP(6) + INTERVAL ? SECOND, 60000,
				UTC_TIMESTAMP(6) + INTERVAL ? SECOND, UTC_TIMESTAMP(6) - INTERVAL 2 HOUR, UTC_TIMESTAMP(6))`,
				id, p.User, row.pushType, row.seq, string(body), row.status, request, row.response, row.expired, row.deleted)
			if err != nil {
				return fmt.Errorf("row of the original: %w", err)
			}
			l.note(record{Kind: kindSend, Op: opInherited, ID: id, N: p.N, User: p.User})
			l.inherit(p.N, inherited{id: id, user: p.User, untouched: row.untouched, status: row.status})
		}
	}
	return nil
}

func (l *ledger) inherit(n string, in inherited) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inherited[n] = in
}

// checkInherited: what was over is as it was, and nobody received it.
func (a *account) checkInherited(complain func(string, ...any)) {
	for n, in := range a.ledger.inherited {
		row := a.rows[n]
		if !in.untouched || row == nil {
			continue
		}
		if r, received := a.ledger.receipts[n]; received || row.status != in.status {
			complain("message %s (%s) of %s was over before this run as %s; it is %s now, received %v", n, in.id, in.user, in.status, row.status, r)
		}
	}
}
