package simulate

import (
	"testing"
	"time"

	"hearth"
)

// The days of a week and its hours: what a device sends is always what hearth stores.
func TestEveryKindMeasuresWhatCanBeStored(t *testing.T) {
	t.Parallel()
	for _, profile := range Profiles() {
		seen := map[string]bool{}
		for n := range 10 {
			d := newDevice(profile, n, time.Minute, &counts{})
			seen[d.kind.name] = true
			totals := map[string]float64{}
			begin := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
			for at := begin; at.Before(begin.AddDate(0, 0, 7)); at = at.Add(7 * time.Minute) {
				for event, value := range d.read(at).values {
					entry := hearth.LogEntry{Event: event, At: at.UnixMilli()}
					switch v := value.(type) {
					case float64:
						entry.Value = hearth.Number(v)
					case bool:
						entry.Value = hearth.Boolean(v)
					case string:
						entry.Value = hearth.Text(v)
					}
					if field, problem := entry.Problem(at); problem != "" {
						t.Fatalf("%s sends %s = %v: %v", d.serial, event, value, field+" "+problem)
					}
					if event == "energy" || event == "pieces" || event == "volume" {
						if value.(float64) < totals[event] {
							t.Fatalf("the counter %s of %s falls to %v", event, d.serial, value)
						}
						totals[event] = value.(float64)
					}
				}
			}
			for event, total := range totals {
				if total == 0 && d.kind.name != "lamp" && d.kind.name != "light" { // those are off until somebody switches them on
					t.Errorf("the counter %s of %s stands still", event, d.serial)
				}
			}
		}
		if len(seen) != len(kinds[profile]) {
			t.Errorf("ten devices of %s have the kinds %v alone", profile, seen)
		}
	}
}

func TestADeviceAdoptsWhatItKnows(t *testing.T) {
	t.Parallel()
	d := newDevice("home", 1, time.Minute, &counts{})
	if d.kind.name != "lamp" {
		t.Fatalf("the second device is a %s", d.kind.name)
	}
	if n := d.adopt(map[string]any{"power": true, "brightness": "much", "color": "red"}); n != 1 || d.state["power"] != true || len(d.state) != 2 {
		t.Errorf("it adopted %d, and is %v", n, d.state)
	}
	for _, c := range []struct {
		order   order
		ok      bool
		changed bool
	}{
		{order{name: "identify"}, true, false},
		{order{name: "set", params: []byte(`{"brightness":10}`)}, true, true},
		{order{name: "set", params: []byte(`{"brightness":10,"color":1}`)}, false, true},
		{order{name: "set", params: []byte(`[1]`)}, false, false},
		{order{name: "explode"}, false, false},
	} {
		if a, changed := d.carryOut(c.order); (a.failure == "") != c.ok || changed != c.changed {
			t.Errorf("%s %s is answered %+v", c.order.name, c.order.params, a)
		}
	}
}

func TestWhatCannotBeSimulatedIsRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"profile":  {URL: "http://localhost", Profile: "castle", Devices: 1, Interval: time.Second},
		"devices":  {URL: "http://localhost", Profile: "home", Interval: time.Second},
		"interval": {URL: "http://localhost", Profile: "home", Devices: 1},
		"address":  {URL: "localhost", Profile: "home", Devices: 1, Interval: time.Second},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("a wrong %s is taken", name)
		}
	}
}
