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
		s := Parse(tc.roles)
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
		s := Parse(tc.roles)
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

func TestParseLimits(t *testing.T) {
	t.Parallel()
	var roles []string
	for i := range MaxLiterals + 5 {
		roles = append(roles, fmt.Sprintf("webpubsub.sendToGroup.g%d", i))
	}
	for i := range MaxPatterns + 1 {
		roles = append(roles, fmt.Sprintf("webpubsub.sendToGroups.p%c*", 'a'+i), fmt.Sprintf("webpubsub.sendToGroups.p%c*", 'a'+i))
	}
	s := Parse(roles)
	require.True(t, s.CanSend("g999"))
	require.False(t, s.CanSend("g1000"))
	require.True(t, s.CanSend("pj1"))
	require.False(t, s.CanSend("pk1"))
	require.ErrorIs(t, s.Grant(SendToGroup, "more"), ErrTooMany)
	require.NoError(t, s.Grant(SendToGroup, "g1"), "already granted")
	require.NoError(t, s.Grant(SendToGroup, "pa1"), "covered by a pattern")
	require.NoError(t, s.Revoke(SendToGroup, "g1"))
	require.NoError(t, s.Grant(SendToGroup, "more"))
	require.ErrorIs(t, s.Revoke(SendToGroup, "pa1"), ErrTooMany)
	require.True(t, s.CanSend("pa1"))
}

func TestGrantAndRevoke(t *testing.T) {
	t.Parallel()
	s := Parse([]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroups.a.*"})

	require.NoError(t, s.Revoke(JoinLeaveGroup, "g"))
	require.False(t, s.CanJoin("g"), "a denial beats the broad role")
	require.True(t, s.CanJoin("h"))
	require.True(t, s.CheckAny(JoinLeaveGroup))
	require.NoError(t, s.Grant(JoinLeaveGroup, "g"))
	require.True(t, s.CanJoin("g"))

	require.NoError(t, s.Revoke(SendToGroup, "a.b"))
	require.False(t, s.CanSend("a.b"), "a denial beats the pattern")
	require.True(t, s.CanSend("a.c"))
	require.NoError(t, s.Grant(SendToGroup, "x*"))
	require.True(t, s.CanSend("x*"))
	require.False(t, s.CanSend("xy"), "wildcards of a grant have no meaning")
	require.NoError(t, s.Revoke(SendToGroup, "nobody gave it"))

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

	s := Parse([]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroup.g", `webpubsub.sendToGroups.a.\**`})
	require.NoError(t, s.Revoke(JoinLeaveGroup, "h"))
	b, err = json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, `{"joinLeaveGroup":{"any":true,"groups":{"h":false}},"sendToGroup":{"groups":{"g":true},"patterns":["a.\\**"]}}`, string(b))
	back := Parse([]string{"webpubsub.sendToGroup"})
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
		s := Parse(roles.Draw(t, "roles"))
		want := map[string]bool{}
		for _, g := range groups {
			want[g] = s.CanSend(g)
		}
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			before, decisions := s, maps.Clone(want)
			group := rapid.SampledFrom(groups).Draw(t, "group")
			switch rapid.IntRange(0, 5).Draw(t, "operation") {
			case 0, 1:
				require.NoError(t, s.Grant(SendToGroup, group))
				want[group] = true
			case 2, 3:
				require.NoError(t, s.Revoke(SendToGroup, group))
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
