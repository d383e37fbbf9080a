package gateway_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/token"
)

func TestClientAccessToken(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	key := strings.Repeat("k", 32)
	b.cfg.AccessKey, b.cfg.SecondaryAccessKey = key, strings.Repeat("s", 32)
	b.cfg.Endpoints, b.cfg.Hub = []string{"https://push.example.com/base/", "https://two.example.com"}, "Chat"
	c, ctx := b.open(t), within(t, 20*time.Second)
	accept := token.Audience("chat", "", "", []string{"https://push.example.com/base"})

	access, err := c.ClientAccessToken(ctx, "user_1", gateway.WithRoles("a", "b"), gateway.WithRoles("c"), gateway.WithGroups("g"), gateway.WithLifetime(time.Minute))
	require.NoError(t, err)
	claims, err := token.Verify(access.Token, token.MaxLength, []string{key}, accept)
	require.NoError(t, err)
	require.Equal(t, "https://push.example.com/base/client/hubs/Chat", claims.Audience, "the caller's casing")
	require.Equal(t, "user_1", claims.UserID)
	require.Equal(t, []string{"a", "b", "c"}, claims.Roles)
	require.Equal(t, []string{"g"}, claims.Groups)
	require.True(t, claims.ExpiresAt.Equal(access.ExpiresAt))
	require.WithinDuration(t, time.Now().Add(time.Minute), access.ExpiresAt, 10*time.Second)
	u, err := url.Parse(access.URL)
	require.NoError(t, err)
	require.Equal(t, "wss://push.example.com/base/client/hubs/Chat", u.Scheme+"://"+u.Host+u.Path)
	require.Equal(t, url.Values{"access_token": {access.Token}}, u.Query())

	access, err = c.ClientAccessToken(ctx, "", gateway.WithEndpoint("http://localhost:8080"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(access.URL, "ws://localhost:8080/client/hubs/Chat?access_token="))
	require.WithinDuration(t, time.Now().Add(gateway.DefaultTokenLifetime), access.ExpiresAt, 10*time.Second)

	for want, opts := range map[error][]gateway.TokenOption{
		gateway.ErrInvalidTimeout:  {gateway.WithLifetime(time.Second - 1)},
		gateway.ErrInvalidArgument: {gateway.WithEndpoint("ftp://x")},
	} {
		_, err = c.ClientAccessToken(ctx, "u", opts...)
		require.ErrorIs(t, err, want)
		require.ErrorIs(t, err, gateway.ErrInvalidArgument)
	}
	_, err = c.ClientAccessToken(ctx, "\xff")
	require.ErrorIs(t, err, gateway.ErrInvalidUserID)
}

func TestClientAccessTokenNeedsKeyAndEndpoint(t *testing.T) {
	t.Parallel()
	one, two := embeddedBackend(t).open(t), embeddedBackend(t).open(t)
	ctx := within(t, 20*time.Second)
	_, err := one.ClientAccessToken(ctx, "u")
	require.ErrorIs(t, err, gateway.ErrNoEndpoint)
	a, err := one.ClientAccessToken(ctx, "u", gateway.WithEndpoint("http://h"))
	require.NoError(t, err, "an embedded client makes a key of its own")
	b, err := two.ClientAccessToken(ctx, "u", gateway.WithEndpoint("http://h"))
	require.NoError(t, err)
	require.NotEqual(t, a.Token[strings.LastIndex(a.Token, "."):], b.Token[strings.LastIndex(b.Token, "."):])

	real := realBackend(t).open(t)
	_, err = real.ClientAccessToken(ctx, "u", gateway.WithEndpoint("http://h"))
	require.ErrorIs(t, err, gateway.ErrNoAccessKey)
}
