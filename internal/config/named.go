package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// named are numbers by name, such as "export=2,cleanup=0".
type named[N any] struct {
	// noun is what has a number, example how one is written, defaults the text of all that there are.
	noun, example, defaults string
	// number reads that of a name; its error says what it must be.
	number func(name, text string) (N, error)
}

// parse reads numbers. One that is left out keeps its default; one that is unknown or stands twice is an error.
func (s named[N]) parse(text string) (map[string]N, error) {
	all, err := s.read(s.defaults)
	if err != nil {
		return nil, fmt.Errorf("the defaults: %w", err)
	}
	given, err := s.read(text)
	if err != nil {
		return nil, err
	}
	for name, n := range given {
		if _, ok := all[name]; !ok {
			names := slices.Sorted(maps.Keys(all))
			if near := nearest(name, names); near != "" {
				return nil, fmt.Errorf("has no %s %q: did you mean %s?", s.noun, name, near)
			}
			return nil, fmt.Errorf("has no %s %q, only %s", s.noun, name, strings.Join(names, ", "))
		}
		all[name] = n
	}
	return all, nil
}

func (s named[N]) read(text string) (map[string]N, error) {
	all := map[string]N{}
	for part := range items(text) {
		name, number, ok := strings.Cut(part, "=")
		name, number = strings.TrimSpace(name), strings.TrimSpace(number)
		if _, twice := all[name]; !ok || twice {
			return nil, fmt.Errorf("must hold each %s once, as in %s, not %q", s.noun, s.example, part)
		}
		n, err := s.number(name, number)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w, not %q", s.noun, name, err, number)
		}
		all[name] = n
	}
	return all, nil
}
