package protocol

import "math"

// The readers below turn the source text of one property into a Go value. They expect
// what objectMembers expects: valid JSON in valid UTF-8. nil is an absent property.

func (l *Limits) metadataJSON(value []byte) (map[string]string, error) {
	total := 0
	return stringMap(value, "metadata", func(entries map[string]string, key, value string) error {
		if _, twice := entries[key]; twice {
			return invalid("metadata has a key twice")
		}
		return l.checkMetadataEntry(key, value, &total)
	})
}

// stringMap reads an object of strings; nil for an absent one or null.
func stringMap(value []byte, property string, check func(entries map[string]string, key, value string) error) (map[string]string, error) {
	if value == nil || isNull(value) {
		return nil, nil
	}
	object, ok := objectMembers(value)
	if !ok {
		return nil, invalid(property + " is not an object")
	}
	entries := make(map[string]string)
	for {
		name, value, ok := object.next()
		if !ok {
			return entries, nil
		}
		if !isString(value) {
			return nil, invalid(property + " has a value that is not a string")
		}
		key, text := string(unquote(name)), string(unquote(value))
		if check != nil {
			if err := check(entries, key, text); err != nil {
				return nil, err
			}
		}
		entries[key] = text
	}
}

func errorDetailJSON(value []byte) (*ErrorDetail, error) {
	if value == nil || isNull(value) {
		return nil, nil
	}
	object, ok := objectMembers(value)
	if !ok {
		return nil, invalid("error is not an object")
	}
	detail := &ErrorDetail{}
	for {
		name, value, ok := object.next()
		if !ok {
			return detail, nil
		}
		var field *string
		switch string(unquote(name)) {
		case "name":
			field = &detail.Name
		case "message":
			field = &detail.Message
		case "userErrorCode":
			field = &detail.UserErrorCode
		default:
			continue
		}
		switch {
		case isString(value):
			*field = string(unquote(value))
		case isNull(value):
			*field = ""
		default:
			return nil, invalid("error has a property that is not a string")
		}
	}
}

func requiredString(value []byte, property string) (string, error) {
	if !isString(value) {
		return "", invalid(property + " is missing or not a string")
	}
	return string(unquote(value)), nil
}

// optionalUint64 takes plain decimal digits only. A float64 on the way would change
// ids above 2^53, and the official service takes neither 1.0 nor 1e3.
func optionalUint64(value []byte, property string) (n uint64, present bool, err error) {
	if value == nil || isNull(value) {
		return 0, false, nil
	}
	for _, c := range value {
		digit := uint64(c - '0')
		if digit > 9 || n > (math.MaxUint64-digit)/10 {
			return 0, false, invalid(property + " is not an unsigned 64-bit integer")
		}
		n = n*10 + digit
	}
	return n, true, nil
}

func requiredUint64(value []byte, property string) (uint64, error) {
	n, present, err := optionalUint64(value, property)
	if err == nil && !present {
		err = invalid(property + " is missing")
	}
	return n, err
}

func optionalBool(value []byte, property string) (bool, error) {
	switch {
	case value == nil:
		return false, nil
	case value[0] == 't':
		return true, nil
	case value[0] == 'f':
		return false, nil
	default:
		return false, invalid(property + " is not a boolean")
	}
}

// frameTypeOf finds a type in any case, 0 if unknown.
func frameTypeOf(name []byte) FrameType {
	for t := JoinGroup; t <= InvokeResponse; t++ {
		if string(name) == frameTypeNames[t] {
			return t
		}
	}
	for t := JoinGroup; t <= InvokeResponse; t++ {
		if equalFoldASCII(string(name), frameTypeNames[t]) {
			return t
		}
	}
	return 0
}

// dataTypeOf finds a data type in any case, 0 if unknown.
func dataTypeOf(name []byte) DataType {
	for t := Text; t <= Protobuf; t++ {
		if equalFoldASCII(string(name), dataTypeNames[t]) {
			return t
		}
	}
	return 0
}
