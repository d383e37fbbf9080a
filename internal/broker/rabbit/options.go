package rabbit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/wire"
)

// Options says where RabbitMQ is and how to use it.
type Options struct {
	// URLs are the hosts, as amqp:// or amqps:// URLs with credentials and vhost.
	// Each connection takes them in random order until one answers. Required.
	URLs []string
	// TLS is used for amqps:// URLs; with it, an amqp:// URL is an error.
	// Default: the system's roots, and what the URL's query names.
	TLS *tls.Config
	// Names are the names of exchange and queues. Default: the wire contract's.
	Names wire.Names
	// Logger hears of lost connections and dropped messages. Default: silent.
	Logger *slog.Logger
	// ReplyQueueExpiry is how long the reply queue, and the answers in it,
	// outlive a process that died or lost its connection. Default: 30 minutes.
	ReplyQueueExpiry time.Duration
	// ConnectionName is shown by RabbitMQ's tools, with the connection's role
	// behind it. Default: "message-gateway".
	ConnectionName string
	// Heartbeat is the interval agreed with the server; a dead connection is
	// noticed after one and a half of them. Whole seconds, at least 2; a
	// heartbeat in the URL wins. Default: 10 s.
	Heartbeat time.Duration
	// DialTimeout bounds the attempt on one host. Default: 10 s.
	DialTimeout time.Duration
	// MaxBackoff bounds the pause between attempts to connect, which starts at
	// 0.1 s, doubles, and varies by half in both directions. Default: 10 s.
	MaxBackoff time.Duration
}

// String names no password, whatever the options are printed with.
func (o Options) String() string {
	addrs := make([]string, len(o.URLs))
	for i, raw := range o.URLs {
		addrs[i] = fmt.Sprintf("(URL %d)", i+1)
		if e, err := parseEndpoint(raw); err == nil {
			addrs[i] = e.addr
		}
	}
	return "rabbit.Options{" + strings.Join(addrs, ", ") + "}"
}

// GoString keeps the password out of %#v.
func (o Options) GoString() string { return o.String() }

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ReplyQueueExpiry == 0 {
		o.ReplyQueueExpiry = 30 * time.Minute
	}
	if o.ConnectionName == "" {
		o.ConnectionName = "message-gateway"
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 10 * time.Second
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 10 * time.Second
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 10 * time.Second
	}
	return o
}

// endpoints checks the options and returns the hosts.
func (o Options) endpoints() ([]endpoint, error) {
	var errs []error
	if len(o.URLs) == 0 {
		errs = append(errs, errors.New("no URL"))
	}
	hosts := make([]endpoint, 0, len(o.URLs))
	for i, raw := range o.URLs {
		e, err := parseEndpoint(raw)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("URL %d of %d: %w", i+1, len(o.URLs), err))
		case o.TLS != nil && !e.tls:
			errs = append(errs, fmt.Errorf("%s: TLS is configured, but the URL starts with amqp://", e.addr))
		default:
			hosts = append(hosts, e)
		}
	}
	// A server keeps x-expires in 32 bits.
	if o.ReplyQueueExpiry < time.Second || o.ReplyQueueExpiry.Milliseconds() > math.MaxUint32 {
		errs = append(errs, fmt.Errorf("the ReplyQueueExpiry is %v, want 1s to 49 days", o.ReplyQueueExpiry))
	}
	if o.Heartbeat < 2*time.Second || o.Heartbeat > time.Hour {
		errs = append(errs, fmt.Errorf("the Heartbeat is %v, want 2s to 1h", o.Heartbeat))
	}
	if o.DialTimeout < 0 || o.MaxBackoff < 0 {
		errs = append(errs, errors.New("DialTimeout and MaxBackoff must not be negative"))
	}
	if n := len(longestName(o.Names)); n > broker.MaxShortString {
		errs = append(errs, fmt.Errorf("the RabbitPrefix is %d bytes too long", n-broker.MaxShortString))
	}
	return hosts, errors.Join(errs...)
}

// endpoint is one host. Its url holds the password and stays in here.
type endpoint struct {
	url  string
	addr string // host:port/vhost, for people
	dial string // host:port
	tls  bool
}

// parseEndpoint returns errors that quote nothing of the URL: those of net/url
// do, and what they quote may be the password.
func parseEndpoint(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, errors.New("not a URL (reserved characters in user and password must be percent-encoded)")
	}
	if u.Scheme != "amqp" && u.Scheme != "amqps" {
		return endpoint{}, errors.New("does not start with amqp:// or amqps://")
	}
	uri, err := amqp.ParseURI(raw)
	if err != nil {
		return endpoint{}, errors.New("not an AMQP URL (check port and query parameters)")
	}
	dial := net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))
	addr := dial
	if uri.Vhost != "/" {
		addr += "/" + uri.Vhost
	}
	return endpoint{url: raw, addr: addr, dial: dial, tls: u.Scheme == "amqps"}, nil
}
