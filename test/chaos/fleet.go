package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/token"
)

// The kinds of users, by what their devices do.
const (
	kindSteady   = "steady"   // reliable protocol, acknowledges at once
	kindPlain    = "plain"    // plain JSON, acknowledges with the ack event
	kindProtobuf = "protobuf" // the protobuf twin of steady
	kindFlapping = "flapping" // loses its connection all the time
	kindNever    = "never"    // acknowledges and answers nothing, until the end if that is much
	kindTwice    = "twice"    // acknowledges and answers everything twice
	kindLate     = "late"     // acknowledges seconds later, and answers after the deadline
	kindTwo      = "two"      // two connections, which both acknowledge and answer
	kindAway     = "away"     // offline most of the time
	kindStuck    = "stuck"    // stops to read for seconds, also what it is asked
	// kindOriginal is connected to the original gateway instead of a node.
	kindOriginal = "original"
)

var kinds = []string{kindSteady, kindPlain, kindProtobuf, kindFlapping, kindNever, kindTwice, kindLate, kindTwo, kindAway, kindStuck}

func kindOfUser(i int) string { return kinds[i%len(kinds)] }

// prompt says that whatever is sent to such a user arrives at once.
func prompt(kind string) bool {
	return kind == kindSteady || kind == kindPlain || kind == kindProtobuf || kind == kindTwice || kind == kindTwo
}

// fleet are the devices of all users.
type fleet struct {
	addr   string
	ledger *ledger
	// calm makes flapping and absent devices steady; it is closed once.
	calm   chan struct{}
	wg     sync.WaitGroup
	cancel context.CancelFunc
	online atomic.Int64
}

func startFleet(ctx context.Context, addr string, users int, seed uint64, l *ledger) *fleet {
	ctx, cancel := context.WithCancel(ctx)
	f := &fleet{addr: addr, ledger: l, calm: make(chan struct{}), cancel: cancel}
	for i := range users {
		connections := 1
		if kindOfUser(i) == kindTwo {
			connections = 2
		}
		for c := range connections {
			d := &device{
				fleet: f, user: userName(i), kind: kindOfUser(i), name: fmt.Sprintf("%s/%d", userName(i), c),
				rng: rand.New(rand.NewPCG(seed, uint64(i*10+c+100))), seen: map[string]bool{},
			}
			f.wg.Go(func() { d.run(ctx) })
		}
	}
	return f
}

func (f *fleet) stop() {
	f.cancel()
	f.wg.Wait()
}

func (f *fleet) isCalm() bool {
	select {
	case <-f.calm:
		return true
	default:
		return false
	}
}

// url is where a device of the user connects.
func (f *fleet) url(user string) string {
	signed, err := token.Sign(accessKey, token.Claims{
		Audience: "http://" + f.addr + "/client/hubs/default", UserID: user,
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	})
	if err != nil {
		panic(err) // the key and the claims are fixed
	}
	return "ws://" + f.addr + "/client/hubs/default?access_token=" + url.QueryEscape(signed)
}

// device is a connection of a user that is made again whenever it ends.
type device struct {
	fleet      *fleet
	user, kind string
	name       string
	rng        *rand.Rand
	answers    int
	seen       map[string]bool // of kindNever: the ids it was sent
}

func (d *device) run(ctx context.Context) {
	var last *devicetest.Device
	for ctx.Err() == nil {
		if d.kind == kindAway && !d.fleet.isCalm() {
			d.pause(ctx, d.between(4*time.Second, 12*time.Second))
		}
		conn := d.dial(ctx, last)
		last = nil
		if conn == nil {
			d.pause(ctx, d.between(100*time.Millisecond, 400*time.Millisecond))
			continue
		}
		d.fleet.online.Add(1)
		d.talk(ctx, conn)
		d.fleet.online.Add(-1)
		conn.Drop()
		if conn.Connected.ReconnectionToken != "" && d.rng.IntN(3) > 0 {
			last = conn
		}
	}
}

// between draws a time.
func (d *device) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.rng.Int64N(int64(most-least)))
}

// pause waits, but not beyond the end of the faults.
func (d *device) pause(ctx context.Context, t time.Duration) {
	calm := d.fleet.calm
	if d.fleet.isCalm() {
		calm = nil
	}
	select {
	case <-ctx.Done():
	case <-calm:
	case <-time.After(t):
	}
}

// dialTime bounds a handshake, also with a node that does not answer.
const dialTime = 5 * time.Second

// dial connects anew, or recovers the last connection as official clients do.
func (d *device) dial(outer context.Context, last *devicetest.Device) *devicetest.Device {
	ctx, cancel := context.WithTimeout(outer, dialTime)
	defer cancel()
	var conn *devicetest.Device
	var err error
	if last != nil {
		conn, err = last.TryRecover(ctx)
	} else {
		conn, _, err = devicetest.Dial(ctx, devicetest.Options{URL: d.fleet.url(d.user), Subprotocol: d.subprotocol(), Slow: d.kind == kindStuck}) //nolint:bodyclose // it is closed
	}
	if err != nil {
		return nil
	}
	if d.kind == kindStuck {
		// It does not even read that it is connected, then all at once.
		if !d.fleet.isCalm() {
			d.pause(outer, d.between(2*time.Second, 15*time.Second))
		}
		conn.Wake()
		ctx, cancel = context.WithTimeout(outer, dialTime)
		defer cancel()
	}
	frame, err := conn.TryNext(ctx)
	if err != nil || frame.Type != devicetest.TypeConnected {
		conn.Drop()
		return nil
	}
	conn.Connected = frame
	return conn
}

func (d *device) subprotocol() string {
	switch d.kind {
	case kindPlain, kindNever:
		return devicetest.JSON
	case kindProtobuf:
		return devicetest.ProtobufReliable
	default:
		return devicetest.Reliable
	}
}
