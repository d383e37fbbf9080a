package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// mysqlState puts the database into a state in which it answers and does not
// serve, and out of it again. An undo that fails is tried again: it may itself
// have to wait for what the state holds up.
func mysqlState(name string, d time.Duration, into, out []string) fault {
	return fault{name, d, func(ctx context.Context, r *run) (string, error) {
		err := r.execAll(ctx, into)
		if err == nil {
			err = sleep(ctx, d)
		}
		ctx = context.WithoutCancel(ctx)
		for range 10 {
			undone := r.execAll(ctx, out)
			if undone == nil {
				return seconds(d), err
			}
			err = errors.Join(err, undone)
			_ = sleep(ctx, 500*time.Millisecond)
		}
		return "", err
	}}
}

func (r *run) execAll(ctx context.Context, statements []string) error {
	for _, statement := range statements {
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		_, err := r.root.ExecContext(bounded, statement)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// mysqlStates are what operators, other applications and failovers do to a
// database that runs on.
func mysqlStates(span func(time.Duration) time.Duration) []fault {
	return []fault{
		// As one does whose disk is full, or that has become a replica.
		mysqlState("mysql read-only", span(4*stateTime), []string{"SET GLOBAL read_only = 1"}, []string{"SET GLOBAL read_only = 0"}),
		limited("mysql lets in few connections", span(stateTime), "SET GLOBAL max_connections = 10", "SET GLOBAL max_connections = 500"),
		limited("mysql lets in few connections of the account", span(stateTime),
			"ALTER USER "+dbUser+"@localhost, "+dbUser+"@'%' WITH MAX_USER_CONNECTIONS 3",
			"ALTER USER "+dbUser+"@localhost, "+dbUser+"@'%' WITH MAX_USER_CONNECTIONS 0"),
		killConnections(span(stateTime)),
		limited("mysql lets the account in no more", span(stateTime),
			"ALTER USER "+dbUser+"@localhost, "+dbUser+"@'%' ACCOUNT LOCK", "ALTER USER "+dbUser+"@localhost, "+dbUser+"@'%' ACCOUNT UNLOCK"),
		mysqlState("the table is away", span(stateTime),
			[]string{"RENAME TABLE push_messages TO push_messages_away"}, []string{"RENAME TABLE push_messages_away TO push_messages"}),
		locked("the table is locked", span(stateTime), "LOCK TABLES push_messages WRITE", "UNLOCK TABLES"),
		locked("all rows are locked", span(stateTime), "BEGIN; SELECT COUNT(*) FROM (SELECT id FROM push_messages FOR UPDATE) AS all_rows", "ROLLBACK"),
		// Whoever has connected meanwhile keeps it.
		limited("mysql closes idle connections", span(stateTime), "SET GLOBAL wait_timeout = 1", "SET GLOBAL wait_timeout = 28800"),
		mysqlState("the table is rebuilt with another column", 0,
			[]string{"ALTER TABLE push_messages ADD COLUMN of_an_operator VARCHAR(10) NULL, ALGORITHM=COPY"},
			[]string{"ALTER TABLE push_messages DROP COLUMN of_an_operator, ALGORITHM=COPY"}),
		deadlocks(span(stateTime)),
	}
}

// connectionsOfAccount are the ids of the connections of everyone but root.
func (r *run) connectionsOfAccount(ctx context.Context) (ids []int64, err error) {
	rows, err := r.root.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE user = ?", dbUser)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// killAll kills every connection of everyone but root, and counts them.
func (r *run) killAll(ctx context.Context) (int, error) {
	ids, err := r.connectionsOfAccount(ctx)
	if err != nil {
		return 0, err
	}
	killed := 0
	for _, id := range ids {
		if _, err := r.root.ExecContext(ctx, fmt.Sprint("KILL ", id)); err == nil { // others have ended by themselves
			killed++
		}
	}
	return killed, ctx.Err()
}

// killConnections kills connections again and again, in the middle of whatever
// they do.
func killConnections(d time.Duration) fault {
	return fault{"KILL of mysql connections", d, func(ctx context.Context, r *run) (string, error) {
		killed := 0
		for began := time.Now(); time.Since(began) < d; {
			n, err := r.killAll(ctx)
			if err != nil {
				return "", err
			}
			killed += n
			if err := sleep(ctx, 100*time.Millisecond); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%s, %d of them", seconds(d), killed), nil
	}}
}

// limited lowers a limit and has everyone connect anew.
func limited(name string, d time.Duration, lower, raise string) fault {
	return fault{name, d, func(ctx context.Context, r *run) (string, error) {
		err := r.execAll(ctx, []string{lower})
		if err == nil {
			_, err = r.killAll(ctx)
		}
		if err == nil {
			err = sleep(ctx, d)
		}
		return seconds(d), errors.Join(err, r.execAll(context.WithoutCancel(ctx), []string{raise}))
	}}
}

// locked has another application hold a lock, on a connection of its own.
func locked(name string, d time.Duration, take, release string) fault {
	return fault{name, d, func(ctx context.Context, r *run) (string, error) {
		conn, err := r.root.Conn(ctx)
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close() }()
		for statement := range strings.SplitSeq(take, ";") {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return "", fmt.Errorf("%s: %w", statement, err)
			}
		}
		err = sleep(ctx, d)
		_, released := conn.ExecContext(context.WithoutCancel(ctx), release)
		return seconds(d), errors.Join(err, released)
	}}
}

// deadlocks has another application lock the newest rows, those that are being
// delivered and acknowledged, in orders of its own.
func deadlocks(d time.Duration) fault {
	return fault{"another application locks rows in other orders", d, func(ctx context.Context, r *run) (string, error) {
		const lockers = 4
		type sums struct{ rounds, victims int }
		each := make(chan sums, lockers)
		bounded, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		for range lockers {
			go func() {
				var s sums
				for bounded.Err() == nil {
					s.rounds++
					if err := r.lockSome(bounded); err != nil && bounded.Err() == nil {
						s.victims++
					}
				}
				each <- s
			}()
		}
		var all sums
		for range lockers {
			s := <-each
			all.rounds, all.victims = all.rounds+s.rounds, all.victims+s.victims
		}
		return fmt.Sprintf("%s, %d transactions, %d of which were ended for others", seconds(d), all.rounds, all.victims), ctx.Err()
	}}
}

// newest are the ids of the newest rows.
func newest(ctx context.Context, tx *sql.Tx) (ids []string, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id FROM push_messages ORDER BY created_at DESC LIMIT 200")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// lockSome locks twenty of the newest rows, one after the other, and lets go.
func (r *run) lockSome(ctx context.Context) error {
	tx, err := r.root.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	ids, err := newest(ctx, tx)
	if err != nil {
		return err
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for _, id := range ids[:min(20, len(ids))] {
		if _, err := tx.ExecContext(ctx, "SELECT id FROM push_messages WHERE id = ? FOR UPDATE", id); err != nil {
			return err
		}
	}
	return nil
}
