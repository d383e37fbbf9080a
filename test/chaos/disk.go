package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// disk is a file system of its own for the suite's tables, which can be full.
// It is mounted in a namespace of this thread and its children, so nothing of
// it outlives them, however they end.
type disk struct{ dir string }

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// diskSize has room for what a run writes: about 1.5 KB for each message, and
// what the floods leave.
func diskSize(run time.Duration) int64 { return 192<<20 + int64(run/time.Minute)*24<<20 }

// fill leaves no byte.
func (d *disk) fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(fmt.Errorf("the disk is not full: %w", err), f.Close())
	}
	return f.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (d *disk) empty() error { return os.Remove(d.filler()) }

// fullDisk fills the disk of the tables until the server has noticed, and for
// some time on. A server that ends itself over it is started again once there
// is room, as an operator would.
func fullDisk(d time.Duration) fault {
	return fault{"full disk of mysql", d, func(ctx context.Context, r *run) (string, error) {
		if r.disk == nil {
			return "", &notRunError{r.noDisk.Error()}
		}
		server := r.servers[mysqlService]
		if err := r.disk.fill(); err != nil {
			return "", err
		}
		began, refused := time.Now(), false
		for !refused && !server.Ended() && time.Since(began) < 15*time.Second && ctx.Err() == nil {
			refused = r.growTable(ctx) != nil
		}
		noticed := time.Since(began)
		if !refused && !server.Ended() {
			r.ledger.complain("full disk: the server writes on")
		}
		err := sleep(ctx, d)
		if err := r.disk.empty(); err != nil {
			return "", err
		}
		if err != nil {
			return "", err
		}
		detail := fmt.Sprintf("noticed after %.1f s, then %.1f s", noticed.Seconds(), d.Seconds())
		for {
			if server.Ended() {
				if err := server.Start(); err != nil {
					return "", err
				}
				if err := server.Await(ctx); err != nil {
					return "", err
				}
				detail += ", the server aborted and was started again"
			}
			if r.growTable(ctx) == nil {
				break
			}
			if time.Since(began) > time.Minute || ctx.Err() != nil {
				return "", errors.New("full disk: the server does not come back")
			}
		}
		_, err = r.root.ExecContext(ctx, "TRUNCATE growing")
		return detail, err
	}}
}

// growTable writes a megabyte.
func (r *run) growTable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := r.root.ExecContext(ctx, "INSERT INTO growing (b) VALUES (REPEAT('x', 1000000))")
	if err != nil {
		_ = sleep(ctx, 100*time.Millisecond)
	}
	return err
}
