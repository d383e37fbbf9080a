// Package testenv tells tests which real services they may use, gives each
// test names of its own on them, and counts the tests that ran against each
// backend, so that a run that tested little cannot pass for one that tested
// everything.
//
// The services are named by GATEWAY_TEST_REDIS (host:port), GATEWAY_TEST_MYSQL
// (a DSN of go-sql-driver/mysql without database name, such as
// "root@tcp(127.0.0.1:3306)/") and GATEWAY_TEST_RABBITMQ (an amqp:// URL).
// `make test` sets them. With GATEWAY_TEST_REQUIRE=1 a missing service fails
// the test that needs it instead of skipping it.
package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Embedded is the backend name under which tests without services count.
const Embedded = "embedded"

// Real is the backend name under which tests against Redis, MySQL and RabbitMQ
// together count.
const Real = "redis+mysql+rabbitmq"

// Redis returns the address of the Redis server for tests.
func Redis(t testing.TB) string {
	t.Helper()
	return service(t, "redis", "GATEWAY_TEST_REDIS")
}

// RabbitMQ returns the amqp:// URL of the RabbitMQ server for tests.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	return service(t, "rabbitmq", "GATEWAY_TEST_RABBITMQ")
}

// MySQL creates an empty database on the MySQL server for tests, which is
// dropped when the test ends, and returns a configuration that points to it.
func MySQL(t testing.TB) *mysql.Config {
	t.Helper()
	cfg, err := mysql.ParseDSN(service(t, "mysql", "GATEWAY_TEST_MYSQL"))
	if err != nil {
		t.Fatalf("GATEWAY_TEST_MYSQL: %v", err)
	}
	admin, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatalf("open mysql: %v", err)
	}
	name := "gwtest_" + Unique()
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		_ = admin.Close()
		t.Fatalf("create test database: %v", err)
	}
	t.Cleanup(func() {
		// t.Context is over by now. A transaction that was left open would block
		// the drop.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := admin.ExecContext(ctx, "DROP DATABASE "+name); err != nil {
			t.Errorf("drop test database: %v", err)
		}
		_ = admin.Close()
	})
	cfg.DBName = name
	return cfg
}

// Unique returns a short name that no other test has, for key prefixes, queue
// names and user ids.
func Unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// Count notes that the calling test runs against a backend.
func Count(t testing.TB, backend string) {
	t.Helper()
	if path := os.Getenv("GATEWAY_TEST_REPORT"); path != "" {
		report(t, path, backend)
	}
}

// Binary finds the program of a server that a test starts by itself, to kill it
// for one. Where it is not installed the test is skipped, or fails if
// GATEWAY_TEST_REQUIRE=1.
func Binary(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		Count(t, name)
		return path
	}
	Count(t, "skipped:"+name)
	if os.Getenv("GATEWAY_TEST_REQUIRE") == "1" {
		t.Fatalf("GATEWAY_TEST_REQUIRE=1 demands a %s, and none is installed", name)
	}
	t.Skipf("not run: needs a %s of its own, and none is installed", name)
	return ""
}

// FreePort finds a port of the loopback interface. Another process could take it
// in between, which would show as a server that does not start.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a port: %v", err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatalf("find a port: %v", err)
	}
	return port
}

func service(t testing.TB, name, variable string) string {
	t.Helper()
	if v := os.Getenv(variable); v != "" {
		Count(t, name)
		return v
	}
	if path := os.Getenv("GATEWAY_TEST_REPORT"); path != "" {
		report(t, path, "skipped:"+name)
	}
	if os.Getenv("GATEWAY_TEST_REQUIRE") == "1" {
		t.Fatalf("%s is not set, and GATEWAY_TEST_REQUIRE=1 demands it", variable)
	}
	if !testing.Verbose() {
		notice(name)
	}
	t.Skipf("not run: needs a real %s (set %s, or use `make test`)", name, variable)
	return ""
}

// testPackage is the import path of the package under test.
var testPackage = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return strings.TrimSuffix(info.Path, ".test")
})

var reportMu sync.Mutex

// report appends a line of three fields to the file that cmd/testreport reads:
// what to note, the test, and its package.
func report(t testing.TB, path, note string) {
	t.Helper()
	line := note + "\t" + t.Name() + "\t" + testPackage() + "\n"
	reportMu.Lock()
	defer reportMu.Unlock()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // who runs the tests names the file
	if err != nil {
		t.Fatalf("GATEWAY_TEST_REPORT: %v", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString(line); err != nil {
		t.Fatalf("GATEWAY_TEST_REPORT: %v", err)
	}
}
