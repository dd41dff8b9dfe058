package judge

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"hearth"
)

// expression is a condition over the latest values of a device.
type expression struct {
	root *node
	// events are those that it names, sorted.
	events []string
}

// node is a part of an expression: a literal, an event, or an operator or function of operands.
type node struct {
	// operator is literal, latest (of an event), or as it is written; "negative" is the minus before a number.
	operator string
	operands []*node
	value    value
	event    string
}

// The operators that are not written.
const (
	literal  = "literal"
	negative = "negative"
)

// kind is the type of a value.
type kind int

const (
	unknown kind = iota // an event's, before it is known
	number
	boolean
	text
)

func (k kind) String() string { return [...]string{"unknown", "number", "boolean", "string"}[k] }

// value is what a node comes to; a boolean has Number 0 or 1.
type value struct {
	kind   kind
	number float64
	text   string
}

func truth(of bool) value {
	if of {
		return value{kind: boolean, number: 1}
	}
	return value{kind: boolean}
}

func valueOf(v hearth.Value) value {
	switch v.Kind() {
	case hearth.BooleanKind:
		return truth(v.Number() != 0)
	case hearth.TextKind:
		return value{kind: text, text: v.Text()}
	}
	return value{kind: number, number: v.Number()}
}

// met reports whether the expression is true of the values. One that misses a value, or compares what cannot be compared, is false.
func (e *expression) met(values map[string]hearth.Reading) bool {
	for _, event := range e.events {
		if reading, known := values[event]; !known || reading.At.IsZero() {
			return false
		}
	}
	result, ok := e.root.compute(values)
	return ok && result.kind == boolean && result.number != 0
}

// compute returns the value of the node; ok is false where an operand is of a kind that the operator is not of.
func (n *node) compute(values map[string]hearth.Reading) (out value, ok bool) {
	switch n.operator {
	case literal:
		return n.value, true
	case latestName:
		return valueOf(values[n.event].Value), true
	}
	first, ok := n.operands[0].compute(values)
	if !ok {
		return value{}, false
	}
	switch {
	case n.operator == "&&" || n.operator == "||": // the second counts, and must be right, only if the first leaves it open
		if first.kind != boolean || (first.number != 0) == (n.operator == "||") {
			return first, first.kind == boolean
		}
		second, ok := n.operands[1].compute(values)
		return second, ok && second.kind == boolean
	case n.operator == "!":
		return truth(first.number == 0), first.kind == boolean
	case len(n.operands) == 1 && n.operator == negative:
		return value{kind: number, number: -first.number}, first.kind == number
	case len(n.operands) == 1 && n.operator == "abs":
		return value{kind: number, number: math.Abs(first.number)}, first.kind == number
	}
	for _, operand := range n.operands[1:] {
		second, ok := operand.compute(values)
		if !ok {
			return value{}, false
		}
		if first, ok = combine(n.operator, first, second); !ok {
			return value{}, false
		}
	}
	return first, slices.Contains(comparisons, n.operator) || first.kind == number
}

// combine applies an operator, or a function of any number of operands, to two values.
func combine(operator string, a, b value) (out value, ok bool) {
	if slices.Contains(comparisons, operator) {
		order := cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.text, b.text))
		switch operator {
		case "==":
			return truth(a == b), true
		case "!=":
			return truth(a != b), true
		case "<":
			out = truth(order < 0)
		case "<=":
			out = truth(order <= 0)
		case ">":
			out = truth(order > 0)
		case ">=":
			out = truth(order >= 0)
		}
		return out, a.kind == b.kind && a.kind != boolean && !math.IsNaN(a.number) && !math.IsNaN(b.number)
	}
	out.kind = number
	switch operator {
	case "+":
		out.number = a.number + b.number
	case "-":
		out.number = a.number - b.number
	case "*":
		out.number = a.number * b.number
	case "/":
		out.number = a.number / b.number
	case "min":
		out.number = min(a.number, b.number)
	case "max":
		out.number = max(a.number, b.number)
	}
	return out, a.kind == number && b.kind == number
}
