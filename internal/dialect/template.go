package dialect

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
)

// template is a value template of Home Assistant in its common forms: value or value_json with a path, and the filters float, int, round,
// default and is_defined.
type template struct {
	raw     bool // value: the payload as it is
	path    []string
	filters []filterCall
}

type filterCall struct {
	name     string
	argument string
	has      bool
}

var errTemplate = errors.New("the template is none of value_json.x, value_json['x'] with the filters float, int, round and default")

const maxPath = 16

// parseTemplate reads a template. An empty one is the payload as it is.
func parseTemplate(text string) (*template, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return &template{raw: true}, nil
	}
	inside, ok := strings.CutPrefix(text, "{{")
	inside, closed := strings.CutSuffix(inside, "}}")
	if !ok || !closed || strings.Contains(inside, "{{") || len(text) > 512 {
		return nil, errTemplate
	}
	inside = strings.TrimSpace(strings.Trim(inside, "-"))
	whole, rest, _ := strings.Cut(inside, "|")
	whole = strings.TrimSpace(whole)
	t := &template{}
	path, isJSON := strings.CutPrefix(whole, "value_json")
	switch {
	case whole == "value":
		t.raw = true
	case isJSON:
		if err := t.parsePath(path); err != nil {
			return nil, err
		}
	default:
		return nil, errTemplate
	}
	for rest != "" {
		var call string
		call, rest, _ = strings.Cut(rest, "|")
		if err := t.parseFilter(strings.TrimSpace(call)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// parsePath reads .x, ['x'], ["x"] and [0], one after another.
func (t *template) parsePath(path string) error {
	for path != "" {
		if len(t.path) == maxPath {
			return errTemplate
		}
		var name string
		switch path[0] {
		case '.':
			end := strings.IndexAny(path[1:], ".[")
			if end < 0 {
				end = len(path) - 1
			}
			name, path = path[1:1+end], path[1+end:]
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
				return errTemplate
			}
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return errTemplate
			}
			name, path = strings.TrimSpace(path[1:end]), path[end+1:]
			if quoted := unquoted(name); quoted != "" {
				name = quoted
			} else if _, err := strconv.ParseUint(name, 10, 8); err != nil {
				return errTemplate
			}
		default:
			return errTemplate
		}
		if name == "" {
			return errTemplate
		}
		t.path = append(t.path, name)
	}
	return nil
}

// unquoted returns what is between quotes; "" for what is not quoted.
func unquoted(text string) string {
	if len(text) < 3 || text[0] != '\'' && text[0] != '"' || text[len(text)-1] != text[0] {
		return ""
	}
	if text = text[1 : len(text)-1]; strings.ContainsAny(text, `'"\`) {
		return ""
	}
	return text
}

func (t *template) parseFilter(call string) error {
	if len(t.filters) == maxPath {
		return errTemplate
	}
	name, argument, has := strings.Cut(call, "(")
	if has {
		var closed bool
		if argument, closed = strings.CutSuffix(argument, ")"); !closed {
			return errTemplate
		}
		argument = strings.TrimSpace(argument)
		if quoted := unquoted(argument); quoted != "" {
			argument = quoted
		}
		has = argument != ""
	}
	switch name = strings.TrimSpace(name); name {
	case "float", "int", "default", "is_defined":
	case "round":
		if n, err := strconv.Atoi(argument); has && (err != nil || n < -15 || n > 15) {
			return errTemplate
		}
	default:
		return errTemplate
	}
	t.filters = append(t.filters, filterCall{name, argument, has})
	return nil
}

// apply returns what the template makes of a payload; ok is false where that is no value.
func (t *template) apply(payload []byte) (value any, ok bool) {
	if t.raw {
		value = string(payload)
	} else {
		decoded, err := decode(payload)
		if err != nil {
			return nil, false
		}
		value = decoded
		for _, name := range t.path {
			value = member(value, name)
		}
	}
	for _, f := range t.filters {
		value = f.apply(value)
	}
	return value, value != nil
}

func member(of any, name string) any {
	switch v := of.(type) {
	case map[string]any:
		return v[name]
	case []any:
		if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(v) {
			return v[i]
		}
	}
	return nil
}

func (f filterCall) apply(value any) any {
	switch f.name {
	case "default":
		if value == nil && f.has {
			return f.argument
		}
		return value
	case "is_defined":
		return value
	}
	n, ok := numeric(value)
	if !ok {
		if n, ok = numeric(f.argument); !ok || f.name == "round" {
			return nil
		}
	}
	switch f.name {
	case "int":
		n = math.Trunc(n)
	case "round":
		digits, _ := strconv.Atoi(f.argument)
		scale := math.Pow(10, float64(digits))
		n = math.RoundToEven(n*scale) / scale
	}
	if _, ok := finite(n); !ok {
		return nil
	}
	return json.Number(strconv.FormatFloat(n, 'f', -1, 64))
}

func numeric(value any) (float64, bool) {
	switch v := value.(type) {
	case json.Number:
		return float(v)
	case string:
		n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return n, err == nil
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}
