package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/message-gateway/gateway/internal/store"
)

// sqliteConn is a connection that keeps the statements of insertEach compiled.
// database/sql would keep them too, but would make new arguments, a new result
// and a goroutine that waits for the end of ctx for every row.
type sqliteConn struct {
	driverConn
	compiled map[string]driver.StmtExecContext
	args     []driver.NamedValue
	values   []any
}

// driverConn is what database/sql uses of a connection of the driver.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// sqliteConnector opens connections that keep statements.
type sqliteConnector struct{ driver.Connector }

// Connect implements driver.Connector.
func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := conn.(driverConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's %T lacks methods", conn), conn.Close())
	}
	return &sqliteConn{driverConn: full, compiled: map[string]driver.StmtExecContext{}}, nil
}

// Close closes the statements and the connection, in this order: SQLite keeps
// the file open while a statement is.
func (c *sqliteConn) Close() error {
	var errs []error
	for _, statement := range c.compiled {
		errs = append(errs, statement.(driver.Stmt).Close())
	}
	clear(c.compiled)
	return errors.Join(append(errs, c.driverConn.Close())...)
}

// exec runs a statement, which it compiles at the first time. It does not end
// with a ctx, so it is only for what is over soon, or cannot be interrupted
// anyway, as a commit. It waits for the lock of another connection no longer
// than busy_timeout.
func (c *sqliteConn) exec(text string, args []driver.NamedValue) error {
	statement, ok := c.compiled[text]
	if !ok {
		prepared, err := c.PrepareContext(context.Background(), text)
		if err != nil {
			return err
		}
		if statement, ok = prepared.(driver.StmtExecContext); !ok {
			return errors.Join(fmt.Errorf("the driver's %T lacks methods", prepared), prepared.Close())
		}
		c.compiled[text] = statement
	}
	_, err := statement.ExecContext(context.Background(), args)
	return err
}

// insert runs the INSERT of one row for each message.
func (c *sqliteConn) insert(ctx context.Context, s *Store, msgs []*store.Message) error {
	var shared sharedArgs
	defer c.forget()
	for _, m := range msgs {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, short := s.short.text(1), !needsAllColumns(m)
		if !short {
			text = s.long.text(1)
		}
		c.values = shared.appendRow(c.values[:0], m, short)
		c.args = c.args[:0]
		for i, value := range c.values {
			c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: value})
		}
		if err := c.exec(text, c.args); err != nil {
			return err
		}
	}
	return nil
}

// forget lets go of the texts of the last row.
func (c *sqliteConn) forget() {
	clear(c.values)
	clear(c.args)
}

// insertEach inserts rows whose ids are all free, with one compiled statement
// that is run for each: to SQLite, a statement is a call and no round trip, and
// the driver's time for binding grows with the square of the arguments.
func insertEach(ctx context.Context, s *Store, msgs []*store.Message) error {
	for _, m := range msgs {
		if _, err := s.textSize(m); err != nil {
			return err
		}
	}
	pooled, err := s.w.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = pooled.Close() }()
	open := false
	err = pooled.Raw(func(raw any) error {
		conn, ok := raw.(*sqliteConn)
		if !ok {
			return fmt.Errorf("%T is not a connection of OpenSQLite", raw)
		}
		if len(msgs) == 1 {
			return conn.insert(ctx, s, msgs) // a transaction of its own
		}
		if err := conn.exec(s.dialect.begin, nil); err != nil {
			return err
		}
		if err := conn.insert(ctx, s, msgs); err != nil {
			open = conn.exec("ROLLBACK", nil) != nil
			return err
		}
		if err := conn.exec("COMMIT", nil); err != nil {
			open = true
			return fmt.Errorf("%w: %w", errUnknownOutcome, err)
		}
		return nil
	})
	if open {
		discard(pooled)
	}
	return err
}
