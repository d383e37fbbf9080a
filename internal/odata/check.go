package odata

import "strings"

// property is what a name means.
type property uint8

const (
	propertyUserID property = iota + 1
	propertyConnectionID
	propertyProtocol
	propertyGroups
)

// properties are found in any case, unlike operators and functions.
var properties = map[string]property{
	"userid":       propertyUserID,
	"connectionid": propertyConnectionID,
	"protocol":     propertyProtocol,
	"groups":       propertyGroups,
}

// check resolves names and finds out whether the expression has sense and the type
// bool. Its errors name the smallest operation that shows the mistake, as the official
// emulator does; where there is none, they name the source.
//
// eq, ne and in compare values of any types, as there: values of different types are
// unequal.
func check(root *node, source string) error {
	found, failure := root.check(nil)
	if failure == nil && found != kindBool {
		failure = mismatch(nil, found, kindBool)
	}
	if failure == nil {
		return nil
	}
	if failure.Expression == "" {
		failure.Expression = source
	}
	return failure
}

// check returns the type of n. within is the operation that n is an operand of.
func (n *node) check(within *node) (kind, *Error) {
	switch n.op {
	case opLiteral:
		return n.value.kind, nil
	case opList:
		return kindCollection, nil
	case opProperty:
		if n.property = properties[strings.ToLower(n.name)]; n.property == 0 {
			return 0, unsupported(within, n)
		}
		if n.property == propertyGroups {
			return kindCollection, nil
		}
		return kindString, nil
	case opCall:
		return n.checkCall()
	case opNot:
		found, failure := n.args[0].check(within)
		if failure == nil && found != kindBool {
			failure = mismatch(n, found, kindBool)
		}
		return kindBool, failure
	default:
		return kindBool, n.checkBinary()
	}
}

func (n *node) checkBinary() *Error {
	var found [2]kind
	for i, arg := range n.args {
		var failure *Error
		if found[i], failure = arg.check(n); failure != nil {
			return failure
		}
	}
	for i, found := range found {
		switch n.op {
		case opAnd, opOr:
			if found != kindBool {
				return mismatch(n, found, kindBool)
			}
		case opIn:
			want := [...]kind{kindString, kindCollection}[i]
			if (found == kindCollection) != (want == kindCollection) {
				return mismatch(n, found, want)
			}
		case opEqual, opNotEqual:
			if found == kindCollection {
				return mismatch(n, found, kindString)
			}
		default:
			if found != kindInt && found != kindNull {
				return mismatch(n, found, kindInt)
			}
		}
	}
	return nil
}

func (n *node) checkCall() (kind, *Error) {
	f, ok := functions[n.name]
	if !ok {
		return 0, unsupported(n, n)
	}
	if len(n.args) < f.required || len(n.args) > len(f.params) {
		return 0, invalidToken(n)
	}
	for i, arg := range n.args {
		found, failure := arg.check(n)
		switch want := f.params[i]; {
		case failure != nil:
			return 0, failure
		case found == want, found == kindNull && want == kindString:
		case f.countable && found == kindCollection:
		case f.countable:
			return 0, invalidToken(n)
		default:
			return 0, mismatch(n, found, want)
		}
	}
	n.function = f
	return f.result, nil
}

func mismatch(within *node, found, want kind) *Error {
	return failure(within, "Type '"+found.String()+"', expect '"+want.String()+"'.")
}

func unsupported(within, token *node) *Error {
	return failure(within, "Token '"+shorten(token.String())+"' is not supported.")
}

func invalidToken(call *node) *Error {
	return failure(call, "Invalid token '"+shorten(call.String())+"'.")
}

// failure leaves the expression empty without an operation: check then fills it in.
func failure(within *node, detail string) *Error {
	if within == nil {
		return &Error{Detail: detail}
	}
	return &Error{Expression: within.String(), Detail: detail}
}
