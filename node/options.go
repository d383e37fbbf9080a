package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/message-gateway/gateway/internal/roles"
	"github.com/message-gateway/gateway/node/console"
	"github.com/message-gateway/gateway/rest"
)

// Options say how a node behaves. The zero value is a working node that checks
// client access tokens. Zero means the default in every field. What names,
// metadata and filters may be is set in gateway.Config.Limits, for all
// processes of an installation.
type Options struct {
	// Authenticator, if not nil, decides who connects, instead of client
	// access tokens: for backends with sessions of their own. It runs before
	// the upgrade; an error refuses the device with 401, or with the status of
	// a *RefuseError. Default: tokens (Client.ClientAccessToken).
	Authenticator func(r *http.Request) (Identity, error)
	// Origins are the values of the header Origin that may connect: "*" for
	// any, "https://app.example.com", or "https://*.example.com" for one more
	// label. Devices that send no Origin are no browsers and always may.
	// Default: any, with tokens, which other sites do not have; with an
	// Authenticator, which may rely on cookies, only the node's own host.
	Origins []string

	// OnConnect is called before a device is accepted. It may change who the
	// device is, or refuse it. A recovered connection does not call it again.
	// Default: everyone who authenticated is accepted.
	OnConnect func(ctx context.Context, c *ConnectRequest) error
	// OnConnected is called once for each accepted connection, before its
	// first event. Default: nothing.
	OnConnected func(ctx context.Context, c Connection)
	// OnDisconnected is called exactly once for each OnConnected, when the
	// connection is over: for a recoverable one, after the recovery window.
	// Default: nothing.
	OnDisconnected func(ctx context.Context, c Connection, reason string)
	// OnEvent handles the events that devices send, in order for each
	// connection; a handler that blocks holds back its own device only. The
	// events "ack" and "response" of the default hub belong to the node. A nil
	// Reply answers nothing; an error, or no handler, makes the event fail
	// with InternalServerError, and closes a connection without subprotocol.
	// Default: no handler.
	OnEvent func(ctx context.Context, c Connection, e Event) (*Reply, error)

	// REST, if not nil, makes the node serve the REST data plane of Azure Web
	// PubSub as well, under any path with /api/hubs/ in it, and /api/health:
	// whoever has an access key can send to devices and close them. It needs
	// an access key. Default: not served.
	REST *rest.Options
	// Console, if not nil, makes the node serve a web page for those who run
	// it, under Console.Path: connections, users, groups, rates, what waits for
	// a user, and a form to send. It has a token of its own. Default: not
	// served.
	Console *console.Options

	// HandoverTimeout is how long Shutdown waits for reliable connections to be
	// recovered on other nodes, if there are any. Default: 5 s.
	HandoverTimeout time.Duration
	// RecoveryWindow is how long a connection of a reliable subprotocol can be
	// recovered after it broke. Default: 30 s.
	RecoveryWindow time.Duration
	// PingInterval is how often a silent device is pinged; after three silent
	// intervals its connection is closed. Default: 20 s.
	PingInterval time.Duration
	// SweepInterval is how often the node looks for messages whose hint was
	// lost, and, one node at a time, for expired and old rows. Default: 30 s.
	SweepInterval time.Duration
	// RetryInterval is when a message is sent again that nobody acknowledged,
	// unless it names its own interval, as the commands of this library always do
	// (60 s, or WithRetryInterval). Default: 60 s.
	RetryInterval time.Duration
	// Retention is how long finished and timed-out messages are kept. −1 keeps
	// them for good. Default: 7 days.
	Retention time.Duration
	// MaxFrame is the largest frame that a device may send, in bytes; a larger
	// one closes its connection with 1009. Default: 1 MiB.
	MaxFrame int
	// MaxQueue and MaxQueueBytes bound what waits for one device: unsent
	// frames, and, for reliable subprotocols, frames without sequenceAck. A
	// device beyond either is disconnected; its reliable messages stay
	// unfinished. Default: 1000 frames and 16 MiB.
	MaxQueue      int
	MaxQueueBytes int
	// MaxConnections bounds the connections of this node; more are refused
	// with 429. Default: no bound.
	MaxConnections int
	// MaxGroups bounds the groups of one connection. One more is refused with
	// BadRequest, and a token with more with 400. Default: 10,000.
	MaxGroups int
	// MaxPermissions bounds the single groups that one connection has a right
	// for, or is denied it, for each of the two kinds of rights. One more is
	// gateway.ErrTooManyPermissions, 409 over REST; roles of a token beyond it
	// are ignored. Default: 1000.
	MaxPermissions int
	// MaxPatterns bounds the roles with wildcards of one connection, of each
	// kind, MaxPatternLength the characters of one, and MaxPatternStars its *
	// (** has two). Roles beyond any of them are ignored. Default: 10, 1024 and
	// 5.
	MaxPatterns, MaxPatternLength, MaxPatternStars int
	// MaxStreams bounds the open streams of one connection. One more is refused
	// with BadRequest. Default: 100.
	MaxStreams int
	// MaxGroupState bounds the state of one connection in one group, in bytes of
	// its keys and values. A larger one is refused with BadRequest. Default: 512.
	MaxGroupState int
	// MaxGroupStates bounds the groups in which one connection has a state, and
	// those whose states it watches. One more is refused with BadRequest.
	// Default: 100.
	MaxGroupStates int
	// StreamIdle is how long a stream may be idle that names no time of its own;
	// then it ends with IdleTimeout. MaxStreamIdle is the longest time that a
	// stream may name; one with more is refused with BadRequest. Default: 5
	// minutes and 24 hours.
	StreamIdle, MaxStreamIdle time.Duration
	// ReconnectionLifetime is how long a reconnection token is good for, while
	// its connection lives; then recovery is refused with 1008. Each recovery
	// gives the device a new one. Default: 7 days.
	ReconnectionLifetime time.Duration
	// MaxAckIDs is how many processed requests of one connection are
	// remembered: one that the device repeats is not executed again, unless
	// that many others came between. Default: 1000.
	MaxAckIDs int
	// RateLimits bound connections and messages by user and address. Default: no
	// bounds.
	RateLimits RateLimits
	// MaxIdempotencyKeys is how many sends with an idempotency key
	// (gateway.WithIdempotencyKey; every send of the official service clients
	// over REST) are remembered, for five minutes at most: a repeated one is
	// dropped, unless that many others came between. −1 remembers none, and
	// drops none. Default: 10,000.
	MaxIdempotencyKeys int
	// HandlerTimeout bounds OnConnect, OnEvent and the database work of one
	// frame. Default: 30 s.
	HandlerTimeout time.Duration
}

func (o Options) withDefaults() Options {
	o.RecoveryWindow = or(o.RecoveryWindow, 30*time.Second)
	o.HandoverTimeout = or(o.HandoverTimeout, 5*time.Second)
	o.PingInterval = or(o.PingInterval, 20*time.Second)
	o.SweepInterval = or(o.SweepInterval, 30*time.Second)
	o.RetryInterval = or(o.RetryInterval, 60*time.Second)
	o.Retention = or(o.Retention, 7*24*time.Hour)
	o.MaxFrame = or(o.MaxFrame, 1<<20)
	o.MaxQueue = or(o.MaxQueue, 1000)
	o.MaxQueueBytes = or(o.MaxQueueBytes, 16<<20)
	o.MaxGroups = or(o.MaxGroups, 10_000)
	permissions := roles.DefaultLimits()
	o.MaxPermissions = or(o.MaxPermissions, permissions.Literals)
	o.MaxPatterns = or(o.MaxPatterns, permissions.Patterns)
	o.MaxPatternLength = or(o.MaxPatternLength, permissions.PatternLength)
	o.MaxPatternStars = or(o.MaxPatternStars, permissions.PatternStars)
	o.MaxStreams = or(o.MaxStreams, 100)
	o.MaxGroupState = or(o.MaxGroupState, 512)
	o.MaxGroupStates = or(o.MaxGroupStates, 100)
	o.MaxStreamIdle = or(o.MaxStreamIdle, 24*time.Hour)
	o.StreamIdle = or(o.StreamIdle, min(5*time.Minute, o.MaxStreamIdle))
	o.ReconnectionLifetime = or(o.ReconnectionLifetime, 7*24*time.Hour)
	o.MaxAckIDs = or(o.MaxAckIDs, 1000)
	o.MaxIdempotencyKeys = or(o.MaxIdempotencyKeys, 10_000)
	o.HandlerTimeout = or(o.HandlerTimeout, 30*time.Second)
	return o
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// ErrInvalidOptions is returned by New for options out of bounds.
var ErrInvalidOptions = errors.New("invalid options")

func (o Options) validate() error {
	for name, d := range map[string]time.Duration{
		"HandoverTimeout": o.HandoverTimeout, "RecoveryWindow": o.RecoveryWindow, "PingInterval": o.PingInterval, "SweepInterval": o.SweepInterval,
		"RetryInterval": o.RetryInterval, "HandlerTimeout": o.HandlerTimeout,
		"StreamIdle": o.StreamIdle, "MaxStreamIdle": o.MaxStreamIdle, "ReconnectionLifetime": o.ReconnectionLifetime,
	} {
		if d < 0 {
			return fmt.Errorf("%w: %s is negative", ErrInvalidOptions, name)
		}
	}
	for name, n := range map[string]int{
		"MaxFrame": o.MaxFrame, "MaxQueue": o.MaxQueue, "MaxQueueBytes": o.MaxQueueBytes, "MaxConnections": o.MaxConnections,
		"MaxGroups": o.MaxGroups, "MaxStreams": o.MaxStreams, "MaxGroupState": o.MaxGroupState, "MaxGroupStates": o.MaxGroupStates, "MaxAckIDs": o.MaxAckIDs,
		"MaxPermissions": o.MaxPermissions, "MaxPatterns": o.MaxPatterns, "MaxPatternLength": o.MaxPatternLength, "MaxPatternStars": o.MaxPatternStars,
	} {
		if n < 0 {
			return fmt.Errorf("%w: %s is negative", ErrInvalidOptions, name)
		}
	}
	if err := o.RateLimits.validate(); err != nil {
		return err
	}
	if longest := o.withDefaults().MaxStreamIdle; o.StreamIdle > longest {
		return fmt.Errorf("%w: StreamIdle is longer than MaxStreamIdle, %v", ErrInvalidOptions, longest)
	}
	if o.MaxIdempotencyKeys < -1 {
		return fmt.Errorf("%w: MaxIdempotencyKeys is negative (only -1 means none)", ErrInvalidOptions)
	}
	if o.Retention < -1 {
		return fmt.Errorf("%w: Retention is negative (only -1 means for good)", ErrInvalidOptions)
	}
	return nil
}

// permissions are the limits that roles and grants have.
func (o *Options) permissions() roles.Limits {
	return roles.Limits{
		Literals: o.MaxPermissions, Patterns: o.MaxPatterns,
		PatternLength: o.MaxPatternLength, PatternStars: o.MaxPatternStars,
	}
}

// Identity is who a device is.
type Identity struct {
	// UserID is the user; empty means anonymous, which the three sends cannot
	// reach.
	UserID string
	// Roles are the permissions, such as "webpubsub.joinLeaveGroup".
	Roles []string
	// Groups are joined when the device connects.
	Groups []string
	// Claims are handed to OnConnect: the claims of the token, or whatever the
	// Authenticator sets.
	Claims map[string][]string
}

// RefuseError refuses a device with a status and a text of the caller's.
type RefuseError struct {
	// Status is the HTTP status, 400 to 599; others become 500.
	Status int
	// Message is sent to the device.
	Message string
}

// Error is the message.
func (e *RefuseError) Error() string { return fmt.Sprintf("refused with %d: %s", e.Status, e.Message) }

// ConnectRequest is a device that wants to connect. OnConnect may change its
// Identity.
type ConnectRequest struct {
	Identity
	// Hub is the hub that the device asked for, in its spelling.
	Hub string
	// Subprotocols are what the device offered.
	Subprotocols []string
	// Subprotocol is what the node would choose: the first that it knows, or
	// none. OnConnect may choose another one of those offered; one that the
	// node does not know makes a connection without PubSub frames.
	Subprotocol string
	// State is the application's own state of the connection; see Connection.
	State string
	// Request is the handshake. Its query holds secrets: do not log it.
	Request *http.Request
}

// Connection is one accepted device.
type Connection struct {
	ID          string
	Hub         string
	UserID      string
	Subprotocol string // empty for a connection without
	// State is what OnConnect or a Reply set last; the node does not look at it.
	State string
}

// DataType is the kind of a payload.
type DataType string

// The kinds of payloads.
const (
	JSON     DataType = "json"
	Text     DataType = "text"
	Binary   DataType = "binary"
	Protobuf DataType = "protobuf"
)

// Event is what a device sent to the backend.
type Event struct {
	// Name is the event; "message" for a connection without subprotocol.
	Name string
	// DataType says what Data is.
	DataType DataType
	// Data is the payload; JSON as the device wrote it. It is the handler's.
	Data []byte
	// Invocation says that the device waits for the Reply.
	Invocation bool
}

// Reply is sent to the device that sent the event.
type Reply struct {
	// DataType and Data are the answer; both empty mean that there is none.
	DataType DataType
	Data     []byte
	// State, if not nil, replaces the state of the connection.
	State *string
}
