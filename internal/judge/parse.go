package judge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"hearth"
)

// maxNodes bounds an expression: what it computes is bounded with it, since nothing repeats.
const maxNodes = 100

// latestName is the map of all values: its members are named by strings, as events are that no identifier can be.
const latestName = "latest"

// The operators by how tightly they bind, from the loosest, and the functions.
var (
	comparisons = []string{"==", "!=", "<=", ">=", "<", ">"}                                                               // never written to
	levels      = [][]string{{"||", "or"}, {"&&", "and"}, comparisons, {"+", "-"}, {"*", "/"}}                             // never written to
	written     = map[string]string{"or": "||", "and": "&&"}                                                               // never written to
	functions   = map[string][2]int{"abs": {1, 1}, "min": {1, maxNodes}, "max": {1, maxNodes}}                             // never written to; operands
	symbols     = []string{"||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "!", "(", ")", "[", "]", ","} // never written to; longer ones first
)

// parseExpression returns the expression, or the problem: a sentence's end.
func parseExpression(text string) (e *expression, problem string) {
	p := &parser{text: text}
	p.next()
	root, result := p.binary(0)
	if p.problem == "" && p.token != "" {
		p.unexpected()
	}
	if p.problem == "" && result != boolean && result != unknown {
		p.fail("is not understood: it is a " + result.String() + ", not true or false")
	}
	switch {
	case p.problem != "":
		return nil, p.problem
	case len(p.events) == 0:
		return nil, "must name an event"
	}
	slices.Sort(p.events)
	return &expression{root, slices.Compact(p.events)}, ""
}

// parser reads an expression by recursive descent: a method a level returns the node and its kind, as far as that is known.
type parser struct {
	text string
	// start and at are where the token begins and ends; token is "" at the end.
	start, at int
	token     string
	nodes     int
	events    []string
	// problem is the first one; the rest of the text is not looked at then.
	problem string
}

func (p *parser) fail(problem string) {
	if p.problem == "" {
		p.problem, p.token, p.at = problem, "", len(p.text)
	}
}

func (p *parser) unexpected() {
	what := "an end"
	if p.token != "" {
		what = strings.ToValidUTF8(p.token[:min(len(p.token), 40)], "")
	}
	p.fail(fmt.Sprintf("is not understood: unexpected %s (at %d)", what, utf8.RuneCountInString(p.text[:p.start])+1))
}

// next reads the next token: a symbol, a name, a number or a string with its quotes.
func (p *parser) next() {
	rest := strings.TrimLeft(p.text[p.at:], " \t\r\n")
	p.start = len(p.text) - len(rest)
	length := 0
	switch {
	case rest == "":
	case isLetter(rest[0]):
		for length < len(rest) && (isLetter(rest[length]) || isDigit(rest[length])) {
			length++
		}
	case isDigit(rest[0]) || rest[0] == '.':
		for length < len(rest) && (isDigit(rest[length]) || isLetter(rest[length]) || rest[length] == '.' ||
			strings.IndexByte("+-", rest[length]) >= 0 && strings.IndexByte("eE", rest[length-1]) >= 0) {
			length++
		}
	case rest[0] == '"' || rest[0] == '\'':
		for length = 1; length < len(rest) && rest[length] != rest[0]; length++ {
			if rest[length] == '\\' {
				length++
			}
		}
		length++
	default:
		i := slices.IndexFunc(symbols, func(s string) bool { return strings.HasPrefix(rest, s) })
		if _, length = utf8.DecodeRuneInString(rest); i >= 0 {
			length = len(symbols[i])
		}
	}
	length = min(length, len(rest))
	p.token, p.at = rest[:length], p.start+length
}

func isLetter(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// take goes past the token if it is that one.
func (p *parser) take(token string) bool {
	if p.token != token || token == "" {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(token string) {
	if !p.take(token) {
		p.unexpected()
	}
}

// node counts a part.
func (p *parser) node(n node) *node {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(fmt.Sprintf("is not understood: it has more than %d parts", maxNodes))
	}
	return &n
}

// want refuses an operand that is known to be of another kind.
func (p *parser) want(wanted, is kind, operator string) {
	if is != unknown && is != wanted {
		p.fail(fmt.Sprintf("is not understood: %s is of a %s here, not of a %s", operator, is, wanted))
	}
}

// binary reads operators of a level and tighter ones, from the left.
func (p *parser) binary(level int) (*node, kind) {
	if level == len(levels) {
		return p.unary()
	}
	if level == 2 && p.take("not") { // of a whole comparison
		operand, of := p.binary(2)
		p.want(boolean, of, "not")
		return p.node(node{operator: "!", operands: []*node{operand}}), boolean
	}
	left, result := p.binary(level + 1)
	for p.problem == "" && slices.Contains(levels[level], p.token) {
		operator := p.token
		if symbol, ok := written[operator]; ok {
			operator = symbol
		}
		p.next()
		right, other := p.binary(level + 1)
		switch {
		case level < 2:
			p.want(boolean, result, operator)
			p.want(boolean, other, operator)
			result = boolean
		case level == 2:
			if result != unknown && other != unknown && result != other {
				p.fail(fmt.Sprintf("is not understood: %s compares a %s with a %s", operator, result, other))
			}
			result = boolean
		default:
			p.want(number, result, operator)
			p.want(number, other, operator)
			result = number
		}
		left = p.node(node{operator: operator, operands: []*node{left, right}})
	}
	return left, result
}

func (p *parser) unary() (*node, kind) {
	switch {
	case p.take("!"):
		n := p.node(node{operator: "!"})
		operand, of := p.unary()
		p.want(boolean, of, "!")
		n.operands = []*node{operand}
		return n, boolean
	case p.take("-"):
		n := p.node(node{operator: negative})
		operand, of := p.unary()
		p.want(number, of, "-")
		n.operands = []*node{operand}
		return n, number
	}
	return p.primary()
}

func (p *parser) primary() (*node, kind) {
	token := p.token
	switch {
	case p.take("("):
		p.node(node{}) // brackets count: they nest
		inner, of := p.binary(0)
		p.expect(")")
		return inner, of
	case token == "":
		p.unexpected()
	case token == "true" || token == "false":
		p.next()
		return p.node(node{operator: literal, value: truth(token == "true")}), boolean
	case token[0] == '"' || token[0] == '\'':
		return p.node(node{operator: literal, value: value{kind: text, text: p.string()}}), text
	case isDigit(token[0]) || token[0] == '.':
		n, err := strconv.ParseFloat(token, 64)
		if err != nil || strings.ContainsAny(token, "xXpP_") {
			p.unexpected()
		}
		p.next()
		return p.node(node{operator: literal, value: value{kind: number, number: n}}), number
	case isLetter(token[0]):
		return p.name()
	}
	p.unexpected()
	return &node{operator: literal}, unknown
}

// string reads a string, in which a backslash stands before a quote or a backslash.
func (p *parser) string() string {
	quoted := p.token
	if len(quoted) < 2 || quoted[len(quoted)-1] != quoted[0] {
		p.unexpected()
		return ""
	}
	var out strings.Builder
	for i := 1; i < len(quoted)-1; i++ {
		if quoted[i] == '\\' {
			if i++; i == len(quoted)-1 || strings.IndexByte(`"'\`, quoted[i]) < 0 {
				p.unexpected()
				return ""
			}
		}
		out.WriteByte(quoted[i])
	}
	p.next()
	return out.String()
}

// name reads an event or a function.
func (p *parser) name() (*node, kind) {
	name := p.token
	p.next()
	if p.token != "" && p.token[0] == '.' {
		p.fail(fmt.Sprintf(`must not have %s%s; write latest["a.b"] for an event a.b`, name, p.token[:min(len(p.token), 40)]))
	}
	operands, isFunction := functions[name]
	switch {
	case name == latestName:
		p.expect("[")
		if p.token == "" || p.token[0] != '"' && p.token[0] != '\'' {
			p.fail(`must not have latest of anything but a string; write latest["a.b"] for an event a.b`)
			break
		}
		name = p.string()
		p.expect("]")
	case p.token == "(" && isFunction:
		n := p.node(node{operator: name})
		for p.next(); p.problem == ""; p.next() {
			operand, of := p.binary(0)
			p.want(number, of, name)
			if n.operands = append(n.operands, operand); p.token != "," {
				break
			}
		}
		p.expect(")")
		if p.problem == "" && len(n.operands) > operands[1] {
			p.fail("is not understood: " + name + " has one operand")
		}
		return n, number
	case p.token == "(":
		p.fail("must not have the function " + name[:min(len(name), 40)])
	case slices.Contains([]string{"and", "or", "not", "in", "matches", "let"}, name):
		p.fail("must not have " + name + " here")
	}
	if p.problem == "" && !hearth.ValidEvent(name) {
		p.fail("must not have the event " + strings.ToValidUTF8(name[:min(len(name), 100)], ""))
	}
	p.events = append(p.events, name)
	return p.node(node{operator: latestName, event: name}), unknown
}
