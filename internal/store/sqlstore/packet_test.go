package sqlstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// TestPacketLimit stores more than one statement may carry.
func TestPacketLimit(t *testing.T) {
	s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
	require.NoError(t, s.Migrate(t.Context()))
	// As if the server took less: changing the real limit would disturb others.
	s.maxPacket = 64 << 10
	ctx := t.Context()
	var msgs []*store.Message
	var answers []store.Answer
	for range 20 {
		m := command(s)
		m.Payload = json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), 20<<10)) + `"`)
		msgs = append(msgs, m)
		answers = append(answers, store.Answer{ID: m.ID, Response: m.Payload, At: s.Now()})
	}
	n, err := s.fit(msgs)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	duplicates, err := s.Insert(ctx, msgs)
	require.NoError(t, err)
	require.Empty(t, duplicates)
	_, err = s.Answer(ctx, answers)
	require.NoError(t, err)
	got, err := s.Get(ctx, msgs[19].ID)
	require.NoError(t, err)
	require.Equal(t, wire.Finished, got.Status)

	big := command(s)
	big.Payload = json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), 64<<10)) + `"`)
	small := command(s)
	_, err = s.Insert(ctx, []*store.Message{small, big})
	require.ErrorIs(t, err, store.ErrRejected)
	require.ErrorContains(t, err, "max_allowed_packet")
	_, err = s.Get(ctx, small.ID)
	require.ErrorIs(t, err, store.ErrNotFound, "nothing of the batch is stored")
}

// TestServersPacketLimit goes past the limit that the server has.
func TestServersPacketLimit(t *testing.T) {
	s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
	require.NoError(t, s.Migrate(t.Context()))
	m := command(s)
	m.Payload = json.RawMessage(`"` + string(bytes.Repeat([]byte("x"), s.maxPacket-rowOverhead-200)) + `"`)
	_, err := s.Insert(t.Context(), []*store.Message{m})
	require.True(t, err == nil || errors.Is(err, store.ErrRejected), "%.300v", err)
	_, err = s.Insert(t.Context(), []*store.Message{command(s)})
	require.NoError(t, err)
}
