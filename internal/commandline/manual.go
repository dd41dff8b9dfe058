package commandline

import (
	"fmt"
	"reflect"
	"strings"
)

// Manual returns the manual page of a program, as roff. Flags that many commands have, those of a group, stand once, behind the commands.
func Manual(program, description string, grammar any) string {
	root := newCommand(nil, program, description, reflect.ValueOf(grammar).Elem())
	var out strings.Builder
	name, rest, _ := strings.Cut(description, "\n\n")
	fmt.Fprintf(&out, ".TH %s 1\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n.I command\n[\\fIflags\\fR]\n.SH DESCRIPTION\n%s\n.SH COMMANDS\n",
		strings.ToUpper(program), program, roff(name), program, roff(rest))
	var groups []string
	shared := map[string][]*Flag{}
	root.walk(func(c *command) {
		if c == root || len(c.commands) > 0 {
			return
		}
		out.WriteString(".SS " + roff(c.path))
		for _, a := range c.arguments {
			out.WriteString(" " + roff(a.usage()))
		}
		out.WriteString("\n" + roff(c.help) + "\n")
		if helper, ok := reflect.TypeAssert[Helper](c.value.Addr()); ok {
			out.WriteString(".PP\n" + roff(helper.Help()) + "\n")
		}
		for _, f := range c.flags {
			if f.Group == "" {
				out.WriteString(f.manual())
				continue
			}
			if shared[f.Group] == nil {
				groups = append(groups, f.Group)
			}
			if !strings.Contains(manuals(shared[f.Group]), f.manual()) {
				shared[f.Group] = append(shared[f.Group], f)
			}
		}
	})
	out.WriteString(".SH SETTINGS\n")
	for _, group := range groups {
		out.WriteString(".SS " + roff(group) + "\n" + manuals(shared[group]))
	}
	return out.String()
}

func (f *Flag) manual() string { return ".TP\n.B " + roff(f.form()) + "\n" + roff(f.Help) + "\n" }

func manuals(flags []*Flag) string {
	var out strings.Builder
	for _, f := range flags {
		out.WriteString(f.manual())
	}
	return out.String()
}

// roff escapes a text: no line of it begins with a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
