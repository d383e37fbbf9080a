package node_test

import (
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// suite is what holds over every backend.
var suite = map[string]func(*testing.T, *world){}

// add puts cases into the suite.
func add(cases map[string]func(*testing.T, *world)) bool {
	for name, run := range cases {
		if suite[name] != nil {
			panic("two cases are called " + name)
		}
		suite[name] = run
	}
	return true
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	runSuite(t, newEmbedded(t))
}

func TestReal(t *testing.T) {
	t.Parallel()
	runSuite(t, newReal(t))
}

func runSuite(t *testing.T, w *world) {
	for name, run := range suite {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, w)
		})
	}
}
