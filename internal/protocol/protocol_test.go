package protocol

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		offered []string
		name    string
		sub     Subprotocol
		ok      bool
	}{
		{nil, "", Simple, false},
		{[]string{"mqtt", ""}, "", Simple, false},
		{[]string{NameJSONv1}, NameJSONv1, JSONv1, true},
		{[]string{"x", NameProtobufV1, NameJSONv1}, NameProtobufV1, ProtobufV1, true},
		{[]string{"JSON.Reliable.WebPubSub.Azure.V1", NameJSONv1}, "JSON.Reliable.WebPubSub.Azure.V1", JSONReliableV1, true},
		{[]string{NameProtobufReliableV1}, NameProtobufReliableV1, ProtobufReliableV1, true},
		{[]string{"json.webpubsub.azure.v1 "}, "", Simple, false},
		{[]string{"json.webpubsub.azure.v\u212a"}, "", Simple, false},
	} {
		name, sub, ok := Negotiate(tc.offered)
		require.Equal(t, tc.name, name, "%q", tc.offered)
		require.Equal(t, tc.sub, sub, "%q", tc.offered)
		require.Equal(t, tc.ok, ok, "%q", tc.offered)
	}
}

func TestSubprotocolProperties(t *testing.T) {
	t.Parallel()
	require.False(t, Simple.Reliable() || Simple.Binary())
	require.False(t, JSONv1.Reliable() || JSONv1.Binary())
	require.True(t, JSONReliableV1.Reliable() && !JSONReliableV1.Binary())
	require.True(t, !ProtobufV1.Reliable() && ProtobufV1.Binary())
	require.True(t, ProtobufReliableV1.Reliable() && ProtobufReliableV1.Binary())
	require.Empty(t, Simple.String())
}
