package gateway

import (
	"database/sql"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Option changes how New builds a Client.
type Option func(*settings)

type settings struct {
	logger *slog.Logger
	meter  metric.MeterProvider
	tracer trace.TracerProvider
	redis  redis.UniversalClient
	db     *sql.DB
}

func newSettings(opts []Option) *settings {
	s := &settings{}
	for _, opt := range opts {
		opt(s)
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	return s
}

// WithLogger sets where the client, and the nodes on it, log. The default, and
// nil, log nothing. Log lines hold message, user and connection ids, never
// payloads, tokens or passwords.
func WithLogger(logger *slog.Logger) Option {
	return func(s *settings) { s.logger = logger }
}

// WithMeterProvider sets where metrics go. The default counts nothing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(s *settings) { s.meter = provider }
}

// WithTracerProvider sets where the spans of sends and deliveries go; they follow
// a message to its acknowledgement, and a command to its answer, across
// processes (docs/observability.md). A send continues the trace in its ctx. The
// default, and nil, trace nothing and cost nothing.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(s *settings) { s.tracer = provider }
}

// WithRedis hands over a connection pool, which stays the caller's to close.
// The Redis fields of Config are then not used, except the key prefix. Its
// options should have ContextTimeoutEnabled set, or calls may outlast their
// deadline by the pool's own timeouts.
func WithRedis(client redis.UniversalClient) Option {
	return func(s *settings) { s.redis = client }
}

// WithMySQL hands over a connection pool of go-sql-driver/mysql, which stays
// the caller's to close. The MySQL fields of Config are then not used. Its
// connections must have the character set utf8mb4, a strict sql_mode and, where
// push_messages has columns of type TIMESTAMP, a time_zone of UTC; New says what
// is missing. interpolateParams=true saves a round trip for each statement. Under
// load connections keep prepared INSERTs, up to 14 each, until the client closes.
func WithMySQL(db *sql.DB) Option {
	return func(s *settings) { s.db = db }
}

// SendOption changes one send.
type SendOption func(*sendOptions) error

type sendOptions struct {
	senderType, senderID string
	messageID            string
	timeout              time.Duration
	end                  time.Time // of the timeout of a command
	retryInterval        time.Duration
	noWait               bool
	failIfOffline        bool
	// given names the options that were set, so that a send can refuse those
	// it has no use for.
	given []string
}

// DefaultCommandTimeout is how long a command waits for its answer unless
// WithTimeout says otherwise.
const DefaultCommandTimeout = 30 * time.Minute

// MaxTimeout is the longest timeout.
const MaxTimeout = 10 * 365 * 24 * time.Hour

// MaxRetryInterval is the longest retry interval, about 24 days: the column of
// the wire contract counts milliseconds in 32 bits.
const MaxRetryInterval = math.MaxInt32 * time.Millisecond

// WithSender says who sends: senderType is "server" or "client" in the wire
// contract, id the sender's own name. The default is "server" and no id.
func WithSender(senderType, id string) SendOption {
	return option("WithSender", func(o *sendOptions) error {
		if !utf8.ValidString(senderType) || !utf8.ValidString(id) {
			return fmt.Errorf("%w: not valid UTF-8", ErrInvalidSender)
		}
		o.senderType, o.senderID = senderType, id
		return nil
	})
}

// WithMessageID makes a reliable send or a command idempotent: a second send
// with the same id stores nothing and reports success, whichever process it
// comes from. An id that belongs to another user's message, or to a message
// of another kind, is ErrMessageIDConflict. The default is a new UUIDv7.
func WithMessageID(id string) SendOption {
	return option("WithMessageID", func(o *sendOptions) error {
		if id == "" || !utf8.ValidString(id) {
			return fmt.Errorf("%w: %q", ErrInvalidMessageID, id)
		}
		o.messageID = id
		return nil
	})
}

// WithTimeout sets how long a command may take, from the send to the answer.
// 0 means DefaultCommandTimeout.
func WithTimeout(d time.Duration) SendOption {
	return option("WithTimeout", func(o *sendOptions) error {
		o.timeout = d
		return checkDuration("timeout", d)
	})
}

// WithRetryInterval sets how long a node waits for an acknowledgement before
// it sends the message to the device again, in whole milliseconds (rounded up),
// MaxRetryInterval at most. 0 means 60 seconds.
func WithRetryInterval(d time.Duration) SendOption {
	return option("WithRetryInterval", func(o *sendOptions) error {
		if d < 0 || d > MaxRetryInterval {
			return fmt.Errorf("%w: retry interval %v is not between 0 and %v", ErrInvalidTimeout, d, MaxRetryInterval)
		}
		o.retryInterval = (d + time.Millisecond - 1).Truncate(time.Millisecond)
		return nil
	})
}

// NoWait makes SendCommand return as soon as the command is stored. The answer
// can be picked up with AwaitCommand.
func NoWait() SendOption {
	return option("NoWait", func(o *sendOptions) error {
		o.noWait = true
		return nil
	})
}

// FailIfOffline makes a send fail with ErrUserOffline, before anything is
// written, if no device of the user is connected at that moment, as Online
// sees it. It is a snapshot: the user may come or go right after it.
func FailIfOffline() SendOption {
	return option("FailIfOffline", func(o *sendOptions) error {
		o.failIfOffline = true
		return nil
	})
}

func option(name string, set func(*sendOptions) error) SendOption {
	return func(o *sendOptions) error {
		o.given = append(o.given, name)
		return set(o)
	}
}

func checkDuration(what string, d time.Duration) error {
	if d < 0 || d > MaxTimeout {
		return fmt.Errorf("%w: %s %v is not between 0 and %v", ErrInvalidTimeout, what, d, MaxTimeout)
	}
	return nil
}

// parseOptions applies opts and refuses those that are not among allowed.
func parseOptions(opts []SendOption, allowed []string) (*sendOptions, error) {
	o := &sendOptions{senderType: "server"}
	for _, opt := range opts {
		if err := opt(o); err != nil {
			return nil, err
		}
	}
	if err := refuseOthers(o.given, allowed); err != nil {
		return nil, err
	}
	if o.timeout == 0 {
		o.timeout = DefaultCommandTimeout
	}
	return o, nil
}

// refuseOthers reports an option that was given to a call that has no use for it.
func refuseOthers(given, allowed []string) error {
	for _, name := range given {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("%w: %s", ErrInvalidOption, name)
		}
	}
	return nil
}
