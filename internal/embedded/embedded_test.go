package embedded

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// folderVariable makes this test binary the second process, which opens the
// folder and says how that went with its exit code.
const folderVariable = "GATEWAY_TEST_EMBEDDED_FOLDER"

func TestMain(m *testing.M) {
	dir := os.Getenv(folderVariable)
	if dir == "" {
		goleak.VerifyTestMain(m)
		return
	}
	b, err := Open(context.Background(), dir, nil)
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		os.Exit(3)
	}
	if err := closeBackend(b); err != nil {
		os.Exit(4)
	}
}

func closeBackend(b *Backend) error {
	if err := b.Bus.Close(); err != nil {
		return err
	}
	if err := b.Broker.Close(); err != nil {
		return err
	}
	if err := b.Store.Close(); err != nil {
		return err
	}
	return b.Release()
}

func open(t testing.TB, dir string) *Backend {
	t.Helper()
	b, err := Open(t.Context(), dir, nil)
	require.NoError(t, err)
	return b
}

func message(userID string) *store.Message {
	return &store.Message{ID: testenv.Unique(), UserID: userID, PushType: wire.Reliable, Seq: 1, Payload: []byte(`1`)}
}

func TestClientsOfOneProcessShareAFolder(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	one := open(t, dir)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	two := open(t, link)
	require.Equal(t, one.Dir, two.Dir)

	got := make(chan string, 1)
	listener := two.Bus.Listen(func(_ string, payload []byte) { got <- string(payload) }, func() {})
	require.NoError(t, listener.Subscribe(t.Context(), false, "x"))
	n, err := one.Bus.Publish(t.Context(), []bus.Publication{{Channel: "x", Payload: []byte("hi")}})
	require.NoError(t, err)
	require.Equal(t, []int64{1}, n)
	require.Equal(t, "hi", <-got)
	msg := message("u")
	_, err = one.Store.Insert(t.Context(), []*store.Message{msg})
	require.NoError(t, err)

	require.NoError(t, closeBackend(one))
	require.NoError(t, one.Release(), "a second time does nothing")
	_, err = two.Store.Get(t.Context(), msg.ID)
	require.NoError(t, err, "the other goes on")
	require.NoError(t, closeBackend(two))
	three := open(t, dir)
	_, err = three.Store.Get(t.Context(), msg.ID)
	require.NoError(t, err, "the file stays")
	require.NoError(t, closeBackend(three))
}

func TestASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	dir := t.TempDir()
	second := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), folderVariable+"="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	b := open(t, dir)
	out, err := second()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Contains(t, out, "in use by another process")
	require.Contains(t, out, b.Dir)
	require.NoError(t, closeBackend(b))
	out, err = second()
	require.NoError(t, err, out)
	require.NoError(t, closeBackend(open(t, dir)))
}

func TestTemporaryFolders(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	one, two := open(t, ""), open(t, "")
	require.NotEqual(t, one.Dir, two.Dir)
	info, err := os.Stat(filepath.Join(one.Dir, File))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, closeBackend(one))
	_, err = os.Stat(one.Dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, two.Store.Ping(t.Context()))
	require.NoError(t, closeBackend(two))
}

func TestFoldersThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("not a folder"), 0o600))
	_, err := Open(t.Context(), file, nil)
	require.ErrorContains(t, err, file)
	_, err = Open(t.Context(), filepath.Join(file, "below"), nil)
	require.Error(t, err)

	// A file that is no database is an error, and the folder is free again.
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, File), []byte("certainly not an SQLite database, but long enough to be read as one"), 0o600))
	for range 2 {
		_, err = Open(t.Context(), dir, nil)
		require.ErrorContains(t, err, File)
	}
	require.NoError(t, os.Remove(filepath.Join(dir, File)))
	require.NoError(t, closeBackend(open(t, dir)))
}

func TestOpenAndCloseAtTheSameTime(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				b, err := Open(t.Context(), dir, nil)
				if assert.NoError(t, err) {
					assert.NoError(t, closeBackend(b))
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.NotContains(t, instances, dir)
}
