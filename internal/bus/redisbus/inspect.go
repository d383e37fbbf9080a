package redisbus

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/bus"
)

// Facts are what is known of a Redis and of the servers behind its address.
type Facts struct {
	// Err says why nothing else is known.
	Err error
	// Servers are the one server, the master that the Sentinels named, or every
	// master of a cluster.
	Servers []ServerFacts
	// UseErr says which of the things that a bus does the account may not do.
	UseErr error
}

// ServerFacts are what one server says of itself.
type ServerFacts struct {
	Addr string
	// Info has the fields of INFO: redis_version, role, and so on.
	Info map[string]string
	// Settings has some of CONFIG GET; it is nil, and SettingsErr says why, where
	// the server does not tell, as managed ones do not.
	Settings    map[string]string
	SettingsErr error
	// Ahead is how far the clock of the server is ahead of this machine's, to
	// within RoundTrip.
	Ahead, RoundTrip time.Duration
}

// inspected are the settings that Inspect reads.
var inspected = []string{"maxmemory", "maxmemory-policy", "tcp-keepalive", "client-output-buffer-limit", "maxclients"}

// Inspect looks at the Redis of o, and tries on names that nobody else uses what
// a bus does. Nothing of it stays.
func Inspect(ctx context.Context, o Options) Facts {
	b, err := Open(ctx, o)
	if err != nil {
		return Facts{Err: err}
	}
	defer func() { _ = b.Close() }()
	var facts Facts
	var mu sync.Mutex
	look := func(ctx context.Context, node *redis.Client) error {
		server, err := inspectServer(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		facts.Servers = append(facts.Servers, server)
		return err
	}
	if b.cluster != nil {
		err = b.cluster.ForEachMaster(ctx, look)
	} else if single, ok := b.client.(*redis.Client); ok {
		err = look(ctx, single)
	}
	facts.Err = b.wrap(ctx, "inspect", err)
	facts.UseErr = b.use(ctx)
	return facts
}

func inspectServer(ctx context.Context, node *redis.Client) (ServerFacts, error) {
	s := ServerFacts{Addr: node.Options().Addr, Info: map[string]string{}}
	before := time.Now()
	clock, err := node.Time(ctx).Result()
	if err != nil {
		return s, err
	}
	s.RoundTrip = time.Since(before)
	s.Ahead = clock.Sub(before.Add(s.RoundTrip / 2))
	info, err := node.Info(ctx).Result()
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			s.Info[name] = value
		}
	}
	if port := s.Info["tcp_port"]; node.Options().Addr == "FailoverClient" && port != "" {
		s.Addr = "master on port " + port // go-redis hides where Sentinel sent it
	}
	settings := map[string]string{}
	for _, name := range inspected {
		found, err := node.ConfigGet(ctx, name).Result()
		var refused redis.Error
		switch {
		case errors.As(err, &refused):
			s.SettingsErr = err
			return s, nil
		case err != nil:
			return s, err
		}
		settings[name] = found[name]
	}
	s.Settings = settings
	return s, nil
}

// use tries a subscription, a message, and a lock. Counters are not tried: one
// that was drawn from would stay.
func (b *Bus) use(ctx context.Context) error {
	id := "gateway-doctor-" + uuid.NewString()
	var errs []error
	l := b.Listen(func(string, []byte) {}, func() {})
	defer func() { _ = l.Close() }()
	channel := b.names.Realtime(id)
	if err := l.Subscribe(ctx, false, channel); err != nil {
		errs = append(errs, err)
	} else if receivers, err := b.Publish(ctx, []bus.Publication{{Channel: channel, Payload: []byte("{}")}}); err != nil {
		errs = append(errs, err)
	} else if receivers[0] == 0 && b.cluster == nil {
		errs = append(errs, errors.New("a message to a subscribed channel reached nobody: the subscription is on another server"))
	}
	key := b.names.Lock(id)
	if _, err := b.TryLock(ctx, key, id, time.Second); err != nil {
		errs = append(errs, err)
	} else if err := b.Unlock(ctx, key, id); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Number is a field of INFO or a setting as a number, 0 if it is none.
func Number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
