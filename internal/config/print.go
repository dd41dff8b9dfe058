package config

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// redacted stands where a secret was.
const redacted = "REDACTED"

// Print writes every setting with its value and where the value comes from, as a TOML file that Load reads again.
// Secrets are left out of it: their lines are comments, so that a copy of the print is never mistaken for the secret.
func (c *Config) Print(w io.Writer) error {
	var b strings.Builder
	group := ""
	for _, s := range settings() {
		if s.Group != group {
			if group != "" {
				b.WriteByte('\n')
			}
			group = s.Group
			fmt.Fprintf(&b, "# %s\n", group)
		}
		text, hidden := s.shown(c)
		origin := ""
		if v := c.raw[s.Key]; v.name != "" {
			origin = " # " + v.name
		}
		if hidden {
			b.WriteString("# ")
		}
		fmt.Fprintf(&b, "%s = %s%s\n", s.Key, quote(s, text), origin)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shown returns the setting's value as text without its secrets, and whether anything was hidden.
func (s Setting) shown(c *Config) (text string, hidden bool) {
	text = c.raw[s.Key].text
	switch {
	case text == "": // there is nothing to hide
	case s.Secret == "true":
		return redacted, true
	case s.Secret == "url":
		shown := redactURL(text)
		return shown, shown != text
	}
	return text, false
}

// quote writes a value as TOML does.
func quote(s Setting, text string) string {
	switch s.tag.Get("default") {
	case "true", "false":
		return text
	}
	if _, err := strconv.Atoi(text); err == nil && fieldKind(s) == reflect.Int {
		return text
	}
	return tomlString(text)
}

func fieldKind(s Setting) reflect.Kind { return reflect.TypeFor[Config]().Field(s.index).Type.Kind() }

// tomlString quotes text by the rules of a basic TOML string.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// redactURL hides the user, the password and every query value whose name speaks of a secret. The user goes too,
// because an access key is one half of a credential.
func redactURL(text string) string {
	u, err := parseURL(text)
	if err != nil {
		return redacted
	}
	changed := false
	if u.User != nil {
		u.User = url.User(redacted)
		changed = true
	}
	query := u.Query()
	for name := range query {
		lower := strings.ToLower(name)
		for _, word := range []string{"secret", "password", "passwd", "token", "key", "credential"} {
			if strings.Contains(lower, word) {
				query.Set(name, redacted)
				changed = true
			}
		}
	}
	if !changed {
		return text
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Table writes every setting as a Markdown table, for the guide.
func Table() string {
	var b strings.Builder
	group := ""
	for _, s := range settings() {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n### %s\n\n| variable | flag | default | what it is for |\n| --- | --- | --- | --- |\n", group)
		}
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", s.Env, s.Flag, def, strings.ReplaceAll(s.describe(), "|", `\|`))
	}
	return b.String()
}

// describe returns the help with the bounds and words that are allowed.
func (s Setting) describe() string {
	text := s.Help
	if words := s.tag.Get("enum"); words != "" {
		text += " One of `" + strings.ReplaceAll(words, ",", "`, `") + "`."
	}
	low, high := s.tag.Get("min"), s.tag.Get("max")
	switch {
	case low != "" && high != "":
		text += fmt.Sprintf(" From %s to %s.", low, high)
	case low != "":
		text += fmt.Sprintf(" At least %s.", low)
	case high != "":
		text += fmt.Sprintf(" At most %s.", high)
	}
	return text
}
