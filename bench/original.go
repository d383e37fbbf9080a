package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/wire"
)

// original is what the Python SDK of the wire contract does for each send,
// written plainly in Go: one INCR, one INSERT, one publish without confirm, one
// after the other. Its publishes take turns: the connection is not safe for
// concurrent use.
type original struct {
	redis *redis.Client
	db    *sql.DB
	names wire.Names

	conn *amqp.Connection
	mu   sync.Mutex
	ch   *amqp.Channel
}

func newOriginal(b *bench, in *install) (*original, error) {
	o := &original{names: in.names, redis: redis.NewClient(&redis.Options{Addr: b.redis, ContextTimeoutEnabled: true})}
	var err error
	if o.db, err = in.openDB(32); err != nil {
		return nil, err
	}
	if o.conn, err = amqp.Dial(b.rabbit); err != nil {
		return nil, err
	}
	if o.ch, err = o.conn.Channel(); err != nil {
		return nil, err
	}
	return o, o.ch.ExchangeDeclare(o.names.Exchange(), amqp.ExchangeDirect, true, false, false, false, nil)
}

func (o *original) close() {
	_ = o.conn.Close()
	_ = o.redis.Close()
	_ = o.db.Close()
}

// insertOne has the columns that the library fills.
const (
	insertHead = `INSERT INTO push_messages (id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
nonce, created_at, updated_at) VALUES `
	insertRow = `(?,?,?,?,?,?,?,?,?,?,?)`
)

func (o *original) send(ctx context.Context, user string, body json.RawMessage) error {
	id, err := o.store(ctx, user, body)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ch.PublishWithContext(ctx, o.names.Exchange(), wire.RoutingKey, false, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: []byte(`{"message_id":"` + id + `"}`),
	})
}

// store is a bare INCR followed by a bare INSERT.
func (o *original) store(ctx context.Context, user string, body json.RawMessage) (id string, err error) {
	seq, err := o.redis.Incr(ctx, o.names.Seq(user)).Result()
	if err != nil {
		return "", err
	}
	id = uuid.NewString()
	_, err = o.db.ExecContext(ctx, insertHead+insertRow, rowArgs(nil, id, user, seq, body)...)
	return id, err
}

// timeFormat is how times cross to the database.
const timeFormat = "2006-01-02 15:04:05.000000"

func rowArgs(args []any, id, user string, seq int64, body json.RawMessage) []any {
	now := time.Now().UTC().Format(timeFormat)
	return append(args, id, "server", "backend_1", user, int64(wire.Reliable), seq, string(body), "PENDING", uuid.NewString(), now, now)
}
