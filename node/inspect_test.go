package node

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A page is what sorting everything would give, in whatever order it comes.
func TestPageOfAList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfDistinct(rapid.StringN(1, 3, -1), rapid.ID[string]).Draw(t, "keys")
		after := rapid.StringN(0, 2, -1).Draw(t, "after")
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		p := newPage[string](after, limit)
		for _, key := range keys {
			p.offer(key, "item of "+key)
			require.LessOrEqual(t, len(p.keys), limit)
		}
		want := slices.DeleteFunc(slices.Sorted(slices.Values(keys)), func(key string) bool { return key <= after })
		want = want[:min(limit, len(want))]
		require.Len(t, p.keys, len(want))
		for i, key := range want {
			require.Equal(t, key, p.keys[i])
			require.Equal(t, "item of "+key, p.items[i])
		}
	})
}
