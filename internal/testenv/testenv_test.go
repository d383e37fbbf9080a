package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const thisPackage = "github.com/message-gateway/gateway/internal/testenv"

// The tests change the environment that every other test of a run is counted
// with, so each sets a report of its own and none runs beside another.

func TestCountNotesBackendTestAndPackage(t *testing.T) {
	notes := filepath.Join(t.TempDir(), "notes")
	t.Setenv("GATEWAY_TEST_REPORT", notes)
	Count(t, Embedded)
	wantNotes(t, notes, "embedded\t"+t.Name()+"\t"+thisPackage+"\n")
}

func TestNamedServiceIsUsedAndCounted(t *testing.T) {
	notes := filepath.Join(t.TempDir(), "notes")
	t.Setenv("GATEWAY_TEST_REPORT", notes)
	t.Setenv("GATEWAY_TEST_REDIS", "127.0.0.1:1")
	if got := Redis(t); got != "127.0.0.1:1" {
		t.Errorf("Redis() = %q", got)
	}
	wantNotes(t, notes, "redis\t"+t.Name()+"\t"+thisPackage+"\n")
}

// recorder stands in for a test that ends early.
type recorder struct {
	testing.TB
	skipped, fatal bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.skipped = true }
func (r *recorder) Fatalf(string, ...any) { r.fatal = true; panic(r) }

func TestMissingServiceSkipsAndIsNoted(t *testing.T) {
	notes := filepath.Join(t.TempDir(), "notes")
	t.Setenv("GATEWAY_TEST_REPORT", notes)
	t.Setenv("GATEWAY_TEST_RABBITMQ", "")
	t.Setenv("GATEWAY_TEST_REQUIRE", "")
	noticed.Store("rabbitmq", true) // this one is no news to who runs the tests
	defer noticed.Delete("rabbitmq")
	r := &recorder{TB: t}
	RabbitMQ(r)
	if !r.skipped || r.fatal {
		t.Errorf("skipped %v, fatal %v", r.skipped, r.fatal)
	}
	wantNotes(t, notes, "skipped:rabbitmq\t"+t.Name()+"\t"+thisPackage+"\n")
}

func TestMissingServiceFailsWhereRequired(t *testing.T) {
	t.Setenv("GATEWAY_TEST_REPORT", "")
	t.Setenv("GATEWAY_TEST_MYSQL", "")
	t.Setenv("GATEWAY_TEST_REQUIRE", "1")
	r := &recorder{TB: t}
	defer func() {
		if got := recover(); got != r {
			t.Fatalf("recovered %v, want the end of the test", got)
		}
		if r.skipped || !r.fatal {
			t.Errorf("skipped %v, fatal %v", r.skipped, r.fatal)
		}
	}()
	MySQL(r)
}

func TestMySQLGivesADatabaseOfOnesOwn(t *testing.T) {
	a, b := MySQL(t), MySQL(t)
	if a.DBName == b.DBName || !strings.HasPrefix(a.DBName, "gwtest_") {
		t.Errorf("databases %q and %q", a.DBName, b.DBName)
	}
}

func wantNotes(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("notes %q, want %q", got, want)
	}
}
