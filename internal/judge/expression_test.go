package judge

import (
	"testing"
	"time"

	"hearth"
)

func TestExpressionsAreComputed(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	values := map[string]hearth.Reading{
		"t": {Value: hearth.Number(21.5), At: now}, "door": {Value: hearth.Boolean(true), At: now},
		"mode": {Value: hearth.Text("auto"), At: now}, "a.b": {Value: hearth.Number(-3), At: now},
	}
	for text, want := range map[string]bool{
		"t > 21 && t < 22":                  true,
		"t > 22 || mode == 'auto'":          true,
		"door":                              true,
		"!door == false":                    true,
		"not door == false":                 true,
		"not door and t > 0 or t < 0":       false,
		"t - 1 - 1 == 19.5":                 true,
		"2 + t * 2 == 45":                   true,
		"(2 + t) * 2 == 47":                 true,
		"t / 2 == 10.75":                    true,
		"t / 0 > 1e300":                     true,
		"0 * t / 0 == 0 * t / 0":            false, // no number
		"-t < -21":                          true,
		"abs(latest['a.b']) == 3":           true,
		"max(t, latest[\"a.b\"], 40) == 40": true,
		"min(t) == 21.5":                    true,
		"mode < \"b\" && mode >= \"auto\"":  true,
		"mode != t":                         true, // of different types
		"mode == t":                         false,
		"mode > t":                          false,
		"mode > t || true && t == t":        false, // the first cannot be compared
		"door > false":                      false,
		"door + 1 > 0":                      false,
		"t":                                 false,
		"mode && true":                      false,
		"t > 0 || mode && true":             true, // the second is not looked at
		"t > 0 && missing == 1":             false,
		"t > 0 || missing == 1":             false,
		"t > 1 == true":                     true,
		"t > 1 == door != false":            true,
	} {
		e, problem := parseExpression(text)
		if problem != "" {
			t.Errorf("%s: %s", text, problem)
		} else if got := e.met(values); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
