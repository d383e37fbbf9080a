// Package roles decides what a connection may do with groups: join and leave them,
// publish to them, and set and watch the states of their members. It implements
// section 2.4 of azure-web-pubsub.md; the roles for states are those of the
// published emulator and of the service clients for chats.
//
// What a connection may do starts with the roles of its token and changes by grants
// and revocations of the backend. Publishing events needs no permission, so it is
// not here.
package roles

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits bound what one connection has for each permission.
type Limits struct {
	// Literals are the grants and denials of single groups.
	Literals int
	// Patterns is how many of them there may be, PatternLength how long one may
	// be, in characters, and PatternStars how many * it may have; ** has two.
	Patterns, PatternLength, PatternStars int
}

// DefaultLimits are those of sections 2.4 and 7.
func DefaultLimits() Limits {
	return Limits{Literals: 1000, Patterns: 10, PatternLength: 1024, PatternStars: 5}
}

// ErrTooMany is returned when a connection already has as many grants and
// denials of single groups for a permission as it may have. Over REST it is a 409.
var ErrTooMany = errors.New("roles: too many permissions for single groups")

// Permission is what a role permits.
type Permission uint8

// The permissions. Only the first two can be granted and revoked.
const (
	JoinLeaveGroup Permission = iota
	SendToGroup
	SetGroupState
	GetGroupState
	permissions

	grantable = SetGroupState
)

var permissionNames = [permissions]string{"joinLeaveGroup", "sendToGroup", "setGroupState", "getGroupState"}

// String is the name of the permission in roles and in REST paths.
func (p Permission) String() string { return permissionNames[p] }

// ParsePermission finds a permission that can be granted by its name in any
// case, as in REST paths.
func ParsePermission(name string) (Permission, bool) {
	for p := range grantable {
		if strings.EqualFold(name, p.String()) {
			return p, true
		}
	}
	return 0, false
}

// Set holds the permissions of one connection. The zero value permits nothing.
//
// A Set is a value: a copy costs a few words, and changing one copy leaves the others
// alone. Its methods that change it must not run together with others on the same
// copy. It marshals to JSON, so that a session can move to another node.
type Set struct {
	rules [permissions]rules
}

// rules decide about the groups of one permission: a literal decides for its group,
// then any, then the patterns. The map and the slice are never changed in place.
type rules struct {
	any      bool
	literals map[string]bool // true grants, false denies
	patterns []Pattern
}

// Parse reads the roles of a token or a connect handler. Roles it does not know,
// invalid patterns, and what exceeds the limits are ignored: they must not fail a
// connection.
func Parse(roles []string, l Limits) Set {
	var s Set
	var literals [permissions][]string
	for _, role := range roles {
		name, ok := strings.CutPrefix(role, "webpubsub.")
		if !ok {
			continue
		}
		for p := range permissions {
			rest, ok := strings.CutPrefix(name, p.String())
			if !ok {
				continue
			}
			// A plural has patterns. The roles for states have none: what
			// follows their dot is a pattern already.
			patterns := "s."
			if p >= grantable {
				patterns = "."
			}
			if rest == "" {
				s.rules[p].any = true
			} else if source, ok := strings.CutPrefix(rest, patterns); ok {
				if group, ok := s.rules[p].addPattern(source, l); ok {
					literals[p] = append(literals[p], group)
				}
			} else if group, ok := strings.CutPrefix(rest, "."); ok && group != "" {
				literals[p] = append(literals[p], group)
			}
		}
	}
	for p := range permissions {
		s.rules[p].addLiterals(literals[p], l.Literals)
	}
	return s
}

// addPattern adds a pattern of a role. One without wildcards is handed back as the
// literal that it is.
func (r *rules) addPattern(source string, l Limits) (literal string, ok bool) {
	pattern, stars, err := ParsePattern(source)
	if err != nil || utf8.RuneCountInString(source) > l.PatternLength || stars > l.PatternStars {
		return "", false
	}
	if literal, ok := pattern.Literal(); ok {
		return literal, true
	}
	known := slices.ContainsFunc(r.patterns, func(p Pattern) bool { return p.source == source })
	switch {
	case pattern.all():
		r.any = true
	case !known && len(r.patterns) < l.Patterns:
		r.patterns = append(r.patterns, pattern)
	}
	return "", false
}

// addLiterals grants single groups, except those that a broader role covers.
func (r *rules) addLiterals(groups []string, limit int) {
	for _, group := range groups {
		if r.broad(group) {
			continue
		}
		if r.literals == nil {
			r.literals = make(map[string]bool)
		}
		if len(r.literals) < limit {
			r.literals[group] = true
		}
	}
}

// CanJoin reports whether the connection may join and leave a group.
func (s *Set) CanJoin(group string) bool { return s.Check(JoinLeaveGroup, group) }

// CanSend reports whether the connection may publish to a group.
func (s *Set) CanSend(group string) bool { return s.Check(SendToGroup, group) }

// CanSetState reports whether the connection may have a state in a group.
func (s *Set) CanSetState(group string) bool { return s.Check(SetGroupState, group) }

// CanGetState reports whether the connection may watch the states in a group.
func (s *Set) CanGetState(group string) bool { return s.Check(GetGroupState, group) }

// Check reports whether the connection has a permission for a group.
func (s *Set) Check(p Permission, group string) bool {
	r := &s.rules[p]
	if allowed, ok := r.literals[group]; ok {
		return allowed
	}
	return r.broad(group)
}

// CheckAny reports whether the connection has a permission for all groups. Single
// denials do not count: they are exceptions from it.
func (s *Set) CheckAny(p Permission) bool { return s.rules[p].any }

// broad decides about a group without its literal.
func (r *rules) broad(group string) bool {
	if r.any {
		return true
	}
	for i := range r.patterns {
		if r.patterns[i].Match(group) {
			return true
		}
	}
	return false
}

// Grant gives a permission for one group; wildcards in its name have no meaning.
// The only error is [ErrTooMany], and then nothing has changed.
func (s *Set) Grant(p Permission, group string, l Limits) error {
	return s.rules[p].set(group, true, l.Literals)
}

// Revoke takes a permission for one group, even where a broader role gives it. It
// does not remove the connection from the group. The only error is [ErrTooMany], and
// then nothing has changed.
func (s *Set) Revoke(p Permission, group string, l Limits) error {
	return s.rules[p].set(group, false, l.Literals)
}

// GrantAny gives a permission for all groups and forgets earlier denials.
func (s *Set) GrantAny(p Permission) { s.rules[p] = rules{any: true} }

// RevokeAny takes a permission for all groups, whatever gave it.
func (s *Set) RevokeAny(p Permission) { s.rules[p] = rules{} }

// set decides about one group. A literal is kept only where the broad rules decide
// otherwise, so that granting and revoking in turns does not use up the limit.
func (r *rules) set(group string, allowed bool, limit int) error {
	current, exists := r.literals[group]
	needed := r.broad(group) != allowed
	switch {
	case exists == needed && (!exists || current == allowed):
		return nil
	case needed && !exists && len(r.literals) >= limit:
		return ErrTooMany
	}
	literals := maps.Clone(r.literals)
	if literals == nil {
		literals = make(map[string]bool)
	}
	if needed {
		literals[group] = allowed
	} else {
		delete(literals, group)
	}
	r.literals = literals
	return nil
}
