package app_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
)

// silence creates a rule with a condition about silence, of all devices.
func (w *alarmist) silence(t *testing.T, instance int, condition apitest.Object) string {
	t.Helper()
	body := apitest.Object{"name": "Silent", "severity": "major", "condition": condition}
	return w.want(t, w.call(t, instance, "POST", "/rules", w.user, body), 201, "").text("id")
}

func (w *alarmist) beat(t *testing.T, instance int, device, token string) {
	t.Helper()
	w.want(t, w.call(t, instance, "POST", "/devices/"+device+"/heartbeat", token, nil), 200, "")
}

// of returns the device's alarm once it is in a state.
func (w *alarmist) of(t *testing.T, device, state string) apitest.Object {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		items := w.want(t, w.call(t, 1, "GET", "/alarms?device_id="+device, w.user, nil), 200, "").body["items"].([]any)
		if len(items) > 0 && items[0].(map[string]any)["state"] == state {
			return items[0].(map[string]any)
		}
		if time.Now().After(deadline) {
			t.Fatalf("want an alarm that is %s: %v", state, items)
		}
	}
}

// took makes sure that the alarm of a silence that lasted for a time was raised within a second after it.
func took(t *testing.T, since time.Time, silence time.Duration) {
	t.Helper()
	if late := time.Since(since) - silence; late < 0 || late > 3*time.Second { // the machine is slow at times
		t.Errorf("it came %v after the silence", late)
	}
}

func between(t *testing.T, alarm apitest.Object, field string, from, to time.Time) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, alarm[field].(string))
	if err != nil || at.Before(from.Truncate(time.Millisecond)) || at.After(to) {
		t.Errorf("%s is %v, %v; want %v to %v", field, at, err, from, to)
	}
}

func TestASilenceOfReadingsRaisesAnAlarmUntilOneComes(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		start := time.Now()
		rule := w.silence(t, 1, apitest.Object{"no_data": apitest.Object{"event": "t", "for": 2}})
		stored := w.want(t, w.call(t, 0, "GET", "/rules/"+rule, w.user, nil), 200, "")
		if got := asJSON(t, stored.body["condition"]); got != `{"no_data":{"event":"t","for":2}}` {
			t.Errorf("the condition is %s", got)
		}
		never := w.of(t, w.device, "active") // a device that was there before the rule
		took(t, start, 2*time.Second)
		between(t, never, "raised_at", start.Add(2*time.Second), time.Now())
		if never["value"] != nil || never["count"] != 1.0 || never["last_at"] != never["raised_at"] || never["rule_id"] != rule {
			t.Errorf("raised: %v", never)
		}
		made := time.Now()
		device, token := w.newDevice(t, "pump") // one that is made after it
		other := apitest.Object{"event": "u", "value": 1}
		w.want(t, w.call(t, 0, "POST", "/devices/"+device+"/logs", token, other), 201, "")
		w.beat(t, 0, device, token)
		w.of(t, device, "active")
		took(t, made, 2*time.Second)

		back := time.Now()
		w.read(t, 0, 20, time.Hour) // late data is data
		cleared := w.of(t, w.device, "cleared")
		between(t, cleared, "cleared_at", back, time.Now())
		if cleared["id"] != never["id"] || cleared["count"] != 1.0 {
			t.Errorf("cleared: %v", cleared)
		}
		again := w.of(t, w.device, "active")
		took(t, back, 2*time.Second)
		if again["id"] == never["id"] {
			t.Error("a second silence has the alarm of the first")
		}
		w.want(t, w.call(t, 1, "PATCH", "/devices/"+w.device, w.user, apitest.Object{"tags": []string{"x"}}), 200, "")
		w.want(t, w.call(t, 1, "PATCH", "/rules/"+rule, w.user, apitest.Object{"devices": apitest.Object{"tag": "x"}}), 200, "")
		w.of(t, device, "cleared") // the rule is not about it any more
		w.of(t, w.device, "active")
		w.want(t, w.call(t, 1, "PATCH", "/devices/"+w.device, w.user, apitest.Object{"tags": nil}), 200, "")
		w.of(t, w.device, "cleared")
		w.want(t, w.call(t, 0, "DELETE", "/devices/"+device, w.user, nil), 204, "")
	})
}

func TestASilentDeviceIsOfflineUntilItIsHeard(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		w.beat(t, 0, w.device, w.token)
		start := time.Now()
		w.silence(t, 0, apitest.Object{"offline_for": 2})
		w.of(t, w.device, "active")
		took(t, start, 2*time.Second)
		for n, heard := range []func(){
			func() { w.beat(t, 1, w.device, w.token) },
			func() { w.read(t, 0, 20, 0) },
			func() {
				w.want(t, w.call(t, 0, "POST", "/heartbeats", w.user, apitest.Object{"items": []any{apitest.Object{"device_id": w.device}}}), 200, "")
			},
		} {
			since := time.Now()
			heard()
			w.of(t, w.device, "cleared")
			if late := time.Since(since); late > 3*time.Second {
				t.Errorf("%d: cleared after %v", n, late)
			}
			w.of(t, w.device, "active")
			took(t, since, 2*time.Second)
		}
		w.alarms(t, 4, "active")
	})
}

func TestWhatIsNoSilence(t *testing.T) {
	t.Parallel()
	w := newAlarmist(t, apitest.Embedded)
	for _, condition := range []apitest.Object{
		{"offline_for": 0}, {"offline_for": 2592001}, {"offline_for": 1.5}, {"offline_for": 60, "for": 5}, {"offline_for": 60, "clear": apitest.Object{"for": 5}},
		{"no_data": apitest.Object{}}, {"no_data": apitest.Object{"for": 0}}, {"no_data": apitest.Object{"for": 60, "event": "a b"}}, {"no_data": apitest.Object{"for": 60, "x": 1}},
		{"no_data": apitest.Object{"for": 60}, "offline_for": 60}, {"no_data": apitest.Object{"for": 60}, "event": "t", "operator": "gt", "value": 1},
		{"offline_for": 60, "expression": "t > 1"}, {"no_data": apitest.Object{"for": 60}, "operator": "gt"},
	} {
		r := w.call(t, 0, "POST", "/rules", w.user, apitest.Object{"name": "x", "severity": "info", "condition": condition})
		w.want(t, r, http.StatusUnprocessableEntity, "validation_failed")
	}
	offline := w.silence(t, 0, apitest.Object{"offline_for": 60})
	span := apitest.Object{"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T13:00:00Z"}
	w.want(t, w.call(t, 0, "POST", "/rules/"+offline+"/test", w.user, span), http.StatusUnprocessableEntity, "validation_failed")
}

func TestASilenceIsFoundInStoredLogs(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		at := func(second int) string {
			return start.Add(time.Duration(second) * time.Second).Format("2006-01-02T15:04:05.000Z")
		}
		for _, second := range []int{0, 50, 200, 230} {
			body := apitest.Object{"event": []string{"t", "u"}[second/50%2], "value": 1, "timestamp": at(second)}
			w.want(t, w.call(t, 0, "POST", "/devices/"+w.device+"/logs", w.token, body), 201, "")
		}
		rule := w.silence(t, 1, apitest.Object{"no_data": apitest.Object{"for": 60}})
		got := w.want(t, w.call(t, 1, "POST", "/rules/"+rule+"/test", w.user, apitest.Object{"from": at(10), "to": at(300)}), 200, "")
		want := `[{"cleared_at":"` + at(200) + `","device_id":"` + w.device + `","raised_at":"` + at(110) + `","value":null},` +
			`{"cleared_at":null,"device_id":"` + w.device + `","raised_at":"` + at(290) + `","value":null}]`
		if got := asJSON(t, got.body["episodes"]); got != want {
			t.Errorf("found %s\nwant  %s", got, want)
		}
	})
}

// jumpBy is how far the clock jumps: less than the life of an access token.
const jumpBy = 10 * time.Minute

// aheadOf starts an instance whose clock goes ahead, with the users of newInstances; stop ends it early.
func aheadOf(t *testing.T, cfg *config.Config, ahead *atomic.Int64) (url string, stop func()) {
	t.Helper()
	cfg.RateLimits = nil
	s := app.Settings{Config: cfg, Version: "test", Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	stop = apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error {
		return app.Run(ctx, s, func(serving app.Serving) { url = serving.URL; ready() })
	})
	return url, stop
}

func TestTheTimeInWhichHearthWasDownIsNoSilence(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		var ahead atomic.Int64
		cfg := m.Config(t)
		url, stop := aheadOf(t, cfg, &ahead)
		w := &alarmist{&commander{instances: &instances{urls: []string{url}}}}
		w.signUp(t, "ann@example.com")
		w.user = w.login(t, "ann@example.com").text("access_token")
		w.device, w.token = w.newDevice(t, "lamp")
		w.silence(t, 0, apitest.Object{"no_data": apitest.Object{"for": 5}})
		time.Sleep(1500 * time.Millisecond) // a note that it runs is stored each second
		read := time.Now()
		w.read(t, 0, 20, 0)
		stop()
		ahead.Store(int64(time.Hour))
		w.urls[0], _ = aheadOf(t, cfg, &ahead)
		w.user = w.login(t, "ann@example.com").text("access_token")
		raised := w.of(t, w.device, "active")
		// The last note may be a second old.
		between(t, raised, "raised_at", read.Add(time.Hour+5*time.Second-time.Second), time.Now().Add(time.Hour))
		if late := time.Since(read) - 5*time.Second; late < -1500*time.Millisecond {
			t.Errorf("raised %v early", -late)
		}
		w.alarms(t, 1, "active")
	})
}

func TestAlarmsOutliveJumpsOfTheClock(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	url, _ := aheadOf(t, apitest.Embedded.Config(t), &ahead)
	w := &alarmist{&commander{instances: &instances{urls: []string{url}}}}
	w.signUp(t, "ann@example.com")
	w.user = w.login(t, "ann@example.com").text("access_token")
	w.device, w.token = w.newDevice(t, "lamp")
	w.silence(t, 0, apitest.Object{"no_data": apitest.Object{"event": "u", "for": 3}})
	hot := w.rule(t, apitest.Object{"condition": apitest.Object{"event": "t", "operator": "gt", "value": 30, "for": 60}})
	log := func(event string, value int) time.Time {
		t.Helper()
		w.want(t, w.call(t, 0, "POST", "/devices/"+w.device+"/logs", w.token, apitest.Object{"event": event, "value": value}), 201, "")
		return time.Now()
	}
	log("t", 31)
	time.Sleep(1500 * time.Millisecond) // a note that it runs is stored each second
	for n, jump := range []time.Duration{jumpBy, -jumpBy, jumpBy} {
		last := log("u", 1)
		ahead.Add(int64(jump))
		if n == 1 { // what was heard is in the future now, as soon as it is judged
			time.Sleep(500 * time.Millisecond)
			last = log("u", 1)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			items := w.want(t, w.call(t, 0, "GET", "/alarms?state=active&count=true", w.user, nil), 200, "").body["items"].([]any)
			if early := 3*time.Second - time.Since(last); len(items) == 2 { // with that of the threshold, whose time the first jump ended
				if early > 1500*time.Millisecond { // the last note may be a second old
					t.Errorf("jump %d: raised %v early", n, early)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("jump %d: %v", n, items)
			}
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			log("u", 1)
			if w.want(t, w.call(t, 0, "GET", "/alarms?state=active&count=true", w.user, nil), 200, "").body["total"] == 1.0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("jump %d: the silence does not end", n)
			}
		}
	}
	if total := w.want(t, w.call(t, 0, "GET", "/alarms?count=true", w.user, nil), 200, "").body["total"]; total != 4.0 {
		t.Errorf("%v alarms, want one of the threshold and three of silences", total)
	}
	log("t", 20)
	list := w.want(t, w.call(t, 0, "GET", "/alarms?rule_id="+hot, w.user, nil), 200, "")
	for deadline := time.Now().Add(20 * time.Second); list.body["items"].([]any)[0].(map[string]any)["state"] != "cleared"; time.Sleep(5 * time.Millisecond) {
		if list = w.want(t, w.call(t, 0, "GET", "/alarms?rule_id="+hot, w.user, nil), 200, ""); time.Now().After(deadline) {
			t.Fatalf("the threshold: %s", list.raw)
		}
	}
}
