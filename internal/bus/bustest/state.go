package bustest

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
)

func seqsAreUniqueAndRise(t *testing.T, f *fixture) {
	const goroutines, rounds, batch = 16, 25, 25
	user := f.name("seq")
	var mu sync.Mutex
	var all []int64
	together(goroutines, func(i int) {
		b := []bus.Bus{f.a, f.b}[i%2]
		reqs := make([]bus.SeqRequest, batch)
		for j := range reqs {
			reqs[j].UserID = user
		}
		var last int64
		for range rounds {
			seqs, err := b.NextSeqs(f.ctx, reqs)
			if !assert.NoError(t, err) {
				return
			}
			for _, n := range seqs {
				assert.Greater(t, n, last, "later numbers are larger")
				last = n
			}
			mu.Lock()
			all = append(all, seqs...)
			mu.Unlock()
		}
	})
	slices.Sort(all)
	require.Len(t, all, goroutines*rounds*batch)
	for i, n := range all {
		require.EqualValues(t, i+1, n, "every number once, from 1")
	}
}

func seqsInOneBatch(t *testing.T, f *fixture) {
	x, y, empty := f.name("x"), f.name("y"), f.name("")
	seqs, err := f.a.NextSeqs(f.ctx, []bus.SeqRequest{
		{UserID: x}, {UserID: y}, {UserID: x}, {UserID: empty}, {UserID: x}, {UserID: y},
	})
	require.NoError(t, err)
	require.Equal(t, []int64{1, 1, 2, 1, 3, 2}, seqs)
}

func seqFloor(t *testing.T, f *fixture) {
	draw := func(reqs ...bus.SeqRequest) []int64 {
		seqs, err := f.a.NextSeqs(f.ctx, reqs)
		require.NoError(t, err)
		return seqs
	}
	u := f.name("u")
	require.Equal(t, []int64{42}, draw(bus.SeqRequest{UserID: u, Floor: 41}), "a new counter")
	require.Equal(t, []int64{43}, draw(bus.SeqRequest{UserID: u, Floor: 7}), "a floor below changes nothing")
	require.Equal(t, []int64{44}, draw(bus.SeqRequest{UserID: u, Floor: 43}), "a floor that is reached")
	require.Equal(t, []int64{45, 101, 102, 103, 1001}, draw(
		bus.SeqRequest{UserID: u},
		bus.SeqRequest{UserID: u, Floor: 100},
		bus.SeqRequest{UserID: u, Floor: 99},
		bus.SeqRequest{UserID: u},
		bus.SeqRequest{UserID: u, Floor: 1000},
	))
	require.Equal(t, []int64{1002, 1003}, draw(
		bus.SeqRequest{UserID: u},
		bus.SeqRequest{UserID: u, Floor: 1001, Leap: 100},
	), "no leap above the floor")
	for _, floor := range []int64{1003, 2000} { // reached, and above the counter
		n := draw(bus.SeqRequest{UserID: u, Floor: floor, Leap: 100}, bus.SeqRequest{UserID: u})
		require.Contains(t, []int64{floor + 1, floor + 101}, n[0], "a bus may leap")
		require.Equal(t, n[0]+1, n[1])
	}
	// Exact where floating point is not.
	const large = 1<<53 + 1
	require.Equal(t, []int64{large + 1}, draw(bus.SeqRequest{UserID: u, Floor: large}))
	require.Equal(t, []int64{large + 2}, draw(bus.SeqRequest{UserID: u, Floor: large}))

	lifted := f.name("lifted")
	together(16, func(i int) {
		_, err := []bus.Bus{f.a, f.b}[i%2].NextSeqs(f.ctx, []bus.SeqRequest{{UserID: lifted, Floor: 500}})
		assert.NoError(t, err)
	})
	require.Equal(t, []int64{517}, draw(bus.SeqRequest{UserID: lifted}), "lifted once, not by each")
}

func seqFailsAlone(t *testing.T, f *fixture) {
	full, fine := f.name("full"), f.name("fine")
	seqs, err := f.a.NextSeqs(f.ctx, []bus.SeqRequest{{UserID: full, Floor: math.MaxInt64 - 1}})
	require.NoError(t, err)
	require.Equal(t, []int64{math.MaxInt64}, seqs)
	seqs, err = f.a.NextSeqs(f.ctx, []bus.SeqRequest{{UserID: fine}, {UserID: full}, {UserID: fine, Floor: 5}})
	var failed *bus.SeqError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Errs, 3)
	require.NoError(t, failed.Errs[0])
	require.ErrorContains(t, failed.Errs[1], full, "the error names the user")
	require.NoError(t, failed.Errs[2])
	require.EqualValues(t, 1, seqs[0])
	require.EqualValues(t, 6, seqs[2])
}

func epochIsStable(t *testing.T, f *fixture) {
	before := f.a.Epoch()
	together(8, func(i int) {
		for range 20 {
			_, err := f.a.NextSeqs(f.ctx, []bus.SeqRequest{{UserID: f.name("%d", i)}})
			assert.NoError(t, err)
		}
	})
	require.Equal(t, before, f.a.Epoch())
}

func lockExcludes(t *testing.T, f *fixture) {
	key := f.name("lock")
	try := func(b bus.Bus, owner string) bool {
		ok, err := b.TryLock(f.ctx, key, owner, time.Minute)
		require.NoError(t, err)
		return ok
	}
	require.True(t, try(f.a, "one"))
	require.True(t, try(f.a, "one"), "renewed")
	require.False(t, try(f.b, "two"))
	require.NoError(t, f.b.Unlock(f.ctx, key, "two"), "not held: nothing happens")
	require.False(t, try(f.b, "two"))
	require.NoError(t, f.a.Unlock(f.ctx, key, "one"))
	require.NoError(t, f.a.Unlock(f.ctx, key, "one"))
	require.True(t, try(f.b, "two"))
	require.NoError(t, f.b.Unlock(f.ctx, key, "two"))

	var mu sync.Mutex
	holders := 0
	together(16, func(i int) {
		ok, err := []bus.Bus{f.a, f.b}[i%2].TryLock(f.ctx, key, f.name("%d", i), time.Minute)
		assert.NoError(t, err)
		if ok {
			mu.Lock()
			holders++
			mu.Unlock()
		}
	})
	require.Equal(t, 1, holders)
}

func lockExpires(t *testing.T, f *fixture) {
	key := f.name("lock")
	ok, err := f.a.TryLock(f.ctx, key, "one", 200*time.Millisecond)
	require.NoError(t, err)
	require.True(t, ok)
	ok, err = f.b.TryLock(f.ctx, key, "two", time.Minute)
	require.NoError(t, err)
	require.False(t, ok)
	require.Eventually(t, func() bool {
		ok, err := f.b.TryLock(f.ctx, key, "two", time.Minute)
		require.NoError(t, err)
		return ok
	}, patience, 10*tick)
	ok, err = f.a.TryLock(f.ctx, key, "one", time.Minute)
	require.NoError(t, err)
	require.False(t, ok, "the former owner lost it")
	require.NoError(t, f.a.Unlock(f.ctx, key, "one"))
	ok, err = f.b.TryLock(f.ctx, key, "two", time.Nanosecond)
	require.NoError(t, err)
	require.True(t, ok, "a very short time is no error")
}

func lockNeedsTTL(t *testing.T, f *fixture) {
	for _, ttl := range []time.Duration{0, -time.Second} {
		ok, err := f.a.TryLock(f.ctx, f.name("lock"), "one", ttl)
		require.Error(t, err)
		require.False(t, ok)
	}
}
