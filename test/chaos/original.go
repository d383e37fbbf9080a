package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
)

// The original SDK and the original gateway, as far as the wire contract tells:
// this file has drivers and nothing of the library. The SDK sends to the users
// of our nodes, and our senders send to the users of the gateway.
const (
	originalUsers    = 2
	originalExchange = "ws.message.direct.exchange"
	originalKey      = "ws.message.direct"
	// originalRate is that of the SDK, in sends a second.
	originalRate = 6
	// originalTimeout is that of its commands.
	originalTimeout = 4 * time.Second
	// originalSweep is how often its gateway looks for rows of which nobody told it.
	originalSweep = 2 * time.Second
)

func originalUser(i int) string { return fmt.Sprintf("original-%d", i) }

type original struct {
	cfg   procConfig
	log   *slog.Logger
	out   *recorder
	db    *sql.DB
	redis *redis.Client

	mu      sync.Mutex
	ch      *amqp.Channel
	queue   string
	waiting map[string]chan string // by correlation id
	count   int
	answers int
}

func runOriginal(c procConfig, log *slog.Logger, out *recorder) int {
	db, err := openDB(c.MySQL, dbUser)
	if err != nil {
		log.Error("not started", "error", err)
		return 1
	}
	o := &original{
		cfg: c, log: log, out: out, db: db, waiting: map[string]chan string{},
		redis: redis.NewClient(&redis.Options{Addr: c.Redis, MaxRetries: -1}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go o.connect(ctx)
	go o.sweep(ctx)
	stop := make(chan struct{})
	var sends sync.WaitGroup
	sends.Go(func() { o.send(ctx, stop) })
	out.put(record{Kind: kindUp, From: c.Name})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && lines.Text() != orderStop {
	}
	close(stop)
	sends.Wait()
	// The gateway goes on for what is still on its way.
	out.put(record{Kind: kindIdle, From: c.Name})
	for lines.Scan() {
	}
	return 0
}

// connect keeps a connection to RabbitMQ. Whoever waits for an answer while it
// breaks loses it: so does the original.
func (o *original) connect(ctx context.Context) {
	for ctx.Err() == nil {
		if err := o.consume(ctx); err != nil {
			o.log.Info("rabbitmq", "error", err)
		}
		_ = sleep(ctx, 300*time.Millisecond)
	}
}

func (o *original) consume(ctx context.Context) error {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+o.cfg.Rabbit+"/", amqp.Config{Heartbeat: 2 * time.Second, Dial: amqp.DefaultDial(3 * time.Second)})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.ExchangeDeclare(originalExchange, "direct", true, false, false, false, nil); err != nil {
		return err
	}
	replies, err := ch.QueueDeclare("", false, true, true, false, nil) // exclusive, auto-delete, named by the server
	if err != nil {
		return err
	}
	if _, err := ch.QueueDeclare("original.gateway", true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind("original.gateway", originalKey, originalExchange, false, nil); err != nil {
		return err
	}
	answers, err := ch.ConsumeWithContext(ctx, replies.Name, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	notifications, err := ch.ConsumeWithContext(ctx, "original.gateway", "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.ch, o.queue = ch, replies.Name
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		o.ch = nil
		o.mu.Unlock()
	}()
	for {
		select {
		case a, ok := <-answers:
			if !ok {
				return errOver
			}
			o.mu.Lock()
			if waiter := o.waiting[a.CorrelationId]; waiter != nil {
				waiter <- string(a.Body)
				delete(o.waiting, a.CorrelationId)
			}
			o.mu.Unlock()
		case n, ok := <-notifications:
			if !ok {
				return errOver
			}
			var body struct {
				MessageID string `json:"message_id"`
			}
			if err := json.Unmarshal(n.Body, &body); err != nil || body.MessageID == "" {
				o.log.Error("a notification without message", "body", string(n.Body))
				continue
			}
			o.deliver(ctx, body.MessageID)
		}
	}
}

var errOver = errors.New("a consumer is over")

// publish returns an error where there is no connection.
func (o *original) publish(ctx context.Context, exchange, key string, p amqp.Publishing) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ch == nil {
		return amqp.ErrClosed
	}
	p.ContentType, p.DeliveryMode = "application/json", amqp.Persistent
	return o.ch.PublishWithContext(ctx, exchange, key, false, false, p)
}

// sweep delivers what nobody told the gateway of.
func (o *original) sweep(ctx context.Context) {
	for sleep(ctx, originalSweep) == nil {
		o.deliver(ctx, "")
	}
}

// found is an unfinished row for a user of the gateway.
type found struct {
	id, user, body, request, queue string
	kind                           int
}

// find reads one row, or those of all its users.
func (o *original) find(ctx context.Context, id string) (all []found, err error) {
	rows, err := o.db.QueryContext(ctx, `SELECT id, target_user_id, push_type, payload, IFNULL(command_request_id, ''), IFNULL(command_response_queue, '')
		FROM push_messages WHERE (? = '' OR id = ?) AND target_user_id LIKE 'original-%' AND status NOT IN ('FINISHED', 'TIMED_OUT')
		AND deleted_at IS NULL AND (expired_at IS NULL OR expired_at > UTC_TIMESTAMP(6)) LIMIT 200`, id, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var f found
		if err := rows.Scan(&f.id, &f.user, &f.kind, &f.body, &f.request, &f.queue); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, rows.Err()
}

// deliver is a gateway's work on a row, or on all that are for its users: their
// devices receive, acknowledge and answer at once.
func (o *original) deliver(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	all, err := o.find(ctx, id)
	if err != nil {
		return // the next round finds them
	}
	for _, f := range all {
		var p struct {
			payload
			Data payload `json:"data"`
		}
		if err := json.Unmarshal([]byte(f.body), &p); err != nil {
			o.log.Error("payload", "id", f.id, "error", err)
			continue
		}
		got := record{Kind: kindGot, From: o.cfg.Name, ID: f.id, N: p.N + p.Data.N, User: f.user, End: micros(time.Now())}
		if f.kind != typeCommand {
			o.out.put(got)
			_, _ = o.db.ExecContext(ctx, `UPDATE push_messages SET status = 'FINISHED', delivering_at = UTC_TIMESTAMP(6), finished_at = UTC_TIMESTAMP(6),
				updated_at = UTC_TIMESTAMP(6) WHERE id = ? AND status <> 'FINISHED'`, f.id)
			continue
		}
		o.mu.Lock()
		o.answers++
		got.Answer = fmt.Sprintf(`{"by":%q,"k":%d}`, o.cfg.Name, o.answers)
		o.mu.Unlock()
		o.out.put(got)
		done, err := o.db.ExecContext(ctx, `UPDATE push_messages SET status = 'FINISHED', command_response = ?, request_delivered_at = UTC_TIMESTAMP(6),
			finished_at = UTC_TIMESTAMP(6), updated_at = UTC_TIMESTAMP(6) WHERE id = ? AND status NOT IN ('FINISHED', 'TIMED_OUT')`, got.Answer, f.id)
		if err != nil {
			continue
		}
		if n, err := done.RowsAffected(); err == nil && n == 1 && f.queue != "" {
			_ = o.publish(ctx, "", f.queue, amqp.Publishing{CorrelationId: f.request, Body: []byte(got.Answer)}) // its caller looks in the table, too
		}
	}
}

// send is the SDK.
func (o *original) send(ctx context.Context, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(o.cfg.Seed, 2))
	tick := time.NewTicker(time.Second / originalRate)
	defer tick.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			user, what := userName(rng.IntN(o.cfg.Users)), rng.IntN(10)
			o.count++
			p := payload{User: user, N: fmt.Sprintf("%s.%d", o.cfg.Name, o.count)}
			running.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, sendDeadline)
				defer cancel()
				if what == 0 {
					body, _ := json.Marshal(p)
					_ = o.redis.Publish(ctx, "realtime:user:"+user, body).Err() // at most once
					return
				}
				o.store(ctx, p, what < 4)
			})
		}
	}
}

// store writes a row, tells the gateways of it, and waits if it is a command.
func (o *original) store(ctx context.Context, p payload, command bool) {
	began := time.Now()
	body, _ := json.Marshal(p)
	id, request, pushType := uuid.NewString(), "", 1
	var requestID, expired any
	timeout := time.NewTimer(originalTimeout)
	answer := make(chan string, 1)
	note := amqp.Publishing{}
	if command {
		body, pushType, request = fmt.Appendf(nil, `{"type": "CHAOS", "data": %s}`, body), typeCommand, uuid.NewString()
		requestID, expired = request, int64(originalTimeout/time.Microsecond)
		o.mu.Lock()
		o.waiting[request] = answer
		note.ReplyTo, note.CorrelationId = o.queue, request
		o.mu.Unlock()
	}
	seq, err := o.redis.Incr(ctx, "seq:user:"+p.User).Result()
	if err == nil {
		_, err = o.db.ExecContext(ctx, `INSERT INTO push_messages (id, sender_type, sender_id, target_user_id, push_type, seq, payload, status, command_request_id,
			nonce, expired_at, retry_interval, created_at, updated_at) VALUES (?, 'server', 'original', ?, ?, ?, ?, 'PENDING', ?, ?,
			UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND, 60000, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))`,
			id, p.User, pushType, seq, string(body), requestID, uuid.NewString(), expired)
	}
	r := record{Kind: kindSend, From: o.cfg.Name, Op: opOriginal, ID: id, N: p.N, User: p.User, Start: micros(began), End: micros(time.Now())}
	if err != nil {
		r.Error = err.Error()
	}
	o.out.put(r)
	if err != nil {
		return
	}
	note.Body = fmt.Appendf(nil, `{"message_id": %q}`, id)
	_ = o.publish(ctx, originalExchange, originalKey, note) // the row is there; the nodes look for such
	if !command {
		return
	}
	r.Kind, r.Outcome = kindWait, outTimeout
	select {
	case r.Answer = <-answer:
		r.Outcome = outAnswer
	case <-timeout.C:
		o.mu.Lock()
		delete(o.waiting, request)
		o.mu.Unlock()
	}
	r.End = micros(time.Now())
	o.out.put(r)
}
