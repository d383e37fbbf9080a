package protocol

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Limits bound names, metadata and times to live (sections 1.2, 3.2 and 7).
type Limits struct {
	Hub, Group, Event int // characters of names
	MetadataKey       int // bytes
	MetadataValue     int // bytes
	Metadata          int // bytes of all keys and values
	TTLSeconds        int
}

// DefaultLimits are those of the specification.
func DefaultLimits() Limits {
	return Limits{
		Hub: 128, Group: 1024, Event: 128,
		MetadataKey: 256, MetadataValue: 1024, Metadata: 8 << 10,
		TTLSeconds: 300,
	}
}

// Bounds of ids that a client chooses; ours, the sources name none.
const (
	maxStreamIDLength   = 1024 // bytes
	maxInvocationLength = 1024 // bytes
)

// ValidGroup reports whether a group name has a character, is not too long and not only
// white space. Characters are counted as Unicode code points.
func (l *Limits) ValidGroup(name string) bool {
	if name == "" || len(name) > l.Group && utf8.RuneCountInString(name) > l.Group {
		return false
	}
	for _, r := range name {
		if !unicode.IsSpace(r) {
			return true
		}
	}
	return false
}

// ValidEvent reports whether name is a user event: a letter, then letters, digits
// and "_.-", and not too long.
func (l *Limits) ValidEvent(name string) bool {
	return validName(name, l.Event, "_.-")
}

// ValidHub reports whether name is a hub: a letter, then letters, digits and
// "_`,.[]", and not too long. Hubs are compared without regard to case.
func (l *Limits) ValidHub(name string) bool {
	return validName(name, l.Hub, "_`,.[]")
}

func validName(name string, limit int, extra string) bool {
	if name == "" || len(name) > limit || !isLetter(name[0]) {
		return false
	}
	for i := 1; i < len(name); i++ {
		if c := name[i]; !isLetter(c) && !isDigit(c) && !contains(extra, c) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= lowerASCII(c) && lowerASCII(c) <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func contains(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

// checkGroup is the error of ValidGroup.
func (l *Limits) checkGroup(name string) error {
	if !l.ValidGroup(name) {
		return invalid("invalid group name")
	}
	return nil
}

func (l *Limits) checkEvent(name string) error {
	if !l.ValidEvent(name) {
		return invalid("invalid event name")
	}
	return nil
}

func (l *Limits) invalidTTL(property string) error {
	return invalid(property + " is not an integer from 0 to " + strconv.Itoa(l.TTLSeconds))
}

func checkStreamID(id string) error {
	if id == "" || len(id) > maxStreamIDLength {
		return invalid("invalid streamId")
	}
	return nil
}

func checkInvocationID(id string) error {
	if id == "" || len(id) > maxInvocationLength {
		return invalid("invalid invocationId")
	}
	return nil
}

// checkMetadataEntry checks one entry and adds its size to total. Metadata becomes
// HTTP headers of upstream events (section 6.3): that is why keys are tokens, and
// why we also refuse the control characters that no header value can carry.
func (l *Limits) checkMetadataEntry(key, value string, total *int) error {
	if key == "" {
		return invalid("metadata key is empty")
	}
	for i := range len(key) {
		if c := key[i]; !isLetter(c) && !isDigit(c) && !contains("!#$%&'*+-.^_`|~", c) {
			return invalid("metadata key contains an invalid character")
		}
	}
	for i := range len(value) {
		if c := value[i]; c >= 0x7f || c < ' ' && c != '\t' {
			return invalid("metadata value contains an invalid character")
		}
	}
	if len(key) > l.MetadataKey {
		return invalid("metadata key is too long")
	}
	if len(value) > l.MetadataValue {
		return invalid("metadata value is too long")
	}
	if *total += len(key) + len(value); *total > l.Metadata {
		return invalid("metadata is too large")
	}
	return nil
}

// ValidateMetadata checks metadata that did not come from a frame, such as the
// headers of a REST call. Its errors are *[Error].
func (l *Limits) ValidateMetadata(metadata map[string]string) error {
	total := 0
	for key, value := range metadata {
		if err := l.checkMetadataEntry(key, value, &total); err != nil {
			return err
		}
	}
	return nil
}
