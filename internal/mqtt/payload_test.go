package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth"
)

// at is the time of what has none.
var at = time.Date(2026, 11, 29, 6, 20, 0, 0, time.UTC).UnixMilli()

func written(entries []hearth.LogEntry) string {
	var all []string
	for _, e := range entries {
		when := ""
		if e.At != at {
			when = fmt.Sprint("@", e.At)
		}
		value, _ := e.Value.MarshalJSON()
		all = append(all, fmt.Sprintf("%s=%s%s", e.Event, value, when))
	}
	return strings.Join(all, " ")
}

func TestTelemetryIsReadInEveryForm(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`{"temperature":21.5,"door":true,"mode":"ON","none":null}`: `temperature=21.5 door=true mode="ON"`,
		`[ {"a":1} , {"a":2} ]`: `a=1 a=2`,
		`{}`:                    ``, `[]`: ``,
		`{"ts":1764392400123,"values":{"temperature":21.4,"humidity":48,"door":false}}`: `temperature=21.4@1764392400123 humidity=48@1764392400123 door=false@1764392400123`,
		`[{"values":{"a":1},"ts":1764392400},{"ts":1764392400.125,"values":{"a":2}}]`:   `a=1@1764392400000 a=2@1764392400125`,
		`{"ts":"2025-11-29T06:00:00.1+01:00","values":{"a":{"b":1}}}`:                   `a.b=1@1764392400100`,
		`{"ts":1764392400123,"a":1}`:                  `a=1@1764392400123`,
		`{"ts":null,"values":{"a":1}}`:                `values.a=1`,
		`{"values":{"a":1}}`:                          `values.a=1`,
		`{"values":{"a":1},"b":2,"ts":1764392400123}`: `values.a=1@1764392400123 b=2@1764392400123`,
		`{"SI7021":{"Temperature":19.8,"Humidity":52.1},"ENERGY":{"Power":[1,null,{"x":-0.0}]},"TempUnit":"C"}`: `SI7021.Temperature=19.8 SI7021.Humidity=52.1 ENERGY.Power.0=1 ENERGY.Power.2.x=0 TempUnit="C"`,
	} {
		var r readers
		for range 2 { // the second time by the same reader
			entries, _, err := r.telemetry([]byte(payload), at)
			if got := written(entries); err != nil || got != want {
				t.Errorf("%s is %s, %v; want %s", payload, got, err, want)
			}
		}
	}
	var r readers
	for payload, want := range map[string]bool{`{"ts":1,"values":{"a":1}}`: true, `[{"ts":1,"a":1},{"a":2}]`: true, `{"a":1}`: false, `{}`: false} {
		if _, timed, err := r.telemetry([]byte(payload), at); timed != want || err != nil {
			t.Errorf("%s has its own time: %v, %v", payload, timed, err)
		}
	}
}

func TestTelemetryThatCannotBeStoredIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("1,", 32) + "1"
	for payload, want := range map[string]string{
		``: "malformed_body", `{`: "malformed_body", `{"a":1}x`: "malformed_body", `{"a":1,"a":2}`: "malformed_body", "{\"a\":\"\xff\"}": "malformed_body",
		`21.5`: "validation_failed", `[1]`: "validation_failed", `[{"a":1},2]`: "validation_failed", `[{"a":1}`: "malformed_body",
		`{"a b":1}`: "validation_failed", `{"a":1e999}`: "validation_failed", `{"a":1e301}`: "validation_failed", `{"a":""}`: "validation_failed",
		`{"a":[` + long + `]}`: "validation_failed", `{"ts":"yesterday","a":1}`: "validation_failed", `{"ts":{},"a":1}`: "validation_failed",
		`{"ts":"2026-11-29T06:20:00","a":1}`: "validation_failed", `{"ts":1e300,"a":1}`: "validation_failed",
		`{"a":1,"b":` + strings.Repeat(`{"c":`, 8) + `1` + strings.Repeat(`}`, 8) + `}`: "validation_failed",
		`{"ts":9764392400123,"a":1}`:            "validation_failed", // in the future
		`{"` + strings.Repeat("x", 65) + `":1}`: "validation_failed",
		`{"":1}`:                                "validation_failed",
	} {
		var r readers
		if entries, _, err := r.telemetry([]byte(payload), at); string(hearth.ErrorCode(err)) != want || entries != nil {
			t.Errorf("%.80s is %s, %v; want %s", payload, written(entries), err, want)
		}
	}
}

func TestAPlainValueIsReadByItsForm(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		`21.5`: `e=21.5`, "\t21.40": `e=21.4`, "-3\n": `e=-3`, `true`: `e=true`, `ON`: `e="ON"`, `"ON"`: `e="ON"`, `21,5`: `e="21,5"`, `null`: ``,
		`True`: `e="True"`, `2026-11-29T06:20:00`: `e="2026-11-29T06:20:00"`, `"1"`: `e="1"`, `-`: `e="-"`, `ü`: `e="ü"`,
	} {
		entry, ok, err := plain("e", []byte(payload), at)
		got := ""
		if ok {
			got = written([]hearth.LogEntry{entry})
		}
		if err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", payload, got, err, want)
		}
	}
	for _, payload := range []string{``, ` `, `{"a":1}`, `[1]`, "\xff", "a\x00b", `""`, `1e999`, strings.Repeat("x", 257)} {
		if _, ok, err := plain("e", []byte(payload), at); ok || err == nil {
			t.Errorf("%.40q was read", payload)
		}
	}
	if _, _, err := plain("a b", []byte("1"), at); err == nil {
		t.Error("an event with a space was read")
	}
}

func FuzzTelemetry(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `[{"ts":1,"values":{"a":[1,{"b":null}]}}]`, `21.5`, `"ON"`, `{"ts":"2026-11-29T06:20:00Z","values":{}}`, `{"ok":true}`} {
		f.Add([]byte(seed))
	}
	var r readers
	f.Fuzz(func(t *testing.T, payload []byte) {
		entries, _, err := r.telemetry(payload, at)
		if entry, ok, plainErr := plain("e", payload, at); ok && plainErr == nil {
			entries = append(entries, entry)
		}
		for _, e := range entries {
			if field, message := e.Problem(time.UnixMilli(at)); field != "" {
				t.Errorf("%q was read as an entry whose %s %s", payload, field, message)
			}
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("the error of %q is %d bytes long", payload, len(err.Error()))
		}
		_, _ = status(payload)
		_, _ = answer(payload)
	})
}
