package roles

import (
	"encoding/json"
	"fmt"
)

// setJSON is the form of a Set that travels between nodes.
type setJSON struct {
	Join *rulesJSON `json:"joinLeaveGroup,omitempty"`
	Send *rulesJSON `json:"sendToGroup,omitempty"`
	Set  *rulesJSON `json:"setGroupState,omitempty"`
	Get  *rulesJSON `json:"getGroupState,omitempty"`
}

type rulesJSON struct {
	Any      bool            `json:"any,omitempty"`
	Literals map[string]bool `json:"groups,omitempty"`
	Patterns []string        `json:"patterns,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (s Set) MarshalJSON() ([]byte, error) {
	return json.Marshal(setJSON{
		Join: s.rules[JoinLeaveGroup].export(),
		Send: s.rules[SendToGroup].export(),
		Set:  s.rules[SetGroupState].export(),
		Get:  s.rules[GetGroupState].export(),
	})
}

func (r *rules) export() *rulesJSON {
	if !r.any && len(r.literals) == 0 && len(r.patterns) == 0 {
		return nil
	}
	out := &rulesJSON{Any: r.any, Literals: r.literals}
	for _, p := range r.patterns {
		out.Patterns = append(out.Patterns, p.source)
	}
	return out
}

// UnmarshalJSON implements json.Unmarshaler. Unlike [Parse] it fails on what it does
// not understand, because it reads what another node wrote.
func (s *Set) UnmarshalJSON(b []byte) error {
	var in setJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	var out Set
	for p, r := range map[Permission]*rulesJSON{JoinLeaveGroup: in.Join, SendToGroup: in.Send, SetGroupState: in.Set, GetGroupState: in.Get} {
		if r == nil {
			continue
		}
		out.rules[p] = rules{any: r.Any, literals: r.Literals}
		for _, source := range r.Patterns {
			pattern, _, err := ParsePattern(source)
			if err != nil {
				return fmt.Errorf("%w: %q", err, source)
			}
			out.rules[p].patterns = append(out.rules[p].patterns, pattern)
		}
	}
	*s = out
	return nil
}
