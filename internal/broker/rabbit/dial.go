package rabbit

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// dialer opens connections to whichever host answers.
type dialer struct {
	hosts     []endpoint
	tls       *tls.Config
	name      string
	heartbeat time.Duration
	timeout   time.Duration
}

// dial tries each host once, in random order, so that the clients of a cluster
// spread over it and the loss of one host does not move all of them to the same
// next one.
func (d *dialer) dial(ctx context.Context, role string) (*conn, error) {
	var failed hostErrors
	for i, k := range rand.Perm(len(d.hosts)) {
		host := d.hosts[k]
		timeout := d.timeout
		if deadline, ok := ctx.Deadline(); ok {
			// A host that does not answer must leave time for the others.
			timeout = min(timeout, time.Until(deadline)/time.Duration(len(d.hosts)-i))
		}
		c, err := d.dialHost(ctx, host, role, timeout)
		if err == nil {
			return c, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", host.addr, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

func (d *dialer) dialHost(ctx context.Context, host endpoint, role string, timeout time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", host.dial)
	if err != nil {
		return nil, err
	}
	sock := newSocket(tcp)
	// The driver's handshake knows no ctx, but ends when its connection does.
	stop := context.AfterFunc(ctx, sock.abort)
	config := amqp.Config{
		Heartbeat:  d.heartbeat,
		Properties: amqp.NewConnectionProperties(),
		Dial:       func(string, string) (net.Conn, error) { return sock, nil },
	}
	config.Properties.SetClientConnectionName(d.name + " " + role)
	if d.tls != nil {
		// The driver writes the host's name into the configuration.
		config.TLSClientConfig = d.tls.Clone()
	}
	c, err := amqp.DialConfig(host.url, config)
	if !stop() && err == nil {
		// Aborted in the moment it succeeded.
		err = ctx.Err()
	}
	if err != nil {
		_ = sock.Close() // the driver leaves it open after some errors
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, err
	}
	return newConn(c, sock, host.addr), nil
}

// hostErrors says for each host why it could not be used.
type hostErrors []error

func (e hostErrors) Error() string {
	parts := make([]string, len(e))
	for i, err := range e {
		parts[i] = err.Error()
	}
	return "no connection to RabbitMQ: " + strings.Join(parts, "; ")
}

func (e hostErrors) Unwrap() []error { return e }
