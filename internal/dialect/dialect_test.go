package dialect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hearth"
)

// all returns a translator of every dialect.
func all(t testing.TB) *Translator {
	t.Helper()
	translator, err := New(Options{Dialects: Names(), Topics: []string{"site/{device}/{event}", "x/+/{device}"}, Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	return translator
}

// FuzzRead reads two messages, of which the first may be remembered. What comes of them can be stored.
func FuzzRead(f *testing.F) {
	f.Add("tele/a/SENSOR", []byte(`{"Time":"2026-11-29T06:20:00","A":{"b":[1,true,null,"x"]}}`), "stat/a/RESULT", []byte(`{"POWER":"ON"}`))
	f.Add("zigbee2mqtt/bridge/devices", []byte(`[{"friendly_name":"a","definition":{"exposes":[{"type":"light","features":[{"property":"state","access":7}]}]}}]`),
		"zigbee2mqtt/a", []byte(`{"state":"ON"}`))
	f.Add("shelly-1/online", []byte("true"), "shelly-1/status/switch:0", []byte(`{"output":true}`))
	f.Add("g/switch/pump/state", []byte("ON"), "g/status", []byte("online"))
	f.Add("m/d/c/e", []byte(`[{"bn":"a","bt":1764392400,"n":"t","v":1e999}]`), "site/a/b", []byte(`[{"ts":1,"values":{"a":1}}]`))
	f.Add("homeassistant/sensor/a/config", []byte(`{"~":"q","stat_t":"~/s","val_tpl":"{{ value_json.a[0]|round(2) }}","dev":{"ids":"q"}}`), "q/s", []byte(`{"a":[1.234]}`))
	f.Add("spBv1.0/g/NBIRTH/n", encodeSparkplug(arrival(), sparkValue{"a", sparkFloat, 1.5}), "spBv1.0/g/NDATA/n", []byte{0x18, 1})
	f.Fuzz(func(t *testing.T, first string, one []byte, second string, other []byte) {
		translator := all(t)
		for _, m := range []Message{{Topic: first, Payload: one}, {Topic: second, Payload: other}} {
			result := translator.Read(m, arrival())
			if len(result.Reports) > maxReadings {
				t.Errorf("%d reports", len(result.Reports))
			}
			for _, r := range result.Reports {
				check(t, translator, r)
			}
		}
	})
}

func check(t *testing.T, translator *Translator, r Report) {
	t.Helper()
	if len(r.Readings) > maxReadings || r.Device == "" {
		t.Errorf("%q has %d readings", r.Device, len(r.Readings))
	}
	for _, e := range r.Readings {
		if e.At == 0 {
			e.At = arrival().UnixMilli()
		}
		if field, problem := e.Problem(arrival()); field != "" {
			t.Errorf("the %s of %q %s", field, e.Event, problem)
		}
	}
	if r.State == nil {
		return
	}
	state := encode(r.State)
	if !json.Valid(state) {
		t.Errorf("the state is %s", state)
	}
	translator.Desired(r.Dialect, r.Device, state)
	_, _ = translator.Command(r.Dialect, r.Device, hearth.Command{ID: "1", Name: "set", Params: state})
}

func FuzzTemplate(f *testing.F) {
	f.Add("{{ value_json['a'].b[0] | float(0) | round(1) }}", []byte(`{"a":{"b":[1.25]}}`))
	f.Add("{{ value | int }}", []byte("3.9"))
	f.Fuzz(func(t *testing.T, text string, payload []byte) {
		parsed, err := parseTemplate(text)
		if err != nil {
			return
		}
		if value, ok := parsed.apply(payload); ok && value == nil {
			t.Error("a template returned nothing for a value")
		}
	})
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	payload := []byte(`{"t":21.456,"s":"7.9","n":{"x y":[1,2]},"on":true}`)
	for text, want := range map[string]any{
		"":                                       string(payload),
		"{{ value_json.t }}":                     json.Number("21.456"),
		"{{value_json['t']|round(1)}}":           json.Number("21.5"),
		`{{ value_json["s"] | int }}`:            json.Number("7"),
		"{{ value_json.s | float | round }}":     json.Number("8"),
		"{{ value_json.n['x y'][1] }}":           json.Number("2"),
		"{{ value_json.gone | float(3) }}":       json.Number("3"),
		"{{ value_json.gone | default('off') }}": "off",
		"{{ value_json.gone }}":                  nil,
		"{{ value_json.n | float }}":             nil,
	} {
		parsed, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, _ := parsed.apply(payload); got != want {
			t.Errorf("%s returned %v; want %v", text, got, want)
		}
	}
	for _, text := range []string{"{% if x %}1{% endif %}", "{{ states('x') }}", "{{ value_json.a + 1 }}", "{{ value_json. }}", "{{ value_json[] }}", "{{ value_json.a | upper }}"} {
		if _, err := parseTemplate(text); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"site/{device}/{event}": true, "a/+/{device}": true, "{device}/x": true,
		"": false, "site/{event}": false, "{device}/{device}": false, "site/{event}/{device}": false, "a/#/{device}": false,
		"$SYS/{device}": false, "a//{device}": false, "{device}x/a": false, strings.Repeat("a", 300) + "/{device}": false,
	} {
		if problem := CheckPattern(text); (problem == "") != good {
			t.Errorf("%q: %q", text, problem)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/+/c", "a/b/c", true}, {"a/+/c", "a/b/d", false}, {"a/+", "a/b/c", false}, {"a/#", "a", true}, {"a/#", "a/b/c", true},
		{"+/+", "a", false}, {"#", "a/b", true}, {"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"a", "a", true}, {"a/b", "a", false},
	} {
		if got := Matches(tt.filter, tt.topic); got != tt.want {
			t.Errorf("%s of %s: %t", tt.topic, tt.filter, got)
		}
	}
}

// Where several instances share the messages, each sees only some of them: a gap is none.
func TestGapsAreNoneWhereMessagesAreShared(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{true, false} {
		translator, err := New(Options{Dialects: []string{Sparkplug}, Alone: alone})
		if err != nil {
			t.Fatal(err)
		}
		translator.Read(Message{Topic: "spBv1.0/g/NBIRTH/n", Payload: spark(t, "0", "a:9=1.5")}, arrival())
		result := translator.Read(Message{Topic: "spBv1.0/g/NDATA/n", Payload: spark(t, "7", "a:9=2.5")}, arrival().Add(time.Minute))
		if asked := len(result.Publish) > 0; asked != alone {
			t.Errorf("alone %t: asked for a birth: %t", alone, asked)
		}
		if len(result.Reports) != 1 || len(result.Reports[0].Readings) != 1 {
			t.Errorf("the reading is lost: %+v", result)
		}
	}
}
