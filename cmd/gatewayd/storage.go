package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
	"github.com/message-gateway/gateway/internal/embedded"
	"github.com/message-gateway/gateway/internal/servers"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
)

// storage is the table alone, so that what only needs the table works while
// Redis or RabbitMQ is down, which is when it is needed.
type storage struct {
	store.Store
	cfg gateway.Config
	// name says which database it is, without password.
	name string
	// bus is that of the embedded backend, nil otherwise.
	bus     bus.Bus
	release func() error
}

// openStorage opens the database of cfg, within the time that a client may take.
func openStorage(ctx context.Context, cfg gateway.Config) (*storage, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout(cfg))
	defer cancel()
	if cfg.EmbeddedDir != "" {
		e, err := embedded.Open(ctx, cfg.EmbeddedDir, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, fmt.Errorf("embedded backend: %w", err)
		}
		release := func() error { return errors.Join(e.Bus.Close(), e.Broker.Close(), e.Release()) }
		return &storage{Store: e.Store, name: "sqlite in " + e.Dir, bus: e.Bus, release: release}, nil
	}
	s, err := sqlstore.OpenMySQL(ctx, servers.MySQL(cfg.MySQL).Options())
	if err != nil {
		return nil, err
	}
	return &storage{Store: s, name: "mysql at " + cfg.MySQL.Addr + "/" + cfg.MySQL.DB, release: func() error { return nil }}, nil
}

func (s *storage) close() error { return errors.Join(s.Close(), s.release()) }

// openBus opens Redis alone.
func openBus(ctx context.Context, cfg gateway.Config) (bus.Bus, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout(cfg))
	defer cancel()
	return redisbus.Open(ctx, servers.Redis(cfg.Redis).Options(nil))
}

// explain says what to do about errors of the table.
func explain(err error) error {
	if errors.Is(err, store.ErrNoTable) {
		return fmt.Errorf("%w; create it with: gatewayd migrate", err)
	}
	return err
}

// printJSON writes one JSON value for scripts.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

func connectTimeout(cfg gateway.Config) time.Duration {
	if cfg.ConnectTimeout > 0 {
		return cfg.ConnectTimeout
	}
	return gateway.DefaultConnectTimeout
}

// openFor reads the settings of cmd and opens the database.
func (p *program) openFor(cmd *cobra.Command) (*storage, error) {
	all, err := p.settings(cmd)
	if err != nil {
		return nil, err
	}
	cfg := all.config()
	all.logger(p.stderr, slog.LevelWarn) // only for its mistakes: nothing here logs
	if err := all.err(); err != nil {
		return nil, err
	}
	p.redirect(slog.New(slog.DiscardHandler))
	s, err := openStorage(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	s.cfg = cfg
	return s, nil
}

// closeInto closes the database; what fails there joins err.
func (s *storage) closeInto(err *error) { *err = explain(errors.Join(*err, s.close())) }
