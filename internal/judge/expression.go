package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"hearth"
)

// maxNodes bounds an expression: what it computes, and what that allocates, is bounded with it, since nothing repeats.
const maxNodes = 100

// latestName is the map of all values: its members are named by strings, as events are that no identifier can be.
const latestName = "latest"

// Operators and functions of expressions.
var (
	operators = []string{"==", "!=", "<", "<=", ">", ">=", "&&", "||", "!", "and", "or", "not", "+", "-", "*", "/"} // never written to
	functions = []string{"abs", "min", "max"}                                                                       // never written to
)

// expression is a condition over the latest values of a device.
type expression struct {
	program *vm.Program
	// events are those that it names, sorted.
	events []string
}

// parseExpression returns the expression, or the problem: a sentence's end.
func parseExpression(text string) (e *expression, problem string) {
	v := &inspector{}
	options := []expr.Option{
		expr.AllowUndefinedVariables(), expr.AsBool(), expr.MaxNodes(maxNodes), expr.DisableAllBuiltins(), expr.Patch(v),
	}
	for _, name := range functions {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(text, options...)
	switch {
	case v.problem != "":
		return nil, v.problem
	case err != nil:
		message := err.Error()
		if located, ok := err.(*file.Error); ok { //nolint:errorlint // what Compile returns is not wrapped
			message = fmt.Sprintf("%s (at %d)", located.Message, located.Column+1)
		}
		return nil, "is not understood: " + message
	case len(v.events) == 0:
		return nil, "must name an event"
	}
	slices.Sort(v.events)
	return &expression{program, slices.Compact(v.events)}, ""
}

// inspector gathers the events that an expression names, and refuses what is no part of the language.
type inspector struct {
	events  []string
	problem string
}

// Visit implements ast.Visitor.
func (v *inspector) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode:
	case *ast.UnaryNode:
		v.operator(n.Operator)
	case *ast.BinaryNode:
		v.operator(n.Operator)
	case *ast.BuiltinNode:
		if !slices.Contains(functions, n.Name) {
			v.refuse(n.Name)
		}
	case *ast.IdentifierNode:
		if n.Value != latestName {
			v.event(n.Value)
		}
	case *ast.MemberNode:
		of, isName := n.Node.(*ast.IdentifierNode)
		name, isText := n.Property.(*ast.StringNode)
		if !isName || !isText || of.Value != latestName {
			v.refuse(fmt.Sprintf("%s; write latest[\"a.b\"] for an event a.b", n))
			return
		}
		v.event(name.Value)
	default:
		v.refuse((*node).String())
	}
}

func (v *inspector) operator(name string) {
	if !slices.Contains(operators, name) {
		v.refuse(name)
	}
}

func (v *inspector) event(name string) {
	if !hearth.ValidEvent(name) {
		v.refuse("the event " + name)
		return
	}
	v.events = append(v.events, name)
}

func (v *inspector) refuse(what string) {
	if v.problem == "" {
		v.problem = "must not have " + strings.ToValidUTF8(what[:min(len(what), 100)], "")
	}
}

// met reports whether the expression is true of the values. One that misses a value, or compares what cannot be compared, is false.
func (e *expression) met(values map[string]hearth.Reading) bool {
	environment := make(map[string]any, len(e.events)+1)
	for _, event := range e.events {
		reading, known := values[event]
		if !known || reading.At.IsZero() {
			return false
		}
		switch v := reading.Value; v.Kind() {
		case hearth.NumberKind:
			environment[event] = v.Number()
		case hearth.BooleanKind:
			environment[event] = v.Number() != 0
		case hearth.TextKind:
			environment[event] = v.Text()
		}
	}
	environment[latestName] = environment
	result, err := expr.Run(e.program, environment)
	met, _ := result.(bool)
	return err == nil && met
}
