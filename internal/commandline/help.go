package commandline

import (
	"cmp"
	"reflect"
	"strings"
)

// width is that of the help, in characters.
const width = 80

// helpText returns the help of a command.
func (c *command) helpText() string {
	var out strings.Builder
	out.WriteString("Usage: " + c.path)
	for _, a := range c.arguments {
		out.WriteString(" " + a.usage())
	}
	switch {
	case len(c.commands) > 0:
		out.WriteString(" <command>")
	case len(c.flags) > 0:
		for _, f := range c.flags {
			if f.Required {
				out.WriteString(" " + f.form())
			}
		}
		out.WriteString(" [flags]")
	}
	out.WriteString("\n\n")
	texts := strings.Split(c.help, "\n\n")
	if helper, ok := reflect.TypeAssert[Helper](c.value.Addr()); ok {
		texts = append(texts, helper.Help())
	}
	for _, text := range texts {
		out.WriteString(strings.Join(wrapped(text, width), "\n") + "\n\n")
	}
	if len(c.arguments) > 0 {
		out.WriteString("Arguments:\n")
		rows := make([][2]string, len(c.arguments))
		for i, a := range c.arguments {
			rows[i] = [2]string{a.usage(), a.help}
		}
		writeRows(&out, rows)
		out.WriteString("\n")
	}
	groups := map[string][][2]string{"": {{"-h, --help", "Show context-sensitive help."}}}
	order := []string{""}
	if len(c.flags) > 0 {
		groups[""] = append(groups[""], [2]string{}) // an empty line
	}
	for _, f := range c.flags {
		if groups[f.Group] == nil {
			order = append(order, f.Group)
		}
		form := f.form()
		if f.Group == "" {
			form = "    " + form
		}
		groups[f.Group] = append(groups[f.Group], [2]string{form, f.Help})
	}
	for _, group := range order {
		out.WriteString(cmp.Or(group, "Flags:") + "\n")
		writeRows(&out, groups[group])
		out.WriteString("\n")
	}
	if len(c.commands) > 0 {
		out.WriteString("Commands:\n")
		rows := make([][2]string, len(c.commands))
		for i, sub := range c.commands {
			_, below, _ := strings.Cut(sub.path, " ")
			rows[i] = [2]string{below, sub.help}
		}
		writeRows(&out, rows)
		if c.parent == nil {
			out.WriteString("\nRun \"" + c.path + " <command> --help\" for more information on a command.\n")
		}
		return out.String()
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (a *argument) usage() string {
	name := a.name
	if a.many {
		name += " ..."
	}
	if a.optional {
		return "[" + name + "]"
	}
	return name
}

// form is how the flag is written.
func (f *Flag) form() string {
	switch {
	case f.Negatable:
		return "--[no-]" + f.Name
	case f.Bool:
		return "--" + f.Name
	}
	return "--" + f.Name + "=" + f.Placeholder
}

// writeRows writes two columns, the second wrapped.
func writeRows(out *strings.Builder, rows [][2]string) {
	left := 0
	for _, row := range rows {
		left = max(left, len(row[0]))
	}
	for _, row := range rows {
		for i, line := range wrapped(row[1], width-left-6) {
			first := row[0]
			if i > 0 {
				first = ""
			}
			out.WriteString(strings.TrimRight("  "+first+strings.Repeat(" ", left-len(first)+4)+line, " ") + "\n")
		}
	}
}

// wrapped breaks a text into lines of at most so many characters, longer words apart.
func wrapped(text string, most int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= most:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
