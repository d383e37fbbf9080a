package odata

// eval computes a checked expression for a connection. It cannot fail.
func (n *node) eval(s *Subject) value {
	switch n.op {
	case opLiteral:
		return n.value
	case opProperty:
		return n.property.eval(s)
	case opCall:
		return n.evalCall(s)
	case opNot:
		return boolean(n.args[0].eval(s) != boolean(true))
	case opOr:
		return boolean(n.args[0].eval(s) == boolean(true) || n.args[1].eval(s) == boolean(true))
	case opAnd:
		return boolean(n.args[0].eval(s) == boolean(true) && n.args[1].eval(s) == boolean(true))
	case opIn:
		return boolean(n.args[1].has(n.args[0].eval(s), s))
	default:
		return boolean(compare(n.op, n.args[0].eval(s), n.args[1].eval(s)))
	}
}

func (p property) eval(s *Subject) value {
	switch p {
	case propertyUserID:
		return nullable(s.UserID)
	case propertyConnectionID:
		return text(s.ConnectionID)
	case propertyProtocol:
		return nullable(s.Protocol)
	default:
		v := value{kind: kindCollection}
		if s.Groups != nil {
			v.n = int64(s.Groups.Len())
		}
		return v
	}
}

// has reports whether the list or the groups that n stands for contain v.
func (n *node) has(v value, s *Subject) bool {
	if n.op == opList {
		_, ok := n.set[v]
		return ok
	}
	return v.kind == kindString && s.Groups != nil && s.Groups.Has(v.s)
}

// compare is exact for eq and ne, also of null. The others compare ints, and are
// false if one side is null.
func compare(o op, left, right value) bool {
	switch o {
	case opEqual:
		return left == right
	case opNotEqual:
		return left != right
	}
	if left.kind != kindInt || right.kind != kindInt {
		return false
	}
	switch o {
	case opGreater:
		return left.n > right.n
	case opGreaterOrEqual:
		return left.n >= right.n
	case opLess:
		return left.n < right.n
	default:
		return left.n <= right.n
	}
}

func (n *node) evalCall(s *Subject) value {
	var args [3]value
	for i, arg := range n.args {
		args[i] = arg.eval(s)
	}
	return n.function.eval(args, len(n.args))
}
