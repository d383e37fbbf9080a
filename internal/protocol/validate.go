package protocol

import (
	"unicode"
	"unicode/utf8"
)

// Limits of names and metadata (sections 1.2, 3.2 and 7).
const (
	MaxGroupLength      = 1024 // characters
	MaxEventLength      = 128
	MaxHubLength        = 128
	MaxTTLSeconds       = 300
	MaxMetadataKey      = 256  // bytes
	MaxMetadataValue    = 1024 // bytes
	MaxMetadataTotal    = 8192 // bytes of all keys and values
	MaxStreamIDLength   = 1024 // bytes; our bound, the sources name none
	MaxInvocationLength = 1024 // bytes; our bound, the sources name none
)

// ValidGroup reports whether a group name has 1 to 1024 characters and is not only
// white space. Characters are counted as Unicode code points.
func ValidGroup(name string) bool {
	if name == "" || len(name) > MaxGroupLength && utf8.RuneCountInString(name) > MaxGroupLength {
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
// and "_.-", at most 128 characters.
func ValidEvent(name string) bool {
	return validName(name, MaxEventLength, "_.-")
}

// ValidHub reports whether name is a hub: a letter, then letters, digits and
// "_`,.[]", at most 128 characters. Hubs are compared without regard to case.
func ValidHub(name string) bool {
	return validName(name, MaxHubLength, "_`,.[]")
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
func checkGroup(name string) error {
	if !ValidGroup(name) {
		return invalid("invalid group name")
	}
	return nil
}

func checkEvent(name string) error {
	if !ValidEvent(name) {
		return invalid("invalid event name")
	}
	return nil
}

func checkStreamID(id string) error {
	if id == "" || len(id) > MaxStreamIDLength {
		return invalid("invalid streamId")
	}
	return nil
}

func checkInvocationID(id string) error {
	if id == "" || len(id) > MaxInvocationLength {
		return invalid("invalid invocationId")
	}
	return nil
}

// checkMetadataEntry checks one entry and adds its size to total. Metadata becomes
// HTTP headers of upstream events (section 6.3): that is why keys are tokens, and
// why we also refuse the control characters that no header value can carry.
func checkMetadataEntry(key, value string, total *int) error {
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
	if len(key) > MaxMetadataKey {
		return invalid("metadata key is too long")
	}
	if len(value) > MaxMetadataValue {
		return invalid("metadata value is too long")
	}
	if *total += len(key) + len(value); *total > MaxMetadataTotal {
		return invalid("metadata is too large")
	}
	return nil
}

// ValidateMetadata checks metadata that did not come from a frame, such as the
// headers of a REST call. Its errors are *[Error].
func ValidateMetadata(metadata map[string]string) error {
	total := 0
	for key, value := range metadata {
		if err := checkMetadataEntry(key, value, &total); err != nil {
			return err
		}
	}
	return nil
}
