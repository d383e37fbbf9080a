package sqlstore

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// class is what an error of a driver means to a caller.
type class int

const (
	// permanent: trying again gives the same error.
	permanent class = iota
	// transient: the server or the way to it is in trouble that passes.
	transient
	// rejected: the values of a row are refused.
	rejected
	// duplicate: a row with that key exists.
	duplicate
	// noTable: push_messages does not exist.
	noTable
	// denied: the account lacks a privilege.
	denied
)

// mysqlClasses are the server errors that do not mean permanent.
var mysqlClasses = map[uint16]class{
	1020: transient, // the row has changed since the snapshot (MariaDB)
	1040: transient, // too many connections
	1053: transient, // server shutdown in progress
	1077: transient, // normal shutdown
	1079: transient, // shutdown complete
	1152: transient, // aborted connection
	1158: transient, // network: read
	1159: transient, // network: read timeout
	1160: transient, // network: write
	1161: transient, // network: write timeout
	1180: transient, // error during COMMIT
	1203: transient, // too many connections of this user
	1205: transient, // lock wait timeout
	1206: transient, // no room for more locks
	1213: transient, // deadlock
	1226: transient, // a limit of the account, such as MAX_USER_CONNECTIONS
	1290: transient, // read only, as a primary becomes in a failover
	1317: transient, // query interrupted
	1412: transient, // the table has changed since the snapshot
	1637: transient, // too many transactions
	1792: transient, // read only transaction, see 1290
	1836: transient, // read only mode, see 1290
	1927: transient, // connection was killed
	1969: transient, // max_statement_time (MariaDB)
	3024: transient, // max_execution_time (MySQL)
	3032: transient, // server is offline for ordinary users
	3101: transient, // group replication rolled the transaction back
	4031: transient, // disconnected after inactivity

	1048: rejected, // NULL in a NOT NULL column
	1118: rejected, // row too large
	1153: rejected, // larger than max_allowed_packet
	1264: rejected, // number out of range
	1265: rejected, // data truncated
	1267: rejected, // text that the column's character set cannot hold
	1271: rejected, // the same, of several texts
	1292: rejected, // time out of range
	1300: rejected, // not UTF-8
	1364: rejected, // a column without default that we do not know
	1366: rejected, // not UTF-8, or not in the column's character set
	1406: rejected, // too long
	1452: rejected, // foreign key
	1644: rejected, // a trigger's SIGNAL
	1690: rejected, // value out of range
	3140: rejected, // invalid JSON text
	3141: rejected, // invalid JSON in a function
	3144: rejected, // JSON of the wrong character set
	3150: rejected, // JSON value too large
	3156: rejected, // invalid JSON for a cast
	3157: rejected, // JSON nested too deeply
	3819: rejected, // CHECK constraint (MySQL)
	4025: rejected, // CHECK constraint (MariaDB)

	1062: duplicate,
	1586: duplicate,

	1146: noTable,

	1044: denied, // access to the database
	1142: denied, // command on the table
	1143: denied, // column
	1227: denied, // special privilege
	1370: denied, // routine
}

func classifyMySQL(err error) class {
	var server *mysql.MySQLError
	switch {
	case errors.As(err, &server):
		return mysqlClasses[server.Number]
	case errors.Is(err, mysql.ErrPktTooLarge):
		return rejected
	}
	return classifyConnection(err)
}

func classifySQLite(err error) class {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return classifyConnection(err)
	}
	switch code := lite.Code(); code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_SCHEMA:
		return transient
	case sqlite3.SQLITE_CONSTRAINT:
		if code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || code == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
			return duplicate
		}
		return rejected
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return rejected
	case sqlite3.SQLITE_ERROR:
		if strings.Contains(lite.Error(), "no such table: "+wire.Table) {
			return noTable
		}
	}
	return permanent
}

// classifyConnection knows the errors of a connection that broke, or could not
// be made.
func classifyConnection(err error) class {
	var network *net.OpError
	var name *net.DNSError
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) ||
		errors.Is(err, mysql.ErrMalformPkt) || errors.Is(err, mysql.ErrPktSync) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &network) || errors.As(err, &name) {
		return transient
	}
	return permanent
}

// mark joins the sentinel that callers test for to a driver's error.
func (s *Store) mark(err error) error {
	switch s.dialect.classify(err) {
	case rejected, duplicate:
		// A duplicate that got here is not one of the id: Insert has dealt
		// with those.
		return fmt.Errorf("%w: %w", store.ErrRejected, err)
	case noTable:
		return fmt.Errorf("%w: %w", store.ErrNoTable, err)
	}
	return err
}
