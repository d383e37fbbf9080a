package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	gobwas "github.com/gobwas/ws"
	"github.com/google/uuid"

	"github.com/message-gateway/gateway/bench/internal/devices"
)

// Floors are the work that a row cannot do without, and nothing else: no library
// can be faster on the same services. They show how far a goal is from what the
// machine gives, where a peer promises less than we do.

// storedFloor inserts rows and then changes them to FINISHED, 256 in a statement,
// counted in rows.
func (r *reliableBench) storedFloor() side {
	insert := insertHead + strings.TrimSuffix(strings.Repeat(insertRow+",", maxBulkRows), ",")                                   //nolint:gosec // constants
	finish := `UPDATE push_messages SET delivering_at = ?, finished_at = ?, updated_at = ?, status = 'FINISHED' WHERE id IN (` + //nolint:gosec // constants
		strings.TrimSuffix(strings.Repeat("?,", maxBulkRows), ",") + `)`
	name := fmt.Sprintf("bare INSERTs, then UPDATEs, of %d rows, %d at a time", maxBulkRows, bulkParallel)
	return side{name, func(ctx context.Context, d time.Duration) (figures, error) {
		return r.slice(ctx, func() (figures, error) {
			f, err := callers(ctx, bulkParallel, d, func(ctx context.Context, _, i int) error {
				rows, now := make([]any, 0, 11*maxBulkRows), time.Now().UTC().Format(timeFormat)
				ended := append(make([]any, 0, 3+maxBulkRows), now, now, now)
				for k := range maxBulkRows {
					id := uuid.Must(uuid.NewV7()).String()
					rows = rowArgs(rows, id, r.load.user(i*maxBulkRows+k), int64(i), r.load.body)
					ended = append(ended, id)
				}
				if _, err := r.bulk.ExecContext(ctx, insert, rows...); err != nil {
					return err
				}
				_, err := r.bulk.ExecContext(ctx, finish, ended...)
				return err
			})
			f.Ops, f.Rate, f.Allocs, f.CPU = f.Ops*maxBulkRows, f.Rate*maxBulkRows, f.Allocs/maxBulkRows, f.CPU/maxBulkRows
			return f, err
		})
	}}
}

// answeredFloor is what one command consists of, one after the other: a number,
// a row, a way to another process and back, and the answer in the row.
func (r *reliableBench) answeredFloor(ask func(ctx context.Context) error) side {
	return side{"bare INCR, INSERT, AMQP request/reply, UPDATE", func(ctx context.Context, d time.Duration) (figures, error) {
		return r.slice(ctx, func() (figures, error) {
			return callers(ctx, 1, d, func(ctx context.Context, _, i int) error {
				id, err := r.original.store(ctx, r.load.user(i), r.load.body)
				if err != nil {
					return err
				}
				if err := ask(ctx); err != nil {
					return err
				}
				now := time.Now().UTC().Format(timeFormat)
				_, err = r.original.db.ExecContext(ctx, `UPDATE push_messages SET delivering_at = ?, finished_at = ?, updated_at = ?, command_response = ?,
status = 'FINISHED' WHERE id = ?`, now, now, now, `{"ok":true}`, id)
				return err
			})
		})
	}}
}

// writesServer holds WebSocket connections, and writes a frame to all of them in
// a loop for each core: no bus, no queue, no limit, nothing for a connection
// that does not keep up.
type writesServer struct {
	http *http.Server
	addr string

	mu    sync.Mutex
	conns []net.Conn
}

func startWrites() (*writesServer, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	s := &writesServer{addr: ln.Addr().String()}
	s.http = serve(ln, s)
	return s, nil
}

// ServeHTTP greets a device and keeps its connection.
func (s *writesServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := gobwas.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	_ = gobwas.WriteFrame(conn, gobwas.NewTextFrame([]byte("hello")))
}

func (s *writesServer) publish(_ context.Context, body json.RawMessage) error {
	frame, err := gobwas.CompileFrame(gobwas.NewTextFrame(body))
	if err != nil {
		return err
	}
	workers := runtime.GOMAXPROCS(0)
	errs := make(chan error, workers)
	for worker := range workers {
		go func() {
			for i := worker; i < len(s.conns); i += workers {
				if _, err := s.conns[i].Write(frame); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if failed := <-errs; failed != nil {
			err = failed
		}
	}
	return err
}

func (s *writesServer) connects(_, n int) ([]devices.Connect, error) {
	list := make([]devices.Connect, n)
	for i := range list {
		list[i] = devices.Connect{Path: "/"}
	}
	return list, nil
}

func (s *writesServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *writesServer) address() string { return s.addr }

func (s *writesServer) stop() {
	_ = s.http.Close()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}
