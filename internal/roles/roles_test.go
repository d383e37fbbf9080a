package roles

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		roles            []string
		join, notJoin    []string
		send, notSend    []string
		anyJoin, anySend bool
	}{
		{roles: nil, notJoin: []string{"g"}, notSend: []string{"g"}},
		{roles: []string{"webpubsub.joinLeaveGroup"}, join: []string{"g", "a.b"}, notSend: []string{"g"}, anyJoin: true},
		{roles: []string{"webpubsub.sendToGroup"}, notJoin: []string{"g"}, send: []string{"g"}, anySend: true},
		{
			roles: []string{"webpubsub.joinLeaveGroup.a.b", "webpubsub.sendToGroup.c*"},
			join:  []string{"a.b"}, notJoin: []string{"a", "A.b", "c*"},
			send: []string{"c*"}, notSend: []string{"cd", "a.b"},
		},
		{
			roles: []string{"webpubsub.joinLeaveGroups.a.*", `webpubsub.sendToGroups.x\*`, "webpubsub.sendToGroups.?"},
			join:  []string{"a.b"}, notJoin: []string{"a.b.c", "x*"},
			send: []string{"x*", "y"}, notSend: []string{"xy", "."},
		},
		{roles: []string{"webpubsub.joinLeaveGroups.**", "webpubsub.sendToGroups.***"}, join: []string{"a.b"}, send: []string{"a.b"}, anyJoin: true, anySend: true},
		{
			roles: []string{
				"", "admin", "webpubsub", "webpubsub.", "webpubsub.joinleavegroup", "WebPubSub.sendToGroup", "webpubsub.sendToGroup.", "webpubsub.sendToGroups",
				"webpubsub.sendToGroups.", `webpubsub.sendToGroups.a\b`, "webpubsub.sendToGroups.******", "webpubsub.sendToGroupx", " webpubsub.sendToGroup",
			},
			notJoin: []string{"", "g"}, notSend: []string{"", "g", "a"},
		},
	} {
		s := Parse(tc.roles, limits)
		for _, g := range tc.join {
			require.True(t, s.CanJoin(g), "%q join %q", tc.roles, g)
		}
		for _, g := range tc.notJoin {
			require.False(t, s.CanJoin(g), "%q join %q", tc.roles, g)
		}
		for _, g := range tc.send {
			require.True(t, s.CanSend(g), "%q send %q", tc.roles, g)
		}
		for _, g := range tc.notSend {
			require.False(t, s.CanSend(g), "%q send %q", tc.roles, g)
		}
		require.Equal(t, tc.anyJoin, s.CheckAny(JoinLeaveGroup), "%q", tc.roles)
		require.Equal(t, tc.anySend, s.CheckAny(SendToGroup), "%q", tc.roles)
	}
}

// The roles for states have no plural: what follows their dot is a pattern.
func TestParseStates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		roles    []string
		set, get string // the groups among those below
	}{
		{nil, "", ""},
		{[]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroup"}, "", ""},
		{[]string{"webpubsub.setGroupState"}, "g a.b a.b.c a*", ""},
		{[]string{"webpubsub.getGroupState"}, "", "g a.b a.b.c a*"},
		{[]string{"webpubsub.setGroupState.a.b", "webpubsub.getGroupState.g"}, "a.b", "g"},
		{[]string{"webpubsub.setGroupState.a.*", "webpubsub.getGroupState.**"}, "a.b", "g a.b a.b.c a*"},
		{[]string{`webpubsub.setGroupState.a\*`, "webpubsub.getGroupState.a?*"}, "a*", "a*"},
		{[]string{"webpubsub.setGroupStates.**", "webpubsub.setGroupState.", "webpubsub.SetGroupState", "setGroupState"}, "", ""},
	} {
		s := Parse(tc.roles, limits)
		var set, get []string
		for _, g := range []string{"g", "a.b", "a.b.c", "a*"} {
			if s.CanSetState(g) {
				set = append(set, g)
			}
			if s.CanGetState(g) {
				get = append(get, g)
			}

		}
		require.Equal(t, tc.set, strings.Join(set, " "), "%q", tc.roles)
		require.Equal(t, tc.get, strings.Join(get, " "), "%q", tc.roles)
		raw, err := json.Marshal(s)
		require.NoError(t, err)
		var moved Set
		require.NoError(t, json.Unmarshal(raw, &moved))
		require.Equal(t, s, moved)
	}
}

var limits = DefaultLimits()

func TestParseLimits(t *testing.T) {
	t.Parallel()
	var roles []string
	for i := range limits.Literals + 5 {
		roles = append(roles, fmt.Sprintf("webpubsub.sendToGroup.g%d", i))
	}
	for i := range limits.Patterns + 1 {
		roles = append(roles, fmt.Sprintf("webpubsub.sendToGroups.p%c*", 'a'+i), fmt.Sprintf("webpubsub.sendToGroups.p%c*", 'a'+i))
	}
	s := Parse(roles, limits)
	require.True(t, s.CanSend("g999"))
	require.False(t, s.CanSend("g1000"))
	require.True(t, s.CanSend("pj1"))
	require.False(t, s.CanSend("pk1"))
	require.ErrorIs(t, s.Grant(SendToGroup, "more", limits), ErrTooMany)
	require.NoError(t, s.Grant(SendToGroup, "g1", limits), "already granted")
	require.NoError(t, s.Grant(SendToGroup, "pa1", limits), "covered by a pattern")
	require.NoError(t, s.Revoke(SendToGroup, "g1", limits))
	require.NoError(t, s.Grant(SendToGroup, "more", limits))
	require.ErrorIs(t, s.Revoke(SendToGroup, "pa1", limits), ErrTooMany)
	require.True(t, s.CanSend("pa1"))
}

// TestOtherLimits goes to each limit and one beyond it.
func TestOtherLimits(t *testing.T) {
	t.Parallel()
	small := Limits{Literals: 2, Patterns: 1, PatternLength: 4, PatternStars: 2}
	literals := []string{"webpubsub.sendToGroup.a", "webpubsub.sendToGroup.b", "webpubsub.sendToGroup.c"}
	s := Parse(literals, small)
	require.True(t, s.CanSend("b"))
	require.False(t, s.CanSend("c"))
	require.ErrorIs(t, s.Grant(SendToGroup, "c", small), ErrTooMany)
	require.NoError(t, s.Grant(JoinLeaveGroup, "a", small), "each kind has its own")
	require.NoError(t, s.Grant(SendToGroup, "c", Limits{Literals: 3}))
	for pattern, group := range map[string]string{
		"äää*": "äää", "**xx": "..xx", `\**a`: "*a", `a\**`: "a*b",
		"ääää*": "", "***a": "", "*.*.*": "",
	} {
		s := Parse([]string{"webpubsub.sendToGroups." + pattern, "webpubsub.sendToGroups.?"}, small)
		require.Equal(t, group != "", group != "" && s.CanSend(group), pattern)
		require.Equal(t, group == "", s.CanSend("1"), "%s leaves room for another", pattern)
	}
	// What an installation permits must survive a move to a node that permits less.
	wide := Limits{Literals: 1, Patterns: 20, PatternLength: 2000, PatternStars: 9}
	s = Parse([]string{"webpubsub.sendToGroups." + strings.Repeat("x", 1100) + "*.*.*.*.*.*.*"}, wide)
	moved, err := json.Marshal(s)
	require.NoError(t, err)
	var back Set
	require.NoError(t, json.Unmarshal(moved, &back))
	require.True(t, back.CanSend(strings.Repeat("x", 1100)+"......"))
}

func TestGrantAndRevoke(t *testing.T) {
	t.Parallel()
	s := Parse([]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroups.a.*"}, limits)

	require.NoError(t, s.Revoke(JoinLeaveGroup, "g", limits))
	require.False(t, s.CanJoin("g"), "a denial beats the broad role")
	require.True(t, s.CanJoin("h"))
	require.True(t, s.CheckAny(JoinLeaveGroup))
	require.NoError(t, s.Grant(JoinLeaveGroup, "g", limits))
	require.True(t, s.CanJoin("g"))

	require.NoError(t, s.Revoke(SendToGroup, "a.b", limits))
	require.False(t, s.CanSend("a.b"), "a denial beats the pattern")
	require.True(t, s.CanSend("a.c"))
	require.NoError(t, s.Grant(SendToGroup, "x*", limits))
	require.True(t, s.CanSend("x*"))
	require.False(t, s.CanSend("xy"), "wildcards of a grant have no meaning")
	require.NoError(t, s.Revoke(SendToGroup, "nobody gave it", limits))

	s.GrantAny(SendToGroup)
	require.True(t, s.CanSend("a.b"))
	s.RevokeAny(SendToGroup)
	require.False(t, s.CanSend("a.c") || s.CanSend("x*") || s.CheckAny(SendToGroup))
	require.True(t, s.CanJoin("h"), "the other permission stays")
}

func TestParsePermission(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Permission{"joinLeaveGroup": JoinLeaveGroup, "JOINLEAVEGROUP": JoinLeaveGroup, "sendtogroup": SendToGroup} {
		p, ok := ParsePermission(name)
		require.True(t, ok)
		require.Equal(t, want, p)
	}
	for _, name := range []string{"setGroupState", "getGroupState"} {
		_, ok := ParsePermission(name)
		require.False(t, ok, "it cannot be granted")
	}
	_, ok := ParsePermission("sendToGroups")
	require.False(t, ok)
}

func TestJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Set{})
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(b))

	s := Parse([]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroup.g", `webpubsub.sendToGroups.a.\**`}, limits)
	require.NoError(t, s.Revoke(JoinLeaveGroup, "h", limits))
	b, err = json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, `{"joinLeaveGroup":{"any":true,"groups":{"h":false}},"sendToGroup":{"groups":{"g":true},"patterns":["a.\\**"]}}`, string(b))
	back := Parse([]string{"webpubsub.sendToGroup"}, limits)
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, s, back)

	require.ErrorIs(t, json.Unmarshal([]byte(`{"sendToGroup":{"patterns":["\\"]}}`), &back), ErrPatternEscape)
	require.Error(t, json.Unmarshal([]byte(`{"sendToGroup":1}`), &back))
	require.Equal(t, s, back, "a failure changes nothing")
}

// A Set behaves like a map of decisions in front of broad rules, a copy is independent,
// and JSON changes nothing.
func TestSetModel(t *testing.T) {
	t.Parallel()
	groups := []string{"a", "a.b", "a.c", "b", "*"}
	roles := rapid.SliceOf(rapid.SampledFrom([]string{
		"webpubsub.sendToGroup", "webpubsub.sendToGroup.a", "webpubsub.sendToGroup.a.b", "webpubsub.sendToGroups.a.*", "webpubsub.sendToGroups.?", "webpubsub.sendToGroups.**",
	}))
	rapid.Check(t, func(t *rapid.T) {
		s := Parse(roles.Draw(t, "roles"), limits)
		want := map[string]bool{}
		for _, g := range groups {
			want[g] = s.CanSend(g)
		}
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			before, decisions := s, maps.Clone(want)
			group := rapid.SampledFrom(groups).Draw(t, "group")
			switch rapid.IntRange(0, 5).Draw(t, "operation") {
			case 0, 1:
				require.NoError(t, s.Grant(SendToGroup, group, limits))
				want[group] = true
			case 2, 3:
				require.NoError(t, s.Revoke(SendToGroup, group, limits))
				want[group] = false
			case 4:
				s.GrantAny(SendToGroup)
				for _, g := range groups {
					want[g] = true
				}
			case 5:
				s.RevokeAny(SendToGroup)
				clear(want)
			}
			b, err := json.Marshal(s)
			require.NoError(t, err)
			var moved Set
			require.NoError(t, json.Unmarshal(b, &moved))
			for _, g := range groups {
				require.Equal(t, want[g], s.CanSend(g), "after %q", group)
				require.Equal(t, want[g], moved.CanSend(g), "moved, after %q", group)
				require.Equal(t, decisions[g], before.CanSend(g), "copy, after %q", group)
			}
		}
	})
}
