package jsonvalid

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func want(data []byte) bool { return json.Valid(data) && utf8.Valid(data) }

var samples = []string{
	``, ` `, `{}`, `[]`, ` { } `, `[ ]`, `null`, `true`, `false`, `nul`, `nulll`, `tru`, `truefalse`, `True`,
	`0`, `-0`, `-`, `00`, `01`, `1.`, `1.5`, `.5`, `1e`, `1e+`, `1e+5`, `1E-05`, `1e5.`, `-1.25e10`, `1 2`, `+1`,
	`""`, `"a`, `"a"b`, `"\"`, `"\\"`, `"\u00e9"`, `"\u00g9"`, `"\u00e"`, `"\x"`, "\"\n\"", "\"\x1f\"", "\"\x7f\"", "\"\xff\"", "\"é\"",
	`"1234567"`, `"12345678"`, `"123456789"`, `"1234567\n12345678"`, `"12345678\"`, "\"12345678\xe2\x82\"", "\"12345678€\"",
	"\xff", "é", "{\"\x80\":1}", `{"a":1}`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{,}`, `{"a":1 "b":2}`, `{"a":1,"b":[1,{"c":null}]}`,
	`[1,]`, `[,1]`, `[1 2]`, `[1,2`, `[1}`, `{"a":1]`, `]`, `}`, `[[[]]]`, `[[]`, `[{}]`, `[{]}`, "\x00", `{"a":1}` + "\x00", "[\x00]", "1\x00",
	"\ufeff1", "\t\r\n1\t\r\n", "\v1", `{"a":1}{}`, `"\ud800"`,
}

func TestValid(t *testing.T) {
	t.Parallel()
	for _, s := range samples {
		require.Equal(t, want([]byte(s)), Valid([]byte(s)), "%q", s)
		require.Equal(t, json.Valid([]byte(s)), Syntax([]byte(s)), "%q", s)
	}
	for _, depth := range []int{1, 63, 64, 65, 66, maxDepth, maxDepth + 1} {
		for _, brackets := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
			inner := "1"
			s := strings.Repeat(brackets[0], depth) + inner + strings.Repeat(brackets[1], depth)
			require.Equal(t, want([]byte(s)), Valid([]byte(s)), "depth %d", depth)
			mixed := strings.Repeat(brackets[0]+"[", depth/2) + "1" + strings.Repeat("]"+brackets[1], depth/2)
			require.Equal(t, want([]byte(mixed)), Valid([]byte(mixed)), "depth %d, mixed", depth)
			s = s[:len(s)-1]
			require.False(t, Valid([]byte(s)), "depth %d, not closed", depth)
		}
	}
}

// Whatever is cut out of JSON, or changed in it, both say the same of it.
func TestValidAgrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data, err := json.Marshal(draw(t, 4))
		require.NoError(t, err)
		require.True(t, Valid(data), "%q", data)
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
			data[at] = rapid.SampledFrom([]byte("\"\\{}[]:,0129eE+-.utn \n\x00\x1f\x80\xc3\xff")).Draw(t, "byte")
			require.Equal(t, want(data), Valid(data), "%q", data)
		}
		cut := data[:rapid.IntRange(0, len(data)).Draw(t, "length")]
		require.Equal(t, want(cut), Valid(cut), "%q", cut)
	})
}

func draw(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	switch {
	case kind == 0:
		return rapid.Float64().Draw(t, "number")
	case kind == 1:
		return rapid.Bool().Draw(t, "bool")
	case kind == 2 || depth == 0:
		return rapid.String().Draw(t, "text")
	case kind == 3:
		return json.RawMessage(" null ")
	}
	list := make([]any, rapid.IntRange(0, 4).Draw(t, "length"))
	members := map[string]any{}
	for i := range list {
		list[i] = draw(t, depth-1)
		members[rapid.String().Draw(t, "name")] = list[i]
	}
	if kind == 4 {
		return list
	}
	return members
}

func FuzzValid(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if Valid(data) != want(data) || Syntax(data) != json.Valid(data) {
			t.Fatalf("%q: %v", data, !want(data))
		}
	})
}

func TestValidAllocatesNothing(t *testing.T) {
	data := []byte(`{"body":"` + strings.Repeat("x", 1000) + `","list":[1,2,{"deep":[[[[]]]]}]}`)
	require.Zero(t, testing.AllocsPerRun(100, func() { Valid(data) }))
}

// One op is one payload.
func BenchmarkValid(b *testing.B) {
	for _, size := range []int{200, 8 << 10} {
		data := []byte(`{"body":"` + strings.Repeat("x", size) + `"}`)
		objects := []byte(`[` + strings.TrimSuffix(strings.Repeat(`{"id":12345,"name":"someone","on":true},`, size/40), ",") + `]`)
		for name, data := range map[string][]byte{"text": data, "objects": objects} {
			for which, valid := range map[string]func([]byte) bool{"ours": Valid, "encoding-json": json.Valid} {
				b.Run(fmt.Sprintf("%s/%d/%s", name, size, which), func(b *testing.B) {
					b.ReportAllocs()
					b.SetBytes(int64(len(data)))
					for b.Loop() {
						if !valid(data) {
							b.Fatal("not valid")
						}
					}
				})
			}
		}
	}
}
