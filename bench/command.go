package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/bench/internal/child"
	"github.com/message-gateway/gateway/bench/internal/devices"
	"github.com/message-gateway/gateway/node" //nolint:depguard // as in servers.go
)

// commandUsers have one device each, which answers at once.
const commandUsers = 256

// commandSide is SendCommand to devices that are in a process of their own;
// the node is in ours.
func commandSide(ctx context.Context, b *bench, callersN int) (s side, end func(), err error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return side{}, nil, err
	}
	server, err := startGateway(ctx, in.Config, reliableProtocol, node.Options{})
	if err != nil {
		return side{}, nil, err
	}
	f, err := startFleet(ctx, server.addr, devices.Options{Ack: true, Answer: true})
	if err != nil {
		server.stop()
		return side{}, nil, err
	}
	end = func() {
		f.Stop()
		server.stop()
	}
	list, err := server.connects(0, commandUsers)
	if err == nil {
		err = errors.Join(f.open(list), awaitConnections(server, commandUsers))
	}
	if err != nil {
		end()
		return side{}, nil, err
	}
	l := newLoad(commandUsers, payloadSize)
	return side{"SendCommand", func(ctx context.Context, d time.Duration) (figures, error) {
		if err := in.empty(ctx); err != nil {
			return figures{}, err
		}
		return callers(ctx, callersN, d, func(ctx context.Context, caller, _ int) error {
			_, err := server.client.SendCommand(ctx, l.user(caller), "CLIENT_SERVER:BENCH", l.body, gateway.WithTimeout(30*time.Second))
			return err
		})
	}}, end, nil
}

// pending maps correlation ids to those who wait.
type pending struct {
	last atomic.Uint64
	m    sync.Map
}

func (p *pending) add() (id string, answered chan struct{}) {
	id, answered = strconv.FormatUint(p.last.Add(1), 10), make(chan struct{})
	p.m.Store(id, answered)
	return id, answered
}

func (p *pending) answer(id string) {
	if c, ok := p.m.LoadAndDelete(id); ok {
		close(c.(chan struct{}))
	}
}

// amqpRequests are requests and replies over exclusive queues, with nothing
// stored and nothing confirmed; who answers is in a process of its own.
func amqpRequests(ctx context.Context, b *bench) (ask func(context.Context) error, end func(), err error) {
	responder, err := child.Start(ctx, "role", "responder")
	if err != nil {
		return nil, nil, err
	}
	var requests string
	if err := responder.Do("amqp", b.rabbit, &requests); err != nil {
		responder.Stop()
		return nil, nil, err
	}
	conn, err := amqp.Dial(b.rabbit)
	if err != nil {
		responder.Stop()
		return nil, nil, err
	}
	end = func() {
		_ = conn.Close()
		responder.Stop()
	}
	ch, err := conn.Channel()
	if err != nil {
		end()
		return nil, nil, err
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		end()
		return nil, nil, err
	}
	answers, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		end()
		return nil, nil, err
	}
	var p pending
	go func() {
		for d := range answers {
			p.answer(d.CorrelationId)
		}
	}()
	body := payload(payloadSize)
	return func(ctx context.Context) error {
		id, answered := p.add()
		if err := ch.PublishWithContext(ctx, "", requests, false, false, amqp.Publishing{
			ContentType: "application/json", ReplyTo: q.Name, CorrelationId: id, Body: body,
		}); err != nil {
			return err
		}
		return wait(ctx, answered)
	}, end, nil
}

func wait(ctx context.Context, answered <-chan struct{}) error {
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// natsSide is NATS request and reply, where a server listens.
func natsSide(ctx context.Context, b *bench, callersN int) (s side, end func(), err error) {
	responder, err := child.Start(ctx, "role", "responder")
	if err != nil {
		return side{}, nil, err
	}
	var subject string
	if err := responder.Do("nats", b.nats, &subject); err != nil {
		responder.Stop()
		return side{}, nil, err
	}
	conn, err := nats.Connect(b.nats)
	if err != nil {
		responder.Stop()
		return side{}, nil, err
	}
	body := payload(payloadSize)
	return side{"NATS request/reply", func(ctx context.Context, d time.Duration) (figures, error) {
			return callers(ctx, callersN, d, func(ctx context.Context, _, _ int) error {
				_, err := conn.RequestWithContext(ctx, subject, body)
				return err
			})
		}}, func() {
			conn.Close()
			responder.Stop()
		}, nil
}

// responderRole is the child that answers requests.
func responderRole([]string) error {
	return child.Serve(map[string]child.Handler{
		"amqp": child.Handle(func(url string) (any, error) {
			conn, err := amqp.Dial(url)
			if err != nil {
				return nil, err
			}
			ch, err := conn.Channel()
			if err != nil {
				return nil, err
			}
			q, err := ch.QueueDeclare("", false, true, true, false, nil)
			if err != nil {
				return nil, err
			}
			requests, err := ch.Consume(q.Name, "", true, true, false, false, nil)
			if err != nil {
				return nil, err
			}
			go func() {
				for d := range requests {
					_ = ch.PublishWithContext(context.Background(), "", d.ReplyTo, false, false, amqp.Publishing{
						ContentType: "application/json", CorrelationId: d.CorrelationId, Body: []byte(`{"ok":true}`),
					})
				}
			}()
			return q.Name, nil
		}),
		"nats": child.Handle(func(url string) (any, error) {
			conn, err := nats.Connect(url)
			if err != nil {
				return nil, err
			}
			subject := nats.NewInbox()
			if _, err := conn.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond([]byte(`{"ok":true}`)) }); err != nil {
				return nil, err
			}
			return subject, conn.Flush()
		}),
	})
}

// commandLines compares commands with bare requests, by one figure, and with
// the least work that a stored and answered command consists of.
func commandLines(ctx context.Context, b *bench, callersN int, p plan, k kind, g goal) ([]line, error) {
	ours, end, err := commandSide(ctx, b, callersN)
	if err != nil {
		return nil, err
	}
	defer end()
	ask, endBare, err := amqpRequests(ctx, b)
	if err != nil {
		return nil, err
	}
	defer endBare()
	stored, err := newReliableBench(ctx, b, newLoad(commandUsers, payloadSize))
	if err != nil {
		return nil, err
	}
	defer stored.close()
	floor := stored.answeredFloor(ask)
	if callersN > 1 {
		many, err := startCommandFloor(ctx, stored)
		if err != nil {
			return nil, err
		}
		defer many.stop()
		floor = many.side()
	}
	sides := []side{ours, {"bare AMQP request/reply", func(ctx context.Context, d time.Duration) (figures, error) {
		return callers(ctx, callersN, d, func(ctx context.Context, _, _ int) error { return ask(ctx) })
	}}, floor}
	if b.nats != "" {
		natsBare, endNATS, err := natsSide(ctx, b, callersN)
		if err != nil {
			return nil, err
		}
		defer endNATS()
		sides = append(sides, natsBare)
	}
	f, err := interleave(ctx, p, sides...)
	if err != nil {
		return nil, err
	}
	lines := []line{compare(k, f[0], sides[1].name, f[1], g)}
	for i := 2; i < len(sides); i++ {
		lines = append(lines, compare(k, f[0], sides[i].name, f[i], noGoal))
	}
	if b.nats == "" {
		lines = append(lines, notRun("NATS request/reply", "no server listens"))
	}
	return lines, nil
}

func command1(ctx context.Context, b *bench) ([]line, error) {
	return commandLines(ctx, b, 1, b.plan(15, 300*time.Millisecond), p50, atMost(2.2))
}

func command256(ctx context.Context, b *bench) ([]line, error) {
	return commandLines(ctx, b, 256, b.plan(7, time.Second), perSecond, atLeast(0.9))
}
