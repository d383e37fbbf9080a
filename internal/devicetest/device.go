// Package devicetest is a small device for tests: a WebSocket client of another
// make than the node's own library, that speaks any of the subprotocols, or
// none, and can misbehave.
//
// A [Device] reads its socket all the time, unless it was told to be slow, and
// keeps what it received until the test asks for it. It acknowledges nothing by
// itself.
package devicetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket" //nolint:depguard // a package for tests, which nothing shipped imports
	"google.golang.org/protobuf/proto"
)

// The subprotocols; empty is none.
const (
	None             = ""
	JSON             = "json.webpubsub.azure.v1"
	Reliable         = "json.reliable.webpubsub.azure.v1"
	Protobuf         = "protobuf.webpubsub.azure.v1"
	ProtobufReliable = "protobuf.reliable.webpubsub.azure.v1"
)

// Patience bounds every wait of a test for its device.
const Patience = 15 * time.Second

// Options are how a device connects.
type Options struct {
	// URL is the WebSocket URL with the token.
	URL string
	// Subprotocol is what it offers.
	Subprotocol string
	// Subprotocols, if set, are offered instead.
	Subprotocols []string
	// Header is added to the handshake.
	Header http.Header
	// Slow says that the device does not read its socket before Wake.
	Slow bool
}

// Device is one connection. Its methods may be called by one goroutine at a
// time; those that take a *testing.T fail the test if the device cannot do
// what it is told.
type Device struct {
	// Connected is the first frame; zero without subprotocol.
	Connected Frame

	opts Options
	conn *websocket.Conn
	tcp  *net.TCPConn
	done chan struct{}
	once sync.Once

	mu     sync.Mutex
	frames []Frame
	err    error
	more   chan struct{}
	last   uint64
	ackID  uint64
}

// Dial connects. Where the node answers with an HTTP error, the response is
// returned beside the error; its body is closed.
func Dial(ctx context.Context, opts Options) (*Device, *http.Response, error) {
	d := &Device{opts: opts}
	response, err := d.dial(ctx, opts)
	if err != nil {
		return nil, response, err
	}
	return d, response, nil
}

func (d *Device) dial(ctx context.Context, opts Options) (*http.Response, error) {
	d.done, d.more = make(chan struct{}), make(chan struct{}, 1)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		var dialer net.Dialer
		nc, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		d.tcp, _ = nc.(*net.TCPConn)
		if opts.Slow {
			_ = d.tcp.SetReadBuffer(4 << 10)
		}
		return nc, nil
	}}
	defer transport.CloseIdleConnections()
	offered := opts.Subprotocols
	if offered == nil && opts.Subprotocol != "" {
		offered = []string{opts.Subprotocol}
	}
	conn, response, err := websocket.Dial(ctx, opts.URL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: opts.Header,
		Subprotocols: offered, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if response != nil && response.Body != nil {
			_ = response.Body.Close()
		}
		return response, fmt.Errorf("connect: %w", err)
	}
	conn.SetReadLimit(64 << 20)
	d.conn = conn
	if !opts.Slow {
		d.Wake()
	}
	return response, nil
}

// Connect connects, reads the connected frame, and disconnects when the test
// ends.
func Connect(t testing.TB, opts Options) *Device {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	d, _, err := Dial(ctx, opts)
	if err != nil {
		t.Fatalf("device: %v", err)
	}
	t.Cleanup(d.Drop)
	if d.framed() && !opts.Slow {
		d.Connected = d.Next(t)
		if d.Connected.Type != TypeConnected {
			t.Fatalf("device: the first frame is %+v", d.Connected)
		}
	}
	return d
}

// framed says that the device speaks a PubSub subprotocol, and not one that
// the application chose.
func (d *Device) framed() bool {
	return strings.Contains(strings.ToLower(d.conn.Subprotocol()), "webpubsub")
}

// Subprotocol is what the node chose.
func (d *Device) Subprotocol() string { return d.conn.Subprotocol() }

// Wake makes a slow device read its socket.
func (d *Device) Wake() { d.once.Do(func() { go d.read() }) }

func (d *Device) read() {
	defer close(d.done)
	for {
		op, raw, err := d.conn.Read(context.Background())
		var f Frame
		if err == nil {
			f, err = d.decode(op, raw)
		}
		d.mu.Lock()
		if err != nil {
			d.err = err
		} else {
			d.frames = append(d.frames, f)
			d.last = max(d.last, f.SequenceID)
		}
		d.mu.Unlock()
		select {
		case d.more <- struct{}{}:
		default:
		}
		if err != nil {
			_ = d.conn.CloseNow()
			return
		}
	}
}

// TryNext returns the next frame, or an error when the connection is over or
// ctx ends.
func (d *Device) TryNext(ctx context.Context) (Frame, error) {
	for {
		d.mu.Lock()
		if len(d.frames) > 0 {
			f := d.frames[0]
			d.frames = d.frames[1:]
			d.mu.Unlock()
			return f, nil
		}
		err := d.err
		d.mu.Unlock()
		if err != nil {
			return Frame{}, fmt.Errorf("device: connection is over: %w", err)
		}
		select {
		case <-d.more:
		case <-ctx.Done():
			return Frame{}, fmt.Errorf("device: no frame came: %w", ctx.Err())
		}
	}
}

// Next returns the next frame.
func (d *Device) Next(t testing.TB) Frame {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	f, err := d.TryNext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Pending is the number of frames that were received and not asked for.
func (d *Device) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.frames)
}

// LastSequenceID is the highest sequence number received.
func (d *Device) LastSequenceID() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// Ended waits until the node has closed the connection and returns the close
// code, -1 without one. Frames before the end stay to be read.
func (d *Device) Ended(t testing.TB) websocket.StatusCode {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(Patience):
		t.Fatal("device: the connection does not end")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return websocket.CloseStatus(d.err)
}

// Drop ends the connection without a close frame, as a lost network does.
func (d *Device) Drop() {
	if d.tcp != nil {
		_ = d.tcp.SetLinger(0)
		_ = d.tcp.Close()
	}
	_ = d.conn.CloseNow()
	d.Wake() // a slow device has no reader yet, and done must be closed
	<-d.done
}

// Close ends the connection with a close frame.
func (d *Device) Close(code websocket.StatusCode) {
	_ = d.conn.Close(code, "")
	<-d.done
}

// SendRaw sends one WebSocket message.
func (d *Device) SendRaw(t testing.TB, op websocket.MessageType, payload []byte) {
	t.Helper()
	if err := d.TrySendRaw(op, payload); err != nil {
		t.Fatal(err)
	}
}

// TrySendRaw is SendRaw where the connection may be over.
func (d *Device) TrySendRaw(op websocket.MessageType, payload []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := d.conn.Write(ctx, op, payload); err != nil {
		return fmt.Errorf("device: send: %w", err)
	}
	return nil
}

// SendText sends a text message, such as a JSON frame.
func (d *Device) SendText(t testing.TB, text string) {
	t.Helper()
	d.SendRaw(t, websocket.MessageText, []byte(text))
}

var errNoReconnection = errors.New("device: no reconnection token")

// TryRecover opens the connection again on a new socket, as official clients
// do: with the original URL, whose token may be stale, and two more parameters.
func (d *Device) TryRecover(ctx context.Context) (*Device, error) {
	if d.Connected.ReconnectionToken == "" {
		return nil, errNoReconnection
	}
	recovered := &Device{opts: d.opts, last: d.LastSequenceID(), ackID: d.ackID}
	opts := d.opts
	opts.URL = RecoveryURL(opts.URL, d.Connected.ConnectionID, d.Connected.ReconnectionToken)
	if _, err := recovered.dial(ctx, opts); err != nil {
		return nil, err
	}
	return recovered, nil
}

// Recover is TryRecover that must succeed. The connected frame of the recovery
// has been read.
func (d *Device) Recover(t testing.TB) *Device {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	recovered, err := d.TryRecover(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recovered.Drop)
	recovered.Connected = recovered.Next(t)
	if recovered.Connected.Type != TypeConnected {
		t.Fatalf("device: the first frame after the recovery is %+v", recovered.Connected)
	}
	return recovered
}

// marshal encodes a protobuf frame; those of this package always encode.
func marshal(m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// SendCloseWithoutCode ends the connection with an empty close frame, as the
// official JavaScript client does; the node reads 1005.
func (d *Device) SendCloseWithoutCode(t testing.TB) {
	t.Helper()
	// A masked close frame with a mask of zeros and no body.
	if _, err := d.tcp.Write([]byte{0x88, 0x80, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	<-d.done
}
