package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/odata"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	valid := func(filter string) bool {
		_, err := odata.Parse(filter, odata.DefaultLimits())
		return err == nil
	}
	for _, c := range []struct {
		got, want string
		valid     bool
	}{
		{gateway.Filter("userId eq ?", "o'x"), "userId eq 'o''x'", true},
		{gateway.Filter("? in groups and userId ne ?", "a?b", nil), "'a?b' in groups and userId ne null", true},
		{gateway.Filter("userId in ? or true eq ?", []string{"a", "b'"}, true), "userId in ('a','b''') or true eq true", true},
		{gateway.Filter("length(userId) gt ? and ? lt ?", 3, uint8(4), int64(-5)), "length(userId) gt 3 and 4 lt -5", true},
		{gateway.Filter("userId eq 'what?' or userId eq 'it''s ?'"), "userId eq 'what?' or userId eq 'it''s ?'", true},
		{gateway.Filter("userId eq ?"), "userId eq !missing", false},
		{gateway.Filter("userId eq ?", "a", "b"), "userId eq 'a'!extra", false},
		{gateway.Filter("userId eq '?'", "a"), "userId eq '?'!extra", false},
		{gateway.Filter("userId in ?", []string{}), "userId in !empty", false},
		{gateway.Filter("1 eq ?", 1.5), "1 eq !float64", false},
	} {
		assert.Equal(t, c.want, c.got)
		assert.Equal(t, c.valid, valid(c.got), c.got)
	}
	// Whatever a value is, it chooses the user of that name, and no other.
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 30, -1).Draw(t, "name") + rapid.SampledFrom([]string{"", "'", "' or true eq true or userId eq '", "''", "?", ")"}).Draw(t, "end")
		for _, filter := range []string{gateway.Filter("userId eq ?", name), gateway.Filter("userId in ?", []string{"x", name})} {
			f, err := odata.Parse(filter, odata.DefaultLimits())
			require.NoError(t, err, filter)
			require.True(t, f.Match(&odata.Subject{UserID: name}), filter)
			require.False(t, f.Match(&odata.Subject{UserID: name + "x"}), filter)
		}
	})
}
