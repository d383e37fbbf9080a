package sqlstore

import (
	"database/sql"
	"encoding/json"
	"time"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// row is what selectColumns reads.
type row struct {
	ID                 string         `db:"id"`
	SenderType         sql.NullString `db:"sender_type"`
	SenderID           sql.NullString `db:"sender_id"`
	UserID             string         `db:"target_user_id"`
	PushType           int            `db:"push_type"`
	Seq                sql.NullInt64  `db:"seq"`
	Payload            sql.NullString `db:"payload"`
	Status             string         `db:"status"`
	RequestID          sql.NullString `db:"command_request_id"`
	Response           sql.NullString `db:"command_response"`
	ResponseQueue      sql.NullString `db:"command_response_queue"`
	Nonce              sql.NullString `db:"nonce"`
	ExpiredAt          sql.NullString `db:"expired_at"`
	RetryInterval      sql.NullInt64  `db:"retry_interval"`
	DeliveringAt       sql.NullString `db:"delivering_at"`
	RequestDeliveredAt sql.NullString `db:"request_delivered_at"`
	FinishedAt         sql.NullString `db:"finished_at"`
	CreatedAt          sql.NullString `db:"created_at"`
	UpdatedAt          sql.NullString `db:"updated_at"`
}

func (r *row) message() (*store.Message, error) {
	m := &store.Message{
		ID:            r.ID,
		SenderType:    r.SenderType.String,
		SenderID:      r.SenderID.String,
		UserID:        r.UserID,
		PushType:      wire.PushType(r.PushType),
		Seq:           r.Seq.Int64,
		Payload:       rawJSON(r.Payload),
		Status:        wire.Status(r.Status),
		RequestID:     r.RequestID.String,
		Response:      response(wire.Status(r.Status), r.Response),
		ResponseQueue: r.ResponseQueue.String,
		Nonce:         r.Nonce.String,
		RetryInterval: time.Duration(r.RetryInterval.Int64) * time.Millisecond,
	}
	for _, t := range []struct {
		column string
		text   sql.NullString
		to     *time.Time
	}{
		{"expired_at", r.ExpiredAt, &m.ExpiresAt},
		{"delivering_at", r.DeliveringAt, &m.DeliveringAt},
		{"request_delivered_at", r.RequestDeliveredAt, &m.RequestDeliveredAt},
		{"finished_at", r.FinishedAt, &m.FinishedAt},
		{"created_at", r.CreatedAt, &m.CreatedAt},
		{"updated_at", r.UpdatedAt, &m.UpdatedAt},
	} {
		var err error
		if *t.to, err = parseTime(t.column, t.text); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func messages(rows []row) ([]*store.Message, error) {
	msgs := make([]*store.Message, len(rows))
	for i := range rows {
		m, err := rows[i].message()
		if err != nil {
			return nil, err
		}
		msgs[i] = m
	}
	return msgs, nil
}

func rawJSON(v sql.NullString) json.RawMessage {
	if !v.Valid {
		return nil
	}
	return json.RawMessage(v.String)
}

// response reads command_response. The ORM of the original writes the JSON
// value null into it where it means that there is none yet, so null counts as
// an answer only in a row that is FINISHED.
func response(status wire.Status, v sql.NullString) json.RawMessage {
	if v.String == "null" && status != wire.Finished {
		return nil
	}
	return rawJSON(v)
}

// textArg gives a string as an argument; NULL for the empty string.
func textArg(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// jsonArg gives JSON as text: MySQL refuses binary strings for JSON columns.
func jsonArg(j json.RawMessage) any {
	if j == nil {
		return nil
	}
	return string(j)
}

// numberArg gives a number as an argument; NULL for zero.
func numberArg(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
