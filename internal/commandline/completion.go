package commandline

import (
	"fmt"
	"reflect"
	"strings"
)

// Completion returns the script with which a shell (bash, zsh or fish) completes the commands and flags of a grammar.
func Completion(shell, program string, grammar any) string {
	root := newCommand(nil, program, "", reflect.ValueOf(grammar).Elem())
	var known, choices, rules strings.Builder
	root.walk(func(c *command) {
		if c != root {
			fmt.Fprintf(&known, "      %s) at=\"$at $word\" ;;\n", quoteShell(c.path))
		}
		place := fmt.Sprintf("complete -c %s -n '__%s_at %s'", program, program, strings.ReplaceAll(c.path, " ", "_"))
		if len(c.commands) > 0 {
			rules.WriteString(place + " -f\n")
		}
		fmt.Fprintf(&choices, "    %s) choices=(", quoteShell(c.path))
		for _, choice := range c.choices() {
			word := choice[0]
			if shell == "zsh" {
				word = strings.ReplaceAll(choice[0], ":", `\:`) + ":" + choice[1]
			}
			choices.WriteString(" " + quoteShell(word))
			long, isFlag := strings.CutPrefix(choice[0], "--")
			option := " -a " + quoteShell(choice[0])
			if isFlag {
				option = " -l " + quoteShell(strings.TrimSuffix(long, "="))
			}
			if strings.HasSuffix(long, "=") {
				option += " -r"
			}
			rules.WriteString(place + option + " -d " + quoteShell(choice[1]) + "\n")
		}
		choices.WriteString(" ) ;;\n")
	})
	if shell == "fish" {
		return fishCompletion(program, root) + rules.String()
	}
	words, finish, register := `"${COMP_WORDS[@]:1:COMP_CWORD-1}"`, bashFinish, "complete -o default -o nospace -F _"+program+" "+program
	header := ""
	if shell == "zsh" {
		header = "#compdef " + program + "\n"
		words, finish, register = `"${(@)words[2,CURRENT-1]}"`, zshFinish, "compdef _"+program+" "+program
	}
	return fmt.Sprintf(`%s_%s() {
  local at=%s word
  for word in %s; do
    case "$at $word" in
%s    esac
  done
  local -a choices
  case "$at" in
%s  esac
%s}
%s
`, header, program, program, words, known.String(), choices.String(), finish, register)
}

// bashFinish offers what fits; a word that is whole ends with a blank, a flag that wants a value with "=".
const bashFinish = `  COMPREPLY=()
  for word in "${choices[@]}"; do
    if [[ $word == "${COMP_WORDS[COMP_CWORD]}"* ]]; then
      [[ $word == *= ]] || word="$word "
      COMPREPLY+=("$word")
    fi
  done
`

const zshFinish = `  if [[ $PREFIX == [^-]* && $at == *' '* ]]; then _files; else _describe command choices; fi
`

// fishCompletion says where the cursor is: the path of the command, joined by "_".
func fishCompletion(program string, root *command) string {
	var cases strings.Builder
	root.walk(func(c *command) {
		if c != root {
			fmt.Fprintf(&cases, "      case '%s'\n        set at $at\" $word\"\n", c.path)
		}
	})
	return fmt.Sprintf(`function __%[1]s_at
  set -l at %[1]s
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
%[2]s    end
  end
  test (string replace -a ' ' '_' -- $at) = $argv[1]
end
`, program, cases.String())
}

// walk calls fn with the command and those below it.
func (c *command) walk(fn func(*command)) {
	fn(c)
	for _, sub := range c.commands {
		sub.walk(fn)
	}
}

// choices are the words that may follow, each with its help; a flag that takes a value ends in "=".
func (c *command) choices() [][2]string {
	var out [][2]string
	for _, sub := range c.commands {
		out = append(out, [2]string{sub.name(), sub.help})
	}
	for _, f := range c.flags {
		name := "--" + f.Name
		if !f.Bool {
			name += "="
		}
		out = append(out, [2]string{name, f.Help})
		if f.Negatable {
			out = append(out, [2]string{"--no-" + f.Name, f.Help})
		}
	}
	return append(out, [2]string{"--help", "Show context-sensitive help."})
}

// quoteShell quotes a word for every shell.
func quoteShell(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
