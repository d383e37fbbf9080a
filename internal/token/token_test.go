package token

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	key = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
	// vector is the test vector of the specification, section 2.1.
	vector = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwOi8vMTI3LjAuMC4xOjgwODAvY2xpZW50L2h1YnMvY2hhdCIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwLCJzdWIiOiJ1MSJ9.Z0ze9nZxdoTAZF-lSB2T0lNN7gmqfdqk5u0uDFba6s0"
	aud    = "http://127.0.0.1:8080/client/hubs/chat"
)

var chat = Audience("chat", "127.0.0.1:8080", "", nil)

func TestVectorOfTheSpecification(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]string{{key}, {"another key, the rotated one", key}} {
		c, err := Verify(vector, MaxLength, keys, chat)
		require.NoError(t, err)
		require.Equal(t, aud, c.Audience)
		require.Equal(t, "u1", c.UserID)
		require.Equal(t, time.Unix(4102444800, 0), c.ExpiresAt)
		require.Equal(t, map[string][]string{"aud": {aud}, "iat": {"1700000000"}, "exp": {"4102444800"}, "sub": {"u1"}}, c.All)
		require.Empty(t, c.Roles)
		require.Empty(t, c.Groups)
	}
}

func TestSignRoundTrip(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	in := Claims{
		Audience: aud, UserID: "üser", Roles: []string{"webpubsub.sendToGroup", "b"}, Groups: []string{"g 1"},
		IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	}
	raw, err := Sign(key, in)
	require.NoError(t, err)
	out, err := Verify(raw, MaxLength, []string{key}, chat)
	require.NoError(t, err)
	require.True(t, in.ExpiresAt.Equal(out.ExpiresAt))
	require.Equal(t, []any{in.Audience, in.UserID, in.Roles, in.Groups}, []any{out.Audience, out.UserID, out.Roles, out.Groups})

	raw, err = Sign(key, Claims{Audience: aud, IssuedAt: now, ExpiresAt: now.Add(time.Hour)})
	require.NoError(t, err)
	out, err = Verify(raw, MaxLength, []string{key}, chat)
	require.NoError(t, err)
	require.Empty(t, out.UserID)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(payload, &claims))
	require.Len(t, claims, 3, "absent options are missing keys")
}

// sign makes any token at all.
func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	raw, err := jwt.NewWithClaims(method, claims).SignedString(key)
	require.NoError(t, err)
	return raw
}

func claims(change jwt.MapClaims) jwt.MapClaims {
	all := jwt.MapClaims{"aud": aud, "exp": time.Now().Add(time.Hour).Unix(), "sub": "u1"}
	for name, value := range change {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

func TestVerifyOutcomes(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	hs := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, []byte(key), claims(c)) }
	unsigned := sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil))
	parts := strings.Split(vector, ".")
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"plain":                      {hs(nil), nil},
		"expired within the skew":    {hs(jwt.MapClaims{"exp": ago(4 * time.Minute)}), nil},
		"expired":                    {hs(jwt.MapClaims{"exp": ago(6 * time.Minute)}), ErrExpired},
		"no exp":                     {hs(jwt.MapClaims{"exp": nil}), ErrInvalid},
		"exp is text":                {hs(jwt.MapClaims{"exp": "tomorrow"}), ErrInvalid},
		"nbf within the skew":        {hs(jwt.MapClaims{"nbf": ago(-4 * time.Minute)}), nil},
		"nbf":                        {hs(jwt.MapClaims{"nbf": ago(-6 * time.Minute)}), ErrExpired},
		"iat in the future":          {hs(jwt.MapClaims{"iat": ago(-time.Hour)}), nil},
		"only exp":                   {hs(jwt.MapClaims{"sub": nil}), nil},
		"list of audiences":          {hs(jwt.MapClaims{"aud": []string{"x", aud}}), nil},
		"audience of another hub":    {hs(jwt.MapClaims{"aud": strings.Replace(aud, "chat", "other", 1)}), ErrAudience},
		"audience of another host":   {hs(jwt.MapClaims{"aud": "http://evil/client/hubs/chat"}), ErrAudience},
		"no audience":                {hs(jwt.MapClaims{"aud": nil}), ErrAudience},
		"empty audience":             {hs(jwt.MapClaims{"aud": ""}), ErrAudience},
		"audience is a number":       {hs(jwt.MapClaims{"aud": 1}), ErrAudience},
		"sub is a number":            {hs(jwt.MapClaims{"sub": 1}), ErrInvalid},
		"alg none":                   {unsigned, ErrInvalid},
		"alg none with a signature":  {unsigned + parts[2], ErrInvalid},
		"alg None":                   {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)) + "." + parts[1] + ".", ErrInvalid},
		"HS512":                      {sign(t, jwt.SigningMethodHS512, []byte(key), claims(nil)), ErrInvalid},
		"wrong key":                  {sign(t, jwt.SigningMethodHS256, []byte(key+"x"), claims(nil)), ErrInvalid},
		"key decoded as base64":      {sign(t, jwt.SigningMethodHS256, decoded(t), claims(nil)), ErrInvalid},
		"signature of another token": {hs(nil)[:strings.LastIndex(hs(nil), ".")] + "." + parts[2], ErrInvalid},
		"no signature":               {parts[0] + "." + parts[1] + ".", ErrInvalid},
		"two parts":                  {parts[0] + "." + parts[1], ErrInvalid},
		"missing":                    {"", ErrMissing},
		"garbage":                    {"a.b.c", ErrInvalid},
		"too long":                   {strings.Repeat("x", MaxLength+1), ErrInvalid},
	} {
		got, err := Verify(c.raw, MaxLength, []string{key}, chat)
		if c.want == nil {
			assert.NoError(t, err, name)
			assert.Equal(t, aud, got.Audience, name)
			continue
		}
		assert.ErrorIs(t, err, c.want, name)
		assert.Equal(t, Claims{}, got, name)
		if len(c.raw) > 10 {
			assert.NotContains(t, err.Error(), c.raw, name)
			assert.NotContains(t, err.Error(), key, name)
		}
	}
	_, err := Verify(vector, MaxLength, nil, chat)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = Verify(sign(t, jwt.SigningMethodHS256, []byte{}, claims(nil)), MaxLength, nil, chat)
	require.ErrorIs(t, err, ErrInvalid)
}

func decoded(t testing.TB) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(key)
	require.NoError(t, err)
	return b
}

func TestClaimsAreStringsOrLists(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value any
		want  []string
	}{
		"string": {"webpubsub.sendToGroup", []string{"webpubsub.sendToGroup"}},
		"list":   {[]string{"a", "b"}, []string{"a", "b"}},
		"empty":  {[]string{}, []string{}},
	} {
		raw := sign(t, jwt.SigningMethodHS256, []byte(key), claims(jwt.MapClaims{"role": c.value, "webpubsub.group": c.value}))
		got, err := Verify(raw, MaxLength, []string{key}, chat)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got.Roles, name)
		require.Equal(t, c.want, got.Groups, name)
	}
	raw := sign(t, jwt.SigningMethodHS256, []byte(key), claims(jwt.MapClaims{
		"big": json.Number("12345678901234567890"), "flag": true, "object": map[string]any{"a": 1}, "mixed": []any{"a", 1, nil},
	}))
	got, err := Verify(raw, MaxLength, []string{key}, chat)
	require.NoError(t, err)
	require.Equal(t, []string{"12345678901234567890"}, got.All["big"])
	require.Equal(t, []string{"true"}, got.All["flag"])
	require.Equal(t, []string{`{"a":1}`}, got.All["object"])
	require.Equal(t, []string{"a", "1", "null"}, got.All["mixed"])
}

func TestAudience(t *testing.T) {
	t.Parallel()
	accept := Audience("Chat", "h.example:8080", "/sub", []string{"https://push.example.com/base/", "https://two.example.com:443"})
	for audience, want := range map[string]bool{
		"http://h.example:8080/sub/client/hubs/Chat":         true,
		"https://h.example:8080/sub/client/hubs/chat":        true,
		"HTTP://H.EXAMPLE:8080/SUB/CLIENT/HUBS/CHAT/":        true,
		"http://h.example:8080/client/hubs/Chat":             false,
		"ws://h.example:8080/sub/client/hubs/Chat":           false,
		"https://push.example.com/base/client/hubs/Chat":     true,
		"http://push.example.com/base/client/hubs/Chat":      true,
		"https://push.example.com:443/base/client/hubs/Chat": true,
		"https://push.example.com/client/hubs/Chat":          false,
		"https://two.example.com/client/hubs/Chat":           true,
		"https://two.example.com/client/hubs/Chat2":          false,
		"https://two.example.com/client/hubs/":               false,
		"":                                                   false,
		"://":                                                false,
		"chat":                                               false,
	} {
		assert.Equal(t, want, accept(audience), audience)
	}
	// A host that is none must not make every audience that is none acceptable.
	bad := Audience("chat", "%zz", "", nil)
	require.False(t, bad("http://%zz/client/hubs/chat"))
	require.False(t, bad("http://%yy"))
	require.True(t, Audience("chat", "h", "", nil)("http://h:80/client/hubs/chat"))
	require.True(t, Audience("chat", "h:80", "", nil)("http://h/client/hubs/chat"))
	require.False(t, Audience("chat", "h", "", nil)("http://h:443/client/hubs/chat"))
}

func FuzzVerify(f *testing.F) {
	f.Add(vector)
	f.Add(sign(f, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"aud": []string{aud}, "exp": 4102444800, "role": []any{"a", 1, nil}}))
	f.Add(sign(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)))
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Verify(raw, MaxLength, []string{key}, func(string) bool { return true })
		if err != nil {
			require.Equal(t, Claims{}, got)
			return
		}
		// Nobody guesses a signature: only the seeds pass, with their own claims.
		require.True(t, strings.HasPrefix(raw, vector[:36]))
		require.NotEmpty(t, got.All["exp"])
	})
}

// The claims that a signature vouches for must not break it either.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"aud":"a","exp":4102444800,"sub":"u","role":"x"}`))
	f.Add([]byte(`{"aud":["a"],"exp":4102444800.5,"role":[[1]],"webpubsub.group":{"a":null}}`))
	f.Add([]byte(`{"exp":1e400}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		encode := base64.RawURLEncoding.EncodeToString
		text := encode([]byte(`{"alg":"HS256"}`)) + "." + encode(payload)
		signature, err := jwt.SigningMethodHS256.Sign(text, []byte(key))
		require.NoError(t, err)
		got, err := Verify(text+"."+encode(signature), MaxLength, []string{key}, func(string) bool { return true })
		if err != nil {
			require.Equal(t, Claims{}, got)
			return
		}
		require.False(t, got.ExpiresAt.IsZero())
	})
}
