package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/timetext"
)

// Setting describes one setting: what a flag, a table in the guide or a message needs to know of it.
type Setting struct {
	Key     string // in the settings file
	Env     string // the variable
	Flag    string // with its two dashes
	Default string // as text; "" is empty
	Group   string
	Help    string
	// Secret is "true" for a value that is never shown, "url" for one whose credentials are not, "" otherwise. A secret
	// setting can also be read from the file that the variable Env + "_FILE" names.
	Secret string
	// Bool marks a value that is true or false.
	Bool bool

	tag   reflect.StructTag
	index int
}

// Settings lists every setting in the order of Config.
func Settings() []Setting { return settings() }

func settings() []Setting {
	typ := reflect.TypeFor[Config]()
	all := make([]Setting, 0, typ.NumField())
	for i := range typ.NumField() {
		field := typ.Field(i)
		key := field.Tag.Get("key")
		if key == "" {
			continue
		}
		s := Setting{
			Key:     key,
			Env:     envName(key),
			Flag:    flagName(key),
			Default: field.Tag.Get("default"),
			Group:   field.Tag.Get("group"),
			Help:    field.Tag.Get("help"),
			Secret:  field.Tag.Get("secret"),
			Bool:    field.Type.Kind() == reflect.Bool,
			tag:     field.Tag,
			index:   i,
		}
		if key == "rate_limits" {
			s.Default = defaultRateLimits
		}
		if key == "queue_concurrency" {
			s.Default = defaultConcurrency
		}
		if key == "quotas" {
			s.Default = defaultQuotas
		}
		all = append(all, s)
	}
	return all
}

func lookup(key string) (Setting, bool) {
	for _, s := range settings() {
		if s.Key == key {
			return s, true
		}
	}
	return Setting{}, false
}

// set reads text into the setting's field. The error goes after the setting's name and never repeats a secret.
func (s Setting) set(cfg *Config, text string) error {
	target := reflect.ValueOf(cfg).Elem().Field(s.index).Addr().Interface()
	_, isDuration := target.(*time.Duration)
	if s.tag.Get("off") == "true" && (text == "off" || isDuration && text == "0") {
		reflect.ValueOf(target).Elem().SetZero()
		return nil
	}
	var err error
	switch v := target.(type) {
	case *string:
		*v, err = s.parseText(text)
	case *bool:
		*v, err = parseBool(text)
	case *int:
		*v, err = parseInt(text)
		if err == nil {
			err = bounds(s, *v, parseInt, strconv.Itoa)
		}
	case *float64:
		*v, err = parseFloat(text)
		if err == nil {
			err = bounds(s, *v, parseFloat, func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) })
		}
	case *time.Duration:
		*v, err = timetext.ParseDuration(text)
		if err == nil {
			err = bounds(s, *v, timetext.ParseDuration, timetext.FormatDuration)
		}
	case *Bytes:
		*v, err = ParseBytes(text)
		if err == nil {
			err = bounds(s, *v, ParseBytes, Bytes.String)
		}
	case *slog.Level:
		*v, err = parseLevel(text)
	case *Signup:
		*v = Signup(text)
		err = s.checkText(text)
	case *RateLimits:
		*v, err = ParseRateLimits(text)
	case *Concurrency:
		*v, err = ParseConcurrency(text)
	case *Quotas:
		*v, err = ParseQuotas(text)
	case *[]netip.Prefix:
		*v, err = parsePrefixes(text)
	case *[]string:
		*v, err = parseOrigins(text)
	case *Allow:
		*v, err = ParseAllow(text)
	case *Schedule:
		*v, err = ParseSchedule(text)
	case *[]Key:
		*v, err = parseKeys(text)
	default:
		panic(fmt.Sprintf("config: %s has type %T, which nothing can read", s.Key, target))
	}
	if err != nil && s.tag.Get("off") == "true" {
		err = fmt.Errorf("%w, or off", err)
	}
	return err
}

// parseText returns a text as it is used.
func (s Setting) parseText(text string) (string, error) {
	switch kind := s.tag.Get("kind"); {
	case kind == "url":
		text = asciiHosts(text)
	case kind == "mailbox" && text != "":
		return parseMailbox(text)
	}
	return text, s.checkText(text)
}

// checkText checks a text by the setting's enum or kind.
func (s Setting) checkText(text string) error {
	if enum := s.tag.Get("enum"); enum != "" {
		words := strings.Split(enum, ",")
		if slices.Contains(words, text) {
			return nil
		}
		if near := nearest(text, words); near != "" {
			return fmt.Errorf("must be one of %s, not %q: did you mean %s?", strings.Join(words, ", "), text, near)
		}
		return fmt.Errorf("must be one of %s, not %q", strings.Join(words, ", "), text)
	}
	if text == "" {
		return nil
	}
	switch s.tag.Get("kind") {
	case "addr":
		return checkAddr(text)
	case "url":
		return checkURL(text, strings.Split(s.tag.Get("schemes"), ","))
	}
	return nil
}

// bounds holds v against the setting's min and max.
func bounds[T int | float64 | time.Duration | Bytes](s Setting, v T, parse func(string) (T, error), format func(T) string) error {
	for _, name := range []string{"min", "max"} {
		text, ok := s.tag.Lookup(name)
		if !ok {
			continue
		}
		bound, err := parse(text)
		switch {
		case err != nil:
			panic(fmt.Sprintf("config: the %s of %s: %v", name, s.Key, err))
		case name == "min" && v < bound:
			return fmt.Errorf("must be at least %s, not %s", text, format(v))
		case name == "max" && v > bound:
			return fmt.Errorf("must be at most %s, not %s", text, format(v))
		}
	}
	return nil
}
