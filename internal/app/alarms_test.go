package app_test

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"hearth/internal/apitest"
)

// alarmist is a commander who writes rules.
type alarmist struct{ *commander }

func newAlarmist(t *testing.T, m apitest.Mode) *alarmist {
	t.Helper()
	return &alarmist{newCommander(t, m)}
}

// rule creates a rule about t > 30 with the members of more.
func (w *alarmist) rule(t *testing.T, more apitest.Object) string {
	t.Helper()
	body := apitest.Object{"name": "Hot", "severity": "major", "condition": apitest.Object{"event": "t", "operator": "gt", "value": 30}}
	maps.Copy(body, more)
	return w.want(t, w.call(t, 0, "POST", "/rules", w.user, body), 201, "").text("id")
}

// read posts a reading of t of the device, at an instance; age is how old it is.
func (w *alarmist) read(t *testing.T, instance int, value any, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age).UTC().Format(time.RFC3339Nano)
	w.want(t, w.call(t, instance, "POST", "/devices/"+w.device+"/logs", w.token, apitest.Object{"event": "t", "value": value, "timestamp": at}), 201, "")
}

// alarms returns the alarms, oldest first, once there are n of which the last one is in a state.
func (w *alarmist) alarms(t *testing.T, n int, state string) (items []apitest.Object) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		items = nil
		for _, item := range w.want(t, w.call(t, n%2, "GET", "/alarms?sort=raised_at", w.user, nil), 200, "").body["items"].([]any) {
			items = append(items, item.(map[string]any))
		}
		if len(items) == n && (n == 0 || items[n-1]["state"] == state) {
			return items
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %d alarms, the last one %s: %v", n, state, items)
		}
	}
}

func TestAnAlarmIsRaisedCountedAndCleared(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		rule := w.rule(t, apitest.Object{"condition": apitest.Object{"event": "t", "operator": "gt", "value": 30, "clear": apitest.Object{"value": 28}},
			"actions": []any{apitest.Object{"notify": "owner", "on": "both"}}})
		w.read(t, 0, 29, time.Minute)
		w.read(t, 1, 31, 50*time.Second)
		raised := w.alarms(t, 1, "active")[0]
		if raised["rule_id"] != rule || raised["device_id"] != w.device || raised["value"] != 31.0 || raised["count"] != 1.0 || raised["cleared_at"] != nil ||
			raised["rule_name"] != "Hot" || raised["device_name"] != "lamp" || raised["severity"] != "major" || raised["acknowledged"] != false {
			t.Errorf("raised: %v", raised)
		}
		w.read(t, 0, 33, 55*time.Second) // late
		w.read(t, 0, 32, 40*time.Second)
		w.read(t, 1, 29, 30*time.Second) // not harmless yet
		w.read(t, 1, 28, 20*time.Second)
		cleared := w.alarms(t, 1, "cleared")[0]
		if cleared["value"] != 32.0 || cleared["count"] != 2.0 || cleared["cleared_at"] == nil || cleared["cleared_at"].(string) <= cleared["raised_at"].(string) {
			t.Errorf("cleared: %v", cleared)
		}
		details := w.want(t, w.call(t, 0, "GET", "/alarms/"+cleared["id"].(string), w.user, nil), 200, "")
		if history := details.body["history"].([]any); len(history) != 2 {
			t.Errorf("history: %v", history)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			list := w.want(t, w.call(t, 0, "GET", "/notifications?count=true", w.user, nil), 200, "")
			if list.body["total"] == 2.0 {
				data := list.body["items"].([]any)[0].(map[string]any)
				if data["type"] != "alarm" || data["data"].(map[string]any)["alarm_id"] != cleared["id"] {
					t.Errorf("notified: %v", data)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("notified: %s", list.raw)
			}
		}
	})
}

func TestForRunsByTheClock(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		w.rule(t, apitest.Object{"condition": apitest.Object{"event": "t", "operator": "gt", "value": 30, "for": 1, "clear": apitest.Object{"for": 1}}})
		start := time.Now()
		w.read(t, 0, 31, 0)
		w.alarms(t, 1, "active")
		if took := time.Since(start); took < time.Second || took > 4*time.Second {
			t.Errorf("raised after %v", took)
		}
		start = time.Now()
		w.read(t, 1, 20, 0)
		w.alarms(t, 1, "cleared")
		if took := time.Since(start); took < time.Second || took > 4*time.Second {
			t.Errorf("cleared after %v", took)
		}
	})
}

func TestAnAlarmIsAcknowledgedCommentedAndClearedByHand(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		w.rule(t, nil)
		w.read(t, 0, 31, 0)
		id := w.alarms(t, 1, "active")[0]["id"].(string)
		act := func(what string, body any, header ...string) reply {
			t.Helper()
			return w.want(t, w.call(t, 1, "POST", "/alarms/"+id+"/"+what, w.user, body, header...), 200, "")
		}
		if r := act("acknowledge", nil); r.body["acknowledged"] != true || r.body["acknowledged_by"] == nil || r.body["state"] != "active" {
			t.Errorf("acknowledged: %s", r.raw)
		}
		act("acknowledge", nil)
		for range 2 {
			act("comments", apitest.Object{"text": "Looking."}, "Idempotency-Key", "once")
		}
		if r := act("clear", nil); r.body["state"] != "cleared" || len(r.body["history"].([]any)) != 4 {
			t.Errorf("cleared: %s", r.raw)
		}
		if r := act("clear", nil); len(r.body["history"].([]any)) != 4 {
			t.Errorf("cleared again: %s", r.raw)
		}
		w.read(t, 0, 32, 0)
		w.read(t, 1, 20, 0)
		w.read(t, 0, 33, 0)
		all := w.alarms(t, 2, "active")
		if all[1]["value"] != 33.0 || all[0]["count"] != 1.0 {
			t.Errorf("%v", all)
		}
	})
}

func TestARuleThatIsChangedClearsItsAlarms(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		rule := w.rule(t, nil)
		for n, change := range []func(){
			func() {
				w.want(t, w.call(t, 1, "PATCH", "/rules/"+rule, w.user, apitest.Object{"severity": "critical"}), 200, "")
			},
			func() {
				w.want(t, w.call(t, 0, "PATCH", "/rules/"+rule, w.user, apitest.Object{"enabled": false}), 200, "")
			},
			func() { w.want(t, w.call(t, 1, "DELETE", "/rules/"+rule, w.user, nil), 204, "") },
		} {
			w.read(t, n%2, 31, 0)
			w.alarms(t, n+1, "active")
			change()
			cleared := w.alarms(t, n+1, "cleared")[n]
			details := w.want(t, w.call(t, 0, "GET", "/alarms/"+cleared["id"].(string), w.user, nil), 200, "")
			if got := details.body["history"].([]any)[1].(map[string]any)["text"]; got != "the rule was changed, disabled or deleted" {
				t.Errorf("it says %v", got)
			}
			if n == 1 {
				w.read(t, 0, 32, 0)
				w.want(t, w.call(t, 0, "PATCH", "/rules/"+rule, w.user, apitest.Object{"enabled": true}), 200, "")
			}
		}
		w.read(t, 0, 33, 0)
		w.alarms(t, 3, "cleared")
	})
}

func TestARuleIsTestedOnStoredLogs(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newAlarmist(t, m)
		start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for second, value := range map[int]int{0: 31, 60: 31, 100: 20, 200: 35, 300: 20, 400: 32} {
			at := start.Add(time.Duration(second) * time.Second).Format(time.RFC3339)
			w.want(t, w.call(t, 0, "POST", "/devices/"+w.device+"/logs", w.token, apitest.Object{"event": "t", "value": value, "timestamp": at}), 201, "")
		}
		rule := w.rule(t, apitest.Object{"condition": apitest.Object{"event": "t", "operator": "gt", "value": 30, "for": 60}})
		test := func(from, to int) reply {
			t.Helper()
			return w.want(t, w.call(t, 1, "POST", "/rules/"+rule+"/test", w.user, apitest.Object{
				"from": start.Add(time.Duration(from) * time.Second).Format(time.RFC3339), "to": start.Add(time.Duration(to) * time.Second).Format(time.RFC3339)}), 200, "")
		}
		at := func(second int) string {
			return start.Add(time.Duration(second) * time.Second).Format("2006-01-02T15:04:05.000Z")
		}
		episode := func(raised, cleared, value int) string {
			if cleared == 0 {
				return fmt.Sprintf(`{"cleared_at":null,"device_id":%q,"raised_at":%q,"value":%d}`, w.device, at(raised), value)
			}
			return fmt.Sprintf(`{"cleared_at":%q,"device_id":%q,"raised_at":%q,"value":%d}`, at(cleared), w.device, at(raised), value)
		}
		for _, tt := range []struct {
			from, to int
			want     string
		}{
			{0, 350, "[" + episode(60, 100, 31) + "," + episode(260, 300, 35) + "]"},
			{0, 500, "[" + episode(60, 100, 31) + "," + episode(260, 300, 35) + "," + episode(460, 0, 32) + "]"},
			{250, 350, "[" + episode(260, 300, 35) + "]"}, // with the last reading before it
			{1000, 1001, "[" + episode(460, 0, 32) + "]"},
			{120, 200, "[]"},
		} {
			if got := asJSON(t, test(tt.from, tt.to).body["episodes"]); got != tt.want {
				t.Errorf("from %d to %d: %s\nwant %s", tt.from, tt.to, got, tt.want)
			}
		}
		w.alarms(t, 0, "")
		w.want(t, w.call(t, 0, "POST", "/rules/"+rule+"/test", w.user, apitest.Object{"from": at(5), "to": at(5)}), http.StatusUnprocessableEntity, "validation_failed")
	})
}

// An alarm's webhook is sent it once, signed or not subscribed; the device is sent its command once.
func TestAnAlarmIsSentToWebhooksAndCommandsItsDevice(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		h := newHookWorld(t, m)
		named, subscribed := newReceiver(t, nil), newReceiver(t, nil)
		hook, _ := h.hook(t, named.url, "alarm.raised")
		h.hook(t, subscribed.url, "alarm.cleared")
		w := &alarmist{&commander{instances: h.instances, user: h.user}}
		w.device, w.token = w.newDevice(t, "lamp")
		action := func(actions ...any) apitest.Object { return apitest.Object{"actions": actions} }
		for _, wrong := range []apitest.Object{{"webhook_id": w.device}, {"webhook_id": hook, "notify": "owner"}, {}, {"command": apitest.Object{"name": ""}}} {
			r := w.call(t, 0, "POST", "/rules", w.user, apitest.Object{"name": "x", "severity": "info", "actions": []any{wrong},
				"condition": apitest.Object{"event": "t", "operator": "gt", "value": 30}})
			w.want(t, r, http.StatusUnprocessableEntity, "validation_failed")
		}
		rule := w.rule(t, action(apitest.Object{"webhook_id": hook, "on": "both"}, apitest.Object{"command": apitest.Object{"name": "stop", "params": 1.5}}))
		got := w.want(t, w.call(t, 1, "GET", "/rules/"+rule, w.user, nil), 200, "")
		if want := `[{"on":"both","webhook_id":"` + hook + `"},{"command":{"name":"stop","params":1.5},"on":"raise"}]`; asJSON(t, got.body["actions"]) != want {
			t.Errorf("the actions are %s, want %s", asJSON(t, got.body["actions"]), want)
		}
		w.read(t, 0, 31, time.Minute)
		w.alarms(t, 1, "active")
		w.read(t, 1, 32, 50*time.Second)
		w.read(t, 0, 20, 40*time.Second)
		alarm := w.alarms(t, 1, "cleared")[0]
		all := named.await(t, 2)
		if all[0].event != "alarm.raised" || all[1].event != "alarm.cleared" || all[0].data["id"] != alarm["id"] || all[0].data["state"] != "active" || all[1].data["state"] != "cleared" {
			t.Errorf("sent %s and %s", all[0].body, all[1].body)
		}
		if all := subscribed.await(t, 1); all[0].event != "alarm.cleared" || all[0].data["count"] != 2.0 {
			t.Errorf("the subscriber was sent %s", all[0].body)
		}
		command := w.want(t, w.next(t, 0, "20s"), 200, "")
		if command.text("name") != "stop" || command.body["params"] != 1.5 {
			t.Errorf("the device was sent %s", command.raw)
		}
		w.report(t, 0, command.text("id"), "ack", nil)
		w.want(t, w.next(t, 1, ""), 204, "")
		if len(named.got()) != 2 || len(subscribed.got()) != 1 {
			t.Errorf("sent %d and %d times", len(named.got()), len(subscribed.got()))
		}
	})
}
