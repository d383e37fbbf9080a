package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetstreamSide publishes to a JetStream stream on disk and waits for each
// acknowledgement, as SendReliable waits for its commit. The server then has
// the message in the file; when it reaches the disk is its setting sync_interval
// (2 minutes unless changed), where ours is innodb_flush_log_at_trx_commit.
func jetstreamSide(ctx context.Context, b *bench, r *reliableBench, callersN int) (s side, end func(), err error) {
	conn, err := nats.Connect(b.nats)
	if err != nil {
		return side{}, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return side{}, nil, err
	}
	name := strings.NewReplacer(".", "_", ":", "_").Replace(r.in.Prefix)
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.FileStorage,
	})
	if err != nil {
		conn.Close()
		return side{}, nil, err
	}
	subjects := prefixed(name+".", r.load.names)
	return side{"NATS JetStream publish, on file, synced by sync_interval", func(ctx context.Context, d time.Duration) (figures, error) {
			f, err := callers(ctx, callersN, d, func(ctx context.Context, _, i int) error {
				_, err := js.Publish(ctx, subjects[i%len(subjects)], r.load.body)
				return err
			})
			return f, errors.Join(err, stream.Purge(ctx))
		}}, func() {
			_ = js.DeleteStream(context.Background(), name)
			conn.Close()
		}, nil
}

// noJetStream tells a server without JetStream from one that fails.
func noJetStream(err error) bool {
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
}
