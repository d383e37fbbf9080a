package rabbit_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

const secret = "s3cr3t"

// silent accepts connections and says nothing.
func silent(t *testing.T) (addr string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// nobody returns an address on which nobody listens.
func nobody(t *testing.T) (addr string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

func TestOpenNamesEachHost(t *testing.T) {
	t.Parallel()
	quiet, closed := silent(t), nobody(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := rabbit.Open(ctx, rabbit.Options{URLs: []string{
		"amqp://user:" + secret + "@" + quiet + "/vhost",
		"amqp://user:" + secret + "@" + closed + "/",
	}})
	require.Less(t, time.Since(start), 5*time.Second)
	require.ErrorContains(t, err, quiet+"/vhost: ")
	require.ErrorContains(t, err, closed+": ")
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), secret)
}

func TestOpenLeavesTimeForOtherHosts(t *testing.T) {
	t.Parallel()
	opts := rabbit.Options{URLs: []string{testenv.RabbitMQ(t)}, Names: freshNames(t)}
	for range 3 {
		opts.URLs = append(opts.URLs, "amqp://"+silent(t))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	b, err := rabbit.Open(ctx, opts)
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestOpenCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := rabbit.Open(ctx, rabbit.Options{URLs: []string{"amqp://" + silent(t)}})
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenWrongPassword(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.RabbitMQ(t))
	require.NoError(t, err)
	u.User = url.UserPassword("nobody"+testenv.Unique(), secret)
	_, err = rabbit.Open(testContext(t), rabbit.Options{URLs: []string{u.String()}})
	require.ErrorContains(t, err, "403")
	require.NotContains(t, err.Error(), secret)
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	good := []string{"amqp://user:" + secret + "@host"}
	for want, opts := range map[string]rabbit.Options{
		"no URL":                  {},
		"URL 2 of 2: not a URL":   {URLs: []string{good[0], "amqp://user:" + secret + "%@host"}},
		"URL 1 of 1: not a URL":   {URLs: []string{"amqp://user:" + secret + "/x@host:5672"}},
		"does not start with":     {URLs: []string{"http://user:" + secret + "@host"}},
		"not an AMQP URL":         {URLs: []string{good[0] + "?heartbeat=" + secret}},
		"TLS is configured":       {URLs: good, TLS: &tls.Config{MinVersion: tls.VersionTLS12}},
		"ReplyQueueExpiry is 1ms": {URLs: good, ReplyQueueExpiry: time.Millisecond},
		"ReplyQueueExpiry is -1s": {URLs: good, ReplyQueueExpiry: -time.Second},
		"Heartbeat is 1s":         {URLs: good, Heartbeat: time.Second},
		"not be negative":         {URLs: good, DialTimeout: -1},
		"is 100 bytes too long":   {URLs: good, Names: wire.Names{RabbitPrefix: strings.Repeat("p", 355-len(wire.ReplyQueuePrefix)-36)}},
	} {
		_, err := rabbit.Open(t.Context(), opts)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), secret)
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			require.NotContains(t, fmt.Sprintf(format, opts), secret)
			require.NotContains(t, fmt.Sprintf(format, &opts), secret)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	// Its certificate is for 127.0.0.1 and example.com.
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	names := freshNames(t)
	p, secure := newProxy(t, testenv.RabbitMQ(t), &server.TLS.Certificates[0])
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	b := open(t, rabbit.Options{URLs: []string{secure}, TLS: config, Names: names, MaxBackoff: 100 * time.Millisecond})
	require.Empty(t, config.ServerName, "the caller's configuration is changed")
	require.NoError(t, b.Reply(testContext(t), "missing", broker.Answer{Body: make([]byte, 1<<20)}))
	p.cut()
	require.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: "m"}))

	_, err := rabbit.Open(testContext(t), rabbit.Options{URLs: []string{secure}, Names: names})
	require.ErrorContains(t, err, "certificate")
}
