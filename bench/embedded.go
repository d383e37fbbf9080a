package main

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"modernc.org/sqlite"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
)

// openSQLite opens a file with the durability of the embedded backend, and one
// connection: SQLite has one writer.
func openSQLite(path string) (*sql.DB, error) {
	connector, err := sqlite.NewConnector("file://" + path + "?_pragma=busy_timeout(5000)&" + sqlstore.SQLitePragmas)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// embeddedSides are SendReliable on the embedded backend and bare INSERTs, a
// commit each, into a table like its own, in a folder of the disk.
func embeddedSides(ctx context.Context, callersN int) (sides []side, end func(), err error) {
	dir, err := os.MkdirTemp("", "gwbench-")
	if err != nil {
		return nil, nil, err
	}
	client, err := gateway.New(ctx, gateway.Embedded(filepath.Join(dir, "ours")))
	if err != nil {
		return nil, nil, err
	}
	template, err := gateway.New(ctx, gateway.Embedded(filepath.Join(dir, "bare"))) // makes the table
	if err != nil {
		return nil, nil, err
	}
	if err := template.Close(); err != nil {
		return nil, nil, err
	}
	db, err := openSQLite(filepath.Join(dir, "bare", "gateway.db"))
	if err != nil {
		return nil, nil, err
	}
	statement, err := db.PrepareContext(ctx, insertHead+insertRow)
	if err != nil {
		return nil, nil, err
	}
	l := newLoad(users, payloadSize)
	var seq atomic.Int64
	return []side{
			{"SendReliable, embedded", func(ctx context.Context, d time.Duration) (figures, error) {
				return callers(ctx, callersN, d, func(ctx context.Context, _, i int) error {
					_, err := client.SendReliable(ctx, l.user(i), l.body)
					return err
				})
			}},
			{"bare SQLite INSERT", func(ctx context.Context, d time.Duration) (figures, error) {
				return callers(ctx, callersN, d, func(ctx context.Context, _, i int) error {
					_, err := statement.ExecContext(ctx, rowArgs(nil, uuid.NewString(), l.user(i), seq.Add(1), l.body)...)
					return err
				})
			}},
		}, func() {
			_ = client.Close()
			_ = statement.Close()
			_ = db.Close()
			_ = os.RemoveAll(dir)
		}, nil
}

func embedded1(ctx context.Context, b *bench) ([]line, error) {
	sides, end, err := embeddedSides(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := interleave(ctx, b.plan(15, 300*time.Millisecond), sides...)
	if err != nil {
		return nil, err
	}
	return []line{compare(p50, f[0], sides[1].name, f[1], atMost(1.2))}, nil
}

func embedded256(ctx context.Context, b *bench) ([]line, error) {
	sides, end, err := embeddedSides(ctx, 256)
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := interleave(ctx, b.plan(7, 700*time.Millisecond), sides...)
	if err != nil {
		return nil, err
	}
	return []line{compare(perSecond, f[0], sides[1].name, f[1], atLeast(5))}, nil
}
