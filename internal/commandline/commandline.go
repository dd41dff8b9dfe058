// Package commandline parses a command line into a tree of commands that are described by struct tags.
//
// A command is a struct. Its exported fields are commands of their own (tag cmd), positional arguments (arg) or flags; an embedded
// struct adds its fields, one that implements [Flagger] its flags. The tags:
//
//	cmd:""            a command, named after the field unless name says otherwise
//	arg:""            an argument; a []string takes all that are left, optional:"" lets it be left out
//	help:"…"          what it is
//	placeholder:"X"   what the help writes for a flag's value
//	default:"x"       the value of a flag that is not given
//	enum:"a,b"        the only values that a flag may have
//	required:""       a flag that must be given
//
// A field's name becomes a flag's: DeviceColumn is --device-column. Types are string, bool, int, time.Duration and []string.
// Nothing here looks up a method by its name: that would keep the linker from removing any exported method of the program.
package commandline

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"hearth/internal/editdistance"
)

// Flag is a flag of a command.
type Flag struct {
	Name        string // without the dashes
	Help        string
	Placeholder string
	// Group is the heading under which the help shows it; "" is the command's own.
	Group string
	Enum  []string
	// Bool takes no value, or true or false behind "="; Negatable has a --no- form.
	Bool, Negatable bool
	Required        bool
	// Set sets the value; what it fails with is shown behind the flag's name.
	Set func(value string) error

	given bool
}

// Flagger is an embedded struct that makes its flags itself.
type Flagger interface{ Flags() []*Flag }

// Helper is a command with more to say than its help tag.
type Helper interface{ Help() string }

type argument struct {
	name, help     string
	optional, many bool
	set            func(value string) error
	given          bool
}

type command struct {
	path, help string
	parent     *command
	value      reflect.Value
	commands   []*command
	flags      []*Flag
	arguments  []*argument
}

func (c *command) name() string { return c.path[strings.LastIndexByte(c.path, ' ')+1:] }

// Help is the error of a command line that asks for help: its text.
type Help string

// Error returns the text.
func (h Help) Error() string { return string(h) }

// Parse fills the command that the arguments name and returns a pointer to its struct. program names and describes the whole;
// grammar is a pointer to the struct of its commands. A *Help is what was asked for by --help, any other error a mistake in
// the arguments; a mistake in the grammar panics.
func Parse(program, description string, grammar any, args []string) (selected any, err error) {
	root := newCommand(nil, program, description, reflect.ValueOf(grammar).Elem())
	at := root
	flagsEnd := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--" && !flagsEnd:
			flagsEnd = true
		case (arg == "--help" || arg == "-h") && !flagsEnd:
			return nil, Help(at.helpText())
		case len(arg) > 1 && arg[0] == '-' && !flagsEnd:
			if args, err = at.flag(arg, args); err != nil {
				return nil, err
			}
		default:
			if at, err = at.positional(arg); err != nil {
				return nil, err
			}
		}
	}
	return at.value.Addr().Interface(), at.complete()
}

func newCommand(parent *command, path, help string, value reflect.Value) *command {
	c := &command{path: path, help: help, parent: parent, value: value}
	c.add(value)
	return c
}

// add adds the fields of a struct.
func (c *command) add(value reflect.Value) {
	for i := range value.NumField() {
		field, v := value.Type().Field(i), value.Field(i)
		tag := field.Tag
		_, isCommand := tag.Lookup("cmd")
		_, isArgument := tag.Lookup("arg")
		name := tag.Get("name")
		if name == "" {
			name = dashed(field.Name)
		}
		switch {
		case !field.IsExported():
		case field.Anonymous:
			c.add(v)
			if flagger, ok := reflect.TypeAssert[Flagger](v.Addr()); ok {
				c.flags = append(c.flags, flagger.Flags()...)
			}
		case isCommand:
			c.commands = append(c.commands, newCommand(c, c.path+" "+name, tag.Get("help"), v))
		case isArgument:
			_, optional := tag.Lookup("optional")
			c.arguments = append(c.arguments, &argument{
				name: "<" + name + ">", help: tag.Get("help"), optional: optional, many: v.Kind() == reflect.Slice, set: setter(v),
			})
		default:
			c.flags = append(c.flags, newFlag(name, tag, v))
		}
	}
}

func newFlag(name string, tag reflect.StructTag, v reflect.Value) *Flag {
	_, required := tag.Lookup("required")
	f := &Flag{
		Name: name, Help: tag.Get("help"), Placeholder: tag.Get("placeholder"), Required: required, Bool: v.Kind() == reflect.Bool, Set: setter(v),
	}
	if enum := tag.Get("enum"); enum != "" {
		f.Enum = strings.Split(enum, ",")
	}
	if value, ok := tag.Lookup("default"); ok {
		if f.Placeholder == "" {
			f.Placeholder = value
			if v.Kind() == reflect.String {
				f.Placeholder = strconv.Quote(value)
			}
		}
		if err := f.Set(value); err != nil {
			panic(fmt.Sprintf("commandline: the default of --%s: %v", name, err))
		}
	}
	if f.Placeholder == "" {
		f.Placeholder = strings.ToUpper(name)
	}
	return f
}

// setter returns what sets a value of one of the types that flags and arguments may have.
func setter(v reflect.Value) func(string) error {
	switch pointer := v.Addr().Interface().(type) {
	case *string:
		return func(text string) error { *pointer = text; return nil }
	case *[]string:
		return func(text string) error { *pointer = append(*pointer, text); return nil }
	case *bool:
		return func(text string) (err error) {
			*pointer, err = ParseBool(text)
			return err
		}
	case *int:
		return func(text string) (err error) {
			if *pointer, err = strconv.Atoi(text); err != nil {
				return fmt.Errorf("must be a whole number, not %q", text)
			}
			return nil
		}
	case *time.Duration:
		return func(text string) (err error) {
			if *pointer, err = time.ParseDuration(text); err != nil {
				return fmt.Errorf("must be a duration such as 5s, not %q", text)
			}
			return nil
		}
	}
	panic("commandline: a flag cannot be a " + v.Type().String())
}

// ParseBool reads the value of a flag that is on or off.
func ParseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "yes":
		return true, nil
	case "false", "0", "no":
		return false, nil
	}
	return false, fmt.Errorf("bool value must be true, 1, yes, false, 0 or no but got %q", text)
}

// dashed writes a field's name as a flag's: DeviceColumn is device-column, URL is url.
func dashed(name string) string {
	var out strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// flag reads one flag; it returns the arguments behind it. Of a flag that is repeated, the last value counts.
func (c *command) flag(arg string, args []string) ([]string, error) {
	text, value, inline := strings.Cut(arg, "=")
	name, dashes := strings.CutPrefix(text, "--")
	var flag *Flag
	for _, f := range c.flags {
		if dashes && (f.Name == name || f.Negatable && "no-"+f.Name == name) {
			flag = f
		}
	}
	switch {
	case flag == nil:
		return nil, errors.New("unknown flag " + text + c.similarFlag(text))
	case flag.Bool && !inline:
		value = strconv.FormatBool(flag.Name == name)
	case flag.Bool && flag.Name != name:
		on, err := ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		value = strconv.FormatBool(!on)
	case !inline && (len(args) == 0 || len(args[0]) > 1 && args[0][0] == '-' && (args[0][1] == '-' || unicode.IsLetter(rune(args[0][1])))):
		return nil, fmt.Errorf("%s: expected a value", text)
	case !inline:
		value, args = args[0], args[1:]
	}
	if flag.Enum != nil && !slices.Contains(flag.Enum, value) {
		return nil, fmt.Errorf("%s must be one of %s but got %q", text, quoted(flag.Enum), value)
	}
	flag.given = true
	if err := flag.Set(value); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return args, nil
}

// positional reads an argument, or the name of a command, which it returns.
func (c *command) positional(arg string) (*command, error) {
	for _, a := range c.arguments {
		if !a.given || a.many {
			a.given = true
			return c, a.set(arg)
		}
	}
	names := make([]string, len(c.commands))
	for i, sub := range c.commands {
		if names[i] = sub.name(); names[i] == arg {
			return sub, nil
		}
	}
	return nil, errors.New("unexpected argument " + arg + similar(arg, names))
}

// complete reports what is missing.
func (c *command) complete() error {
	if len(c.commands) > 0 {
		names := make([]string, len(c.commands))
		for i, sub := range c.commands {
			names[i] = strconv.Quote(sub.name())
		}
		return errors.New("expected one of " + strings.Join(names, ", "))
	}
	for _, a := range c.arguments {
		if !a.given && !a.optional {
			return fmt.Errorf("expected %q", a.usage())
		}
	}
	var missing []string
	for _, f := range c.flags {
		if f.Required && !f.given {
			missing = append(missing, f.form())
		}
	}
	if len(missing) > 0 {
		return errors.New("missing flags: " + strings.Join(missing, ", "))
	}
	return nil
}

func (c *command) similarFlag(text string) string {
	names := make([]string, len(c.flags))
	for i, f := range c.flags {
		names[i] = "--" + f.Name
	}
	return similar(text, names)
}

// similar suggests a name that the text begins, that begins it, or that is one or two letters away.
func similar(text string, names []string) string {
	for _, name := range names {
		if strings.HasPrefix(name, text) || strings.HasPrefix(text, name) || editdistance.Of(text, name) <= min(2, len(text)/3) {
			return ", did you mean " + strconv.Quote(name) + "?"
		}
	}
	return ""
}

func quoted(words []string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = strconv.Quote(word)
	}
	return strings.Join(out, ",")
}
