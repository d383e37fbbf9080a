package rest

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// charsets turn what a charset names into UTF-8. They are the ones that .NET
// has without further packages, and with it the emulator. Bytes that are no
// character become U+FFFD.
var charsets = map[string]func([]byte) []byte{
	"": asIs, "utf-8": asIs, "utf8": asIs,
	"us-ascii": fromASCII, "ascii": fromASCII,
	"iso-8859-1": fromLatin1, "latin1": fromLatin1, "iso_8859-1": fromLatin1,
	"utf-16": fromUTF16(binary.LittleEndian), "utf-16le": fromUTF16(binary.LittleEndian), "utf-16be": fromUTF16(binary.BigEndian),
	"utf-32": fromUTF32(binary.LittleEndian), "utf-32le": fromUTF32(binary.LittleEndian), "utf-32be": fromUTF32(binary.BigEndian),
}

func asIs(b []byte) []byte { return b }

func fromASCII(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c >= utf8.RuneSelf {
			out = utf8.AppendRune(out, utf8.RuneError)
			continue
		}
		out = append(out, c)
	}
	return out
}

func fromLatin1(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/8)
	for _, c := range b {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

// A byte order mark outweighs the order that the name says.
var (
	mark16LE, mark16BE = []byte{0xff, 0xfe}, []byte{0xfe, 0xff}
	mark32LE, mark32BE = []byte{0xff, 0xfe, 0, 0}, []byte{0, 0, 0xfe, 0xff}
)

func fromUTF16(order binary.ByteOrder) func([]byte) []byte {
	return func(b []byte) []byte {
		b, order := withoutMark(b, order, mark16LE, mark16BE)
		out := make([]byte, 0, len(b))
		for len(b) > 1 {
			r := rune(order.Uint16(b))
			b = b[2:]
			if utf16.IsSurrogate(r) && len(b) > 1 {
				if pair := utf16.DecodeRune(r, rune(order.Uint16(b))); pair != utf8.RuneError {
					r, b = pair, b[2:]
				}
			}
			out = utf8.AppendRune(out, r)
		}
		return appendRest(out, b)
	}
}

func fromUTF32(order binary.ByteOrder) func([]byte) []byte {
	return func(b []byte) []byte {
		b, order := withoutMark(b, order, mark32LE, mark32BE)
		out := make([]byte, 0, len(b)/2)
		for ; len(b) > 3; b = b[4:] {
			r := rune(utf8.RuneError)
			if v := order.Uint32(b); v <= utf8.MaxRune {
				r = rune(v)
			}
			out = utf8.AppendRune(out, r)
		}
		return appendRest(out, b)
	}
}

func withoutMark(b []byte, order binary.ByteOrder, little, big []byte) ([]byte, binary.ByteOrder) {
	if rest, ok := bytes.CutPrefix(b, little); ok {
		return rest, binary.LittleEndian
	}
	if rest, ok := bytes.CutPrefix(b, big); ok {
		return rest, binary.BigEndian
	}
	return b, order
}

// appendRest stands in for a character that was cut off.
func appendRest(out, rest []byte) []byte {
	if len(rest) > 0 {
		out = utf8.AppendRune(out, utf8.RuneError)
	}
	return out
}
