package notify_test

import (
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/notify"
	"hearth/internal/mail"
)

func TestAnEmailOfAnAlarmHasItsValueThresholdAndLastHour(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	device, err := d.store.DevicesByID(t.Context(), []string{lamp})
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(d.now.Load()).UTC()
	var logs []hearth.LogEntry
	for second := range 2 * 3600 { // more than a page, and more than a chart has points
		logs = append(logs, hearth.LogEntry{
			Device: device[0].Key, Event: "t", Value: hearth.Number(float64(second % 40)), At: at.Add(-time.Duration(second) * time.Second).UnixMilli(),
		})
	}
	logs = append(logs, hearth.LogEntry{Device: device[0].Key, Event: "t", Value: hearth.Boolean(true), At: at.UnixMilli()})
	if _, err := d.store.AppendLogs(t.Context(), logs, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	value := hearth.Number(31)
	d.alarm.Value, d.alarm.RaisedAt, d.alarm.LastAt = &value, at, at
	d.raise(hearth.SeverityMajor)
	if told := d.told(); told[0].Body != "The alarm is major; the value is 31 (above 30 for 1m)." {
		t.Errorf("told %q", told[0].Body)
	}
	jobs := d.waiting(notify.EmailKind)
	envelope, err := d.Email(t.Context(), jobs[0].Payload)
	email, ok := envelope.Email.(mail.AlarmRaised)
	if err != nil || !ok || email.Value != "31" || email.Threshold != "above 30 for 1m" || len(email.Charts) != 1 || *email.Charts[0].Threshold != 30 {
		t.Fatalf("%+v, %v", envelope, err)
	}
	points, low, high := email.Charts[0].Points, 40.0, 0.0
	for i, p := range points {
		if p.At < 0 || p.At > 3_600_000 || i > 0 && p.At < points[i-1].At {
			t.Errorf("point %d is at %d", i, p.At)
		}
		low, high = min(low, p.Value), max(high, p.Value)
	}
	if len(points) > mail.MaxChartPoints || len(points) < 100 || low != 0 || high != 39 || len(jobs[0].Payload) > 8<<10 {
		t.Errorf("%d points from %v to %v, %d bytes", len(points), low, high, len(jobs[0].Payload))
	}
}

// alarmed raises the alarm of a rule after logs were stored, by their age, and returns what ann is notified of and the e-mail.
func (d *desk) alarmed(c hearth.Condition, logs map[time.Duration]hearth.LogEntry) (string, mail.AlarmRaised) {
	d.Helper()
	device, err := d.store.DevicesByID(d.Context(), []string{lamp})
	if err != nil {
		d.Fatal(err)
	}
	at := time.UnixMilli(d.now.Load()).UTC()
	for age, entry := range logs {
		entry.Device, entry.At = device[0].Key, at.Add(-age).UnixMilli()
		if _, err := d.store.AppendLogs(d.Context(), []hearth.LogEntry{entry}, nil, hearth.SideEffects{}); err != nil {
			d.Fatal(err)
		}
	}
	d.rule.Condition, d.alarm.RaisedAt, d.alarm.LastAt = c, at, at
	d.raise(hearth.SeverityMajor)
	envelope, err := d.Email(d.Context(), d.waiting(notify.EmailKind)[0].Payload)
	email, ok := envelope.Email.(mail.AlarmRaised)
	if err != nil || !ok {
		d.Fatalf("%+v, %v", envelope, err)
	}
	return d.told()[0].Body, email
}

// drawn says which charts an e-mail has: the event, how many minutes it covers, and the points.
func drawn(email mail.AlarmRaised) (text string) {
	for _, c := range email.Charts {
		text += fmt.Sprintf("%s %.0f %v;", c.Name, c.To.Sub(c.From).Minutes(), c.Points)
	}
	return text
}

func TestAnEmailOfAnExpressionHasEachEventThatItNames(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	value := hearth.Boolean(false)
	d.alarm.Value = &value
	told, email := d.alarmed(hearth.Condition{Expression: "temperature > 30 && door == false && mode == \"eco\"", For: time.Minute}, map[time.Duration]hearth.LogEntry{
		3 * time.Hour: {Event: "mode", Value: hearth.Text("eco")}, 30 * time.Minute: {Event: "temperature", Value: hearth.Number(20)},
		time.Minute: {Event: "temperature", Value: hearth.Number(31)}, 0: {Event: "door", Value: hearth.Boolean(false)},
	})
	const values, threshold = "door false, mode eco, temperature 31", `temperature > 30 && door == false && mode == "eco" for 1m`
	if want := "The alarm is major; the values are " + values + " (" + threshold + ")."; told != want {
		t.Errorf("notified of %q, want %q", told, want)
	}
	if email.Values != values || email.Threshold != threshold {
		t.Errorf("%+v", email)
	}
	if got, want := drawn(email), "door 60 [{3600000 0}];temperature 60 [{1800000 20} {3540000 31}];"; got != want {
		t.Errorf("drawn %s\nwant  %s", got, want)
	}
}

func TestAnEmailOfASilenceHasALineThatStops(t *testing.T) {
	t.Parallel()
	logs := map[time.Duration]hearth.LogEntry{
		100 * time.Minute: {Event: "t", Value: hearth.Number(20)}, 70 * time.Minute: {Event: "t", Value: hearth.Number(21)},
		65 * time.Minute: {Event: "u", Value: hearth.Boolean(true)}, 64 * time.Minute: {Event: "note", Value: hearth.Text("bye")},
	}
	for name, tt := range map[string]struct {
		condition   hearth.Condition
		told, drawn string
	}{
		"of an event": {
			hearth.Condition{NoData: &hearth.NoData{Event: "t", For: time.Hour}}, "no t for 1h", "t 120 [{1200000 20} {3000000 21}];",
		},
		"of all": {
			hearth.Condition{NoData: &hearth.NoData{For: time.Hour}}, "no data for 1h", "u 120 [{3300000 1}];t 120 [{1200000 20} {3000000 21}];",
		},
		"that is short":     {hearth.Condition{NoData: &hearth.NoData{For: time.Minute}}, "no data for 1m", ""},
		"of a dead machine": {hearth.Condition{OfflineFor: 40 * time.Minute}, "no sign of life for 40m", "u 80 [{900000 1}];t 80 [{600000 21}];"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told, email := newDesk(t).alarmed(tt.condition, logs)
			if want := "The alarm is major (" + tt.told + ")."; told != want {
				t.Errorf("notified of %q, want %q", told, want)
			}
			if got := drawn(email); got != tt.drawn {
				t.Errorf("drawn %s\nwant  %s", got, tt.drawn)
			}
			for _, c := range email.Charts {
				if !c.Silence {
					t.Errorf("the chart of %s does not say that it stops", c.Name)
				}
			}
		})
	}
}
