package odata

import "strconv"

// parser is a recursive descent over the grammar of section 5.5. Precedence falls
// from not over in and the comparisons to and and or; operators of one level group
// from the left. It knows no types and no names of functions: see check.
type parser struct {
	source      string
	limits      Limits
	pos         int
	next        lexeme
	depth       int
	comparisons int
	connectives int
}

// fail is an error of the whole filter.
func (p *parser) fail(detail string) error { return &Error{p.source, detail} }

// unexpected is the error for the next token.
func (p *parser) unexpected() error {
	if p.next.kind == tokenEnd {
		return p.fail("Unexpected end of the filter.")
	}
	return p.fail("Unexpected '" + shorten(p.next.text) + "' at position " + strconv.Itoa(p.next.pos) + ".")
}

func (p *parser) at(kind tokenKind, text string) bool {
	return p.next.kind == kind && p.next.text == text
}

// accept skips a punctuation mark, which must be next.
func (p *parser) accept(mark string) error {
	if !p.at(tokenPunctuation, mark) {
		return p.unexpected()
	}
	return p.scan()
}

// enter counts nested expressions; leave undoes it.
func (p *parser) enter() error {
	if p.depth++; p.depth > p.limits.Depth {
		return p.fail("The filter is nested more than " + strconv.Itoa(p.limits.Depth) + " deep.")
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// count bounds the operators of one kind, and with them the depth of a tree that
// groups from the left.
func (p *parser) count(operators *int, limit int) error {
	if *operators++; *operators > limit {
		return p.fail("The filter has more than " + strconv.Itoa(p.limits.Clauses) + " clauses.")
	}
	return nil
}

func (p *parser) filter() (*node, error) {
	if err := p.scan(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.next.kind != tokenEnd {
		return nil, p.unexpected()
	}
	return root, nil
}

func (p *parser) or() (*node, error) {
	isOr := func(o op) bool { return o == opOr }
	return p.binary(p.and, isOr, &p.connectives, p.limits.Clauses-1)
}

func (p *parser) and() (*node, error) {
	isAnd := func(o op) bool { return o == opAnd }
	return p.binary(p.comparison, isAnd, &p.connectives, p.limits.Clauses-1)
}

func (p *parser) comparison() (*node, error) {
	return p.binary(p.in, op.comparison, &p.comparisons, p.limits.Clauses)
}

// binary reads operands with the operators of one level of precedence between them.
func (p *parser) binary(operand func() (*node, error), level func(op) bool, count *int, limit int) (*node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for p.next.kind == tokenName && level(operators[p.next.text]) {
		n := &node{op: operators[p.next.text]}
		if err := p.count(count, limit); err != nil {
			return nil, err
		}
		if err := p.scan(); err != nil {
			return nil, err
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		n.args = []*node{left, right}
		left = n
	}
	return left, nil
}

func (p *parser) in() (*node, error) {
	left, err := p.unary()
	if err != nil {
		return nil, err
	}
	for p.at(tokenName, "in") {
		if err := p.count(&p.comparisons, p.limits.Clauses); err != nil {
			return nil, err
		}
		if err := p.scan(); err != nil {
			return nil, err
		}
		var right *node
		if p.at(tokenPunctuation, "(") {
			right, err = p.list()
		} else {
			right, err = p.primary()
		}
		if err != nil {
			return nil, err
		}
		left = &node{op: opIn, args: []*node{left, right}}
	}
	return left, nil
}

// list reads the literals after in, of which there is at least one.
func (p *parser) list() (*node, error) {
	n := &node{op: opList, set: make(map[value]struct{})}
	if err := p.accept("("); err != nil {
		return nil, err
	}
	for {
		item, ok := p.literal()
		if !ok {
			return nil, p.unexpected()
		}
		n.args = append(n.args, item)
		n.set[item.value] = struct{}{}
		if err := p.scan(); err != nil {
			return nil, err
		}
		if p.at(tokenPunctuation, ")") {
			return n, p.scan()
		}
		if err := p.accept(","); err != nil {
			return nil, err
		}
	}
}

func (p *parser) unary() (*node, error) {
	if !p.at(tokenName, "not") {
		return p.primary()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := p.scan(); err != nil {
		return nil, err
	}
	operand, err := p.unary()
	if err != nil {
		return nil, err
	}
	return &node{op: opNot, args: []*node{operand}}, nil
}

func (p *parser) primary() (*node, error) {
	if p.at(tokenPunctuation, "(") {
		return p.parenthesis()
	}
	if n, ok := p.literal(); ok {
		return n, p.scan()
	}
	// Operators are reserved words, so that a missing operand is a syntax error.
	if p.next.kind != tokenName || operators[p.next.text] != opNone {
		return nil, p.unexpected()
	}
	n := &node{op: opProperty, name: p.next.text}
	if err := p.scan(); err != nil {
		return nil, err
	}
	if p.at(tokenPunctuation, "(") {
		return p.call(n)
	}
	return n, nil
}

// literal returns the literal that is next, without going past it.
func (p *parser) literal() (*node, bool) {
	n := &node{op: opLiteral}
	switch {
	case p.next.kind == tokenString:
		n.value = text(p.next.text)
	case p.next.kind == tokenInt:
		n.value = integer(p.next.n)
	case p.at(tokenName, "true"), p.at(tokenName, "false"):
		n.value = boolean(p.next.text == "true")
	case p.at(tokenName, "null"):
		n.value = value{}
	default:
		return nil, false
	}
	return n, true
}

func (p *parser) parenthesis() (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := p.accept("("); err != nil {
		return nil, err
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	return n, p.accept(")")
}

func (p *parser) call(n *node) (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	n.op = opCall
	if err := p.accept("("); err != nil {
		return nil, err
	}
	for !p.at(tokenPunctuation, ")") {
		if len(n.args) > 0 {
			if err := p.accept(","); err != nil {
				return nil, err
			}
		}
		arg, err := p.or()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
	}
	return n, p.scan()
}
