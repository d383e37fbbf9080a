// Package embedded opens the backend that needs no services: a bus and a
// broker inside the process, and an SQLite file. It serves one process.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/gofrs/flock"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/membroker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/membus"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
	"github.com/message-gateway/gateway/internal/wire"
)

// File is the name of the SQLite file in the folder.
const File = "gateway.db"

// lockFile guards the folder against a second process.
const lockFile = "gateway.lock"

// Backend is one client's share of an embedded backend.
type Backend struct {
	Bus    bus.Bus
	Store  store.Store
	Broker broker.Broker
	// Dir is the folder of the SQLite file.
	Dir string
	// Release gives the share back, after Bus, Store and Broker are closed.
	// The last one gives up the folder, and removes it if it was temporary.
	Release func() error
}

// instance is what the clients of this process share for one folder.
type instance struct {
	dir       string
	temporary bool
	lock      *flock.Flock
	bus       *membus.Hub
	broker    *membroker.Hub
	users     int
}

var (
	mu        sync.Mutex
	instances = map[string]*instance{}
)

// Open joins or starts the embedded backend of dir, and creates the folder and
// the table. The first client's log is used for all. An empty dir means a temporary folder of its own.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Backend, error) {
	in, err := acquire(dir, log)
	if err != nil {
		return nil, err
	}
	s, err := sqlstore.OpenSQLite(ctx, filepath.Join(in.dir, File))
	if err != nil {
		return nil, errors.Join(err, in.release())
	}
	if err := s.Migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close(), in.release())
	}
	return &Backend{
		Bus: in.bus.Bus(), Store: s, Broker: in.broker.Broker(wire.Names{}),
		Dir: in.dir, Release: sync.OnceValue(in.release),
	}, nil
}

func acquire(dir string, log *slog.Logger) (*instance, error) {
	mu.Lock()
	defer mu.Unlock()
	temporary := dir == ""
	if temporary {
		created, err := os.MkdirTemp("", "gateway-")
		if err != nil {
			return nil, fmt.Errorf("temporary folder: %w", err)
		}
		dir = created
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // the caller names the folder
		return nil, fmt.Errorf("embedded folder: %w", err)
	}
	// Two names of one folder are one folder.
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	if in, ok := instances[dir]; ok {
		in.users++
		return in, nil
	}
	lock := flock.New(filepath.Join(dir, lockFile))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the embedded folder %s: %w", dir, err)
	}
	if !locked {
		return nil, fmt.Errorf("the embedded folder %s is in use by another process", dir)
	}
	in := &instance{dir: dir, temporary: temporary, lock: lock, bus: membus.NewHub(), broker: membroker.NewHub(log), users: 1}
	instances[dir] = in
	return in, nil
}

func (in *instance) release() error {
	mu.Lock()
	defer mu.Unlock()
	in.users--
	if in.users > 0 {
		return nil
	}
	delete(instances, in.dir)
	err := in.lock.Unlock()
	if in.temporary {
		err = errors.Join(err, os.RemoveAll(in.dir)) //nolint:gosec // the folder that acquire made
	}
	return err
}
