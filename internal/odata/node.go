package odata

import (
	"strconv"
	"strings"
)

// op is what a node of the syntax tree does.
type op uint8

const (
	opNone op = iota
	opLiteral
	opProperty
	opCall
	opList
	opNot
	opOr
	opAnd
	opIn
	opEqual
	opNotEqual
	opGreater
	opGreaterOrEqual
	opLess
	opLessOrEqual
)

// operators are the reserved words. Like the names of functions they are in lower
// case only.
var operators = map[string]op{
	"not": opNot, "or": opOr, "and": opAnd, "in": opIn,
	"eq": opEqual, "ne": opNotEqual,
	"gt": opGreater, "ge": opGreaterOrEqual, "lt": opLess, "le": opLessOrEqual,
}

// comparison reports whether o is one of eq, ne, gt, ge, lt, le.
func (o op) comparison() bool { return o >= opEqual }

// word is how the operator is written.
func (o op) word() string {
	for word, candidate := range operators {
		if candidate == o {
			return word
		}
	}
	return ""
}

// node is an expression. Which fields count depends on op.
type node struct {
	op    op
	name  string             // of a property or a function, as written
	value value              // of a literal
	args  []*node            // operands, arguments or list items
	set   map[value]struct{} // the items of a list
	// resolved by check
	property property
	function *function
}

// String is the source of the expression in a normal form, for errors.
func (n *node) String() string {
	switch n.op {
	case opLiteral:
		return n.value.String()
	case opProperty:
		return n.name
	case opCall:
		return n.name + "(" + n.join() + ")"
	case opList:
		return "(" + n.join() + ")"
	case opNot:
		return "not " + n.args[0].operand()
	default:
		return n.args[0].operand() + " " + n.op.word() + " " + n.args[1].operand()
	}
}

func (n *node) join() string {
	args := make([]string, len(n.args))
	for i, arg := range n.args {
		args[i] = arg.String()
	}
	return strings.Join(args, ",")
}

// operand is the source of n inside of an operator.
func (n *node) operand() string {
	if n.op >= opNot {
		return "(" + n.String() + ")"
	}
	return n.String()
}

// kind is a type.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindInt
	kindString
	kindCollection
)

// String is the name of the type in errors.
func (k kind) String() string {
	return [...]string{"null", "bool", "int", "string", "collection"}[k]
}

// value is a result. Values of one kind are equal if they are equal in Go, and values
// of different kinds never are, which is what eq and in want.
type value struct {
	kind kind
	n    int64 // of an int, 1 for true, the size of a collection
	s    string
}

func text(s string) value { return value{kind: kindString, s: s} }

func integer[N int | int64](n N) value { return value{kind: kindInt, n: int64(n)} }

func boolean(b bool) value {
	if b {
		return value{kind: kindBool, n: 1}
	}
	return value{kind: kindBool}
}

// nullable is a string of which empty means null.
func nullable(s string) value {
	if s == "" {
		return value{}
	}
	return text(s)
}

// String is the literal of the value.
func (v value) String() string {
	switch v.kind {
	case kindBool:
		return strconv.FormatBool(v.n != 0)
	case kindInt:
		return strconv.FormatInt(v.n, 10)
	case kindString:
		return Quote(v.s)
	default:
		return "null"
	}
}
