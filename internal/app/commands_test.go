package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
)

// commander is a user with a device, at one or several instances.
type commander struct {
	*instances
	user, device, token string
}

func newCommander(t *testing.T, m apitest.Mode) *commander {
	t.Helper()
	w := &commander{instances: newInstances(t, m)}
	w.signUp(t, "ann@example.com")
	w.user = w.login(t, "ann@example.com").text("access_token")
	w.device, w.token = w.newDevice(t, "lamp")
	return w
}

func (w *commander) newDevice(t *testing.T, name string) (id, token string) {
	t.Helper()
	id = w.want(t, w.call(t, 0, "POST", "/devices", w.user, apitest.Object{"name": name, "type": "lamp"}), 201, "").text("id")
	return id, w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/tokens", w.user, nil), 201, "").text("token")
}

func (w *commander) send(t *testing.T, instance int, query string, body any, header ...string) reply {
	t.Helper()
	return w.call(t, instance, "POST", "/devices/"+w.device+"/commands"+query, w.user, body, header...)
}

func (w *commander) next(t *testing.T, instance int, wait string) reply {
	t.Helper()
	return w.call(t, instance, "GET", "/devices/"+w.device+"/commands/next?wait="+wait, w.token, nil)
}

func (w *commander) report(t *testing.T, instance int, id, what string, body any) {
	t.Helper()
	w.want(t, w.call(t, instance, "POST", "/devices/"+w.device+"/commands/"+id+"/"+what, w.token, body), 204, "")
}

func (w *commander) look(t *testing.T, id string) apitest.Object {
	t.Helper()
	return w.want(t, w.call(t, 0, "GET", "/commands/"+id, w.user, nil), 200, "").body
}

func TestACommandGoesToItsDeviceAndItsResultComesBack(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		w.want(t, w.next(t, 0, ""), 204, "")
		params := map[string]any{"level": 1.5, "on": true, "list": []any{nil, "ü<&>"}}
		made := w.want(t, w.send(t, 0, "", apitest.Object{"name": "set.level:a-1", "params": params, "expires_in": 60}), 202, "")
		id := made.text("id")
		if got := made.header.Get("Location"); got != "/api/v1/commands/"+id {
			t.Errorf("Location: %s", got)
		}
		if made.text("state") != "queued" || made.body["sent_at"] != nil || made.body["attempts"] != 0.0 || made.body["result"] != nil {
			t.Errorf("made: %s", made.raw)
		}
		for attempt := range 2 {
			got := w.want(t, w.next(t, attempt, "10s"), 200, "")
			if got.text("id") != id || got.text("state") != "sent" || got.body["attempts"] != float64(attempt+1) || asJSON(t, got.body["params"]) != asJSON(t, params) {
				t.Errorf("attempt %d: %s", attempt, got.raw)
			}
			if now := w.look(t, id); asJSON(t, now) != asJSON(t, got.body) {
				t.Errorf("the device got %s, and stored is %s", got.raw, asJSON(t, now))
			}
		}
		w.report(t, 1, id, "ack", nil)
		w.report(t, 0, id, "ack", nil)
		if now := w.look(t, id); now["state"] != "delivered" || now["delivered_at"] == nil || now["completed_at"] != nil {
			t.Errorf("acknowledged: %v", now)
		}
		w.want(t, w.next(t, 0, "0s"), 204, "")
		w.report(t, 0, id, "result", apitest.Object{"ok": true, "result": []any{1, "x"}})
		ended := w.look(t, id)
		if ended["state"] != "succeeded" || asJSON(t, ended["result"]) != `[1,"x"]` || ended["completed_at"] == nil || ended["error"] != nil {
			t.Errorf("ended: %v", ended)
		}
		w.report(t, 1, id, "result", apitest.Object{"ok": false, "error": "late"})
		w.report(t, 1, id, "ack", nil)
		if again := w.look(t, id); asJSON(t, again) != asJSON(t, ended) {
			t.Errorf("a second result changed it: %v", again)
		}
		w.want(t, w.call(t, 0, "POST", "/commands/"+id+"/cancel", w.user, nil), 409, "conflict")
	})
}

// A result may come before the acknowledgement, whose request was lost or is slower: the command has ended, and the next one follows.
func TestAResultThatOvertakesTheAcknowledgementEndsTheCommand(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		first := w.want(t, w.send(t, 0, "", apitest.Object{"name": "a"}), 202, "").text("id")
		second := w.want(t, w.send(t, 1, "", apitest.Object{"name": "b"}), 202, "").text("id")
		w.want(t, w.next(t, 0, ""), 200, "")
		w.report(t, 0, first, "result", apitest.Object{"ok": false, "error": "jammed"})
		w.report(t, 1, first, "ack", nil)
		now := w.look(t, first)
		if now["state"] != "failed" || now["error"] != "jammed" || now["delivered_at"] == nil || now["delivered_at"] != now["completed_at"] {
			t.Errorf("it is %v", now)
		}
		if got := w.want(t, w.next(t, 1, ""), 200, ""); got.text("id") != second {
			t.Errorf("the next is %s", got.raw)
		}
	})
}

func TestAWaitingRequestIsAnsweredWhenSomethingHappensAtAnyInstance(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		for round := range 6 {
			device := make(chan reply, 1)
			go func() { device <- w.next(t, round, "30s") }()
			start := time.Now()
			user := make(chan reply, 1)
			go func() { user <- w.send(t, round/2, "?wait=30s", apitest.Object{"name": "x", "params": round}) }()
			got := <-device
			if got.status != 200 || got.body["params"] != float64(round) {
				t.Fatalf("the device got %d %s", got.status, got.raw)
			}
			w.report(t, round+1, got.text("id"), "ack", nil)
			w.report(t, round, got.text("id"), "result", apitest.Object{"ok": true, "result": round})
			if answer := <-user; answer.status != 200 || answer.text("state") != "succeeded" || answer.body["result"] != float64(round) {
				t.Errorf("the user got %d %s", answer.status, answer.raw)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("that took %v", took)
			}
		}
		open := w.want(t, w.send(t, 0, "?wait=50ms", apitest.Object{"name": "x"}), 202, "")
		if open.text("state") != "queued" {
			t.Errorf("without an answer: %s", open.raw)
		}
	})
}

func TestACommandExpiresWhileNobodyLooks(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		w.want(t, w.send(t, 0, "", apitest.Object{"name": "a", "expires_in": 1}), 202, "")
		got := w.want(t, w.next(t, 0, ""), 200, "")
		w.report(t, 0, got.text("id"), "ack", nil) // a delivered one expires too
		start := time.Now()
		silent := w.want(t, w.send(t, 1, "?wait=20s", apitest.Object{"name": "b", "expires_in": 1}), 200, "")
		if took := time.Since(start); silent.text("state") != "expired" || took < 900*time.Millisecond || took > 5*time.Second {
			t.Errorf("after %v: %s", took, silent.raw)
		}
		for _, id := range []string{got.text("id"), silent.text("id")} {
			if now := w.look(t, id); now["state"] != "expired" || now["completed_at"] != now["expires_at"] {
				t.Errorf("it is %v", now)
			}
			w.report(t, 0, id, "result", apitest.Object{"ok": true})
			w.want(t, w.call(t, 0, "POST", "/commands/"+id+"/cancel", w.user, nil), 409, "conflict")
			if now := w.look(t, id); now["state"] != "expired" || now["result"] != nil {
				t.Errorf("after a late answer it is %v", now)
			}
		}
	})
}

func TestAHeartbeatSaysHowManyCommandsArePending(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		expect := func(want float64) {
			t.Helper()
			for instance := range 2 { // the other one learns of it within moments
				got := -1.0
				for deadline := time.Now().Add(20 * time.Second); got != want && time.Now().Before(deadline); {
					beat := w.want(t, w.call(t, instance, "POST", "/devices/"+w.device+"/heartbeat", w.token, nil), 200, "")
					pending, _ := beat.body["pending"].(map[string]any)
					got, _ = pending["commands"].(float64)
				}
				if got != want {
					t.Errorf("instance %d says %v, want %v", instance, got, want)
				}
			}
		}
		expect(0)
		w.want(t, w.send(t, 0, "", apitest.Object{"name": "a"}), 202, "")
		w.want(t, w.send(t, 1, "", apitest.Object{"name": "b"}), 202, "")
		expect(2)
		w.report(t, 1, w.next(t, 0, "").text("id"), "ack", nil)
		expect(1)
		w.report(t, 0, w.next(t, 0, "").text("id"), "result", apitest.Object{"ok": true})
		expect(0)
	})
}

func TestACancelledCommandIsNotSent(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		first := w.want(t, w.send(t, 0, "", apitest.Object{"name": "a"}), 202, "").text("id")
		second := w.want(t, w.send(t, 0, "", apitest.Object{"name": "b"}), 202, "").text("id")
		cancelled := w.want(t, w.call(t, 1, "POST", "/commands/"+first+"/cancel", w.user, nil), 200, "")
		if cancelled.text("state") != "cancelled" || cancelled.body["completed_at"] == nil {
			t.Errorf("it is %s", cancelled.raw)
		}
		if got := w.want(t, w.next(t, 0, ""), 200, ""); got.text("id") != second {
			t.Errorf("the next is %s", got.raw)
		}
		list := w.call(t, 0, "GET", "/devices/"+w.device+"/commands?count=true", w.user, nil)
		items, _ := list.body["items"].([]any)
		if len(items) != 2 || inner(map[string]any{"x": items[0]}, "x", "id") != second || list.body["total"] != 2.0 {
			t.Errorf("listed are %s", list.raw)
		}
		list = w.call(t, 0, "GET", "/devices/"+w.device+"/commands?state=cancelled&fields=id", w.user, nil)
		if asJSON(t, list.body["items"]) != `[{"id":"`+first+`"}]` {
			t.Errorf("listed are %s", list.raw)
		}
	})
}

func TestBadCommandsAreRefusedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	w := newCommander(t, apitest.Embedded)
	deep := func(n int) json.RawMessage {
		text := ""
		for range n {
			text += "["
		}
		for range n {
			text += "]"
		}
		return json.RawMessage(text)
	}
	long := make([]byte, 20_000)
	for i := range long {
		long[i] = 'x'
	}
	for _, body := range []any{
		apitest.Object{}, apitest.Object{"name": ""}, apitest.Object{"name": "a b"}, apitest.Object{"name": string(long[:65])}, apitest.Object{"name": 1},
		apitest.Object{"name": "ä"}, apitest.Object{"name": "x", "expires_in": 0}, apitest.Object{"name": "x", "expires_in": 2_592_001},
		apitest.Object{"name": "x", "expires_in": 1.5}, apitest.Object{"name": "x", "expires_in": "1"}, apitest.Object{"name": "x", "params": string(long)},
		apitest.Object{"name": "x", "params": deep(33)}, apitest.Object{"name": "x", "state": "sent"}, apitest.Object{"name": "x", "device_id": w.device},
	} {
		if r := w.send(t, 0, "", body); r.status != 422 || r.code() != "validation_failed" {
			t.Errorf("%.80s: %d %s", asJSON(t, body), r.status, r.raw)
		}
	}
	for _, wait := range []string{"31s", "-1s", "x", "5", "1d"} {
		if r := w.send(t, 0, "?wait="+url.QueryEscape(wait), apitest.Object{"name": "x"}); r.status != 422 {
			t.Errorf("wait %s: %d %s", wait, r.status, r.raw)
		}
		if r := w.next(t, 0, url.QueryEscape(wait)); r.status != 422 {
			t.Errorf("poll %s: %d %s", wait, r.status, r.raw)
		}
	}
	w.want(t, w.next(t, 0, ""), 204, "")
	id := w.want(t, w.send(t, 0, "", apitest.Object{"name": "x", "params": deep(32)}), 202, "").text("id")
	for _, body := range []any{
		apitest.Object{}, apitest.Object{"ok": "yes"}, apitest.Object{"ok": false}, apitest.Object{"ok": false, "error": ""}, apitest.Object{"ok": true, "error": "x"},
		apitest.Object{"ok": false, "error": "x", "result": 1}, apitest.Object{"ok": true, "result": string(long)}, apitest.Object{"ok": false, "error": string(long[:1025])},
		apitest.Object{"ok": true, "state": "x"},
	} {
		path := "/devices/" + w.device + "/commands/" + id + "/result"
		if r := w.call(t, 0, "POST", path, w.token, body); r.status != 422 || r.code() != "validation_failed" {
			t.Errorf("%.80s: %d %s", asJSON(t, body), r.status, r.raw)
		}
	}
	if now := w.look(t, id); now["state"] != "queued" {
		t.Errorf("it is %v", now)
	}
}

func TestACommandWithAnIdempotencyKeyIsSentOnce(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		first := w.want(t, w.send(t, 0, "", apitest.Object{"name": "a"}, "Idempotency-Key", "k"), 202, "")
		got := w.want(t, w.next(t, 0, ""), 200, "")
		w.report(t, 0, got.text("id"), "result", apitest.Object{"ok": true})
		again := w.want(t, w.send(t, 1, "", apitest.Object{"name": "a"}, "Idempotency-Key", "k"), 202, "")
		if again.raw != first.raw || again.header.Get("Location") != first.header.Get("Location") {
			t.Errorf("first %s at %s, again %s at %s", first.raw, first.header.Get("Location"), again.raw, again.header.Get("Location"))
		}
		w.want(t, w.send(t, 1, "", apitest.Object{"name": "b"}, "Idempotency-Key", "k"), 409, "idempotency_mismatch")
		w.want(t, w.next(t, 0, ""), 204, "")
	})
}

func TestOneCommandReachesManyDevices(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newCommander(t, m)
		items := make([]apitest.Object, 450)
		for i := range items {
			items[i] = apitest.Object{"name": fmt.Sprint("lamp ", i), "type": "bulb", "tags": []string{fmt.Sprint("t", i%2)}}
		}
		made := w.want(t, w.call(t, 0, "POST", "/devices/batch", w.user, apitest.Object{"items": items}), 201, "")
		ids := make([]string, len(items))
		for i, item := range made.body["items"].([]any) {
			ids[i] = inner(map[string]any{"x": item}, "x", "id")
		}
		counts := func(id string, total float64, want apitest.Object) {
			t.Helper()
			deadline := time.Now().Add(60 * time.Second)
			for {
				got := w.want(t, w.call(t, 1, "GET", "/command-batches/"+id, w.user, nil), 200, "")
				by, _ := got.body["by_state"].(map[string]any)
				sum := 0.0
				for _, n := range by {
					sum += n.(float64)
				}
				if sum != total || got.body["total"] != total || len(by) != 7 {
					t.Fatalf("counted %s", got.raw)
				}
				same := true
				for state, n := range want {
					same = same && by[state] == n
				}
				if same {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("counted %s, want %v", got.raw, want)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		waiting := make(chan reply, 1)
		go func() { waiting <- w.next(t, 1, "30s") }()
		batch := w.want(t, w.call(t, 0, "POST", "/commands", w.user, apitest.Object{"name": "x", "device_ids": append([]string{w.device}, ids...)}), 202, "")
		if asJSON(t, batch.body) != `{"id":"`+batch.text("id")+`","total":451}` {
			t.Errorf("answered %s", batch.raw)
		}
		if got := <-waiting; got.status != 200 || got.text("name") != "x" {
			t.Fatalf("the waiting device got %d %s", got.status, got.raw)
		} else {
			w.report(t, 0, got.text("id"), "result", apitest.Object{"ok": true})
		}
		counts(batch.text("id"), 451, apitest.Object{"queued": 450.0, "succeeded": 1.0})
		for _, id := range ids[:2] {
			w.want(t, w.call(t, 0, "DELETE", "/devices/"+id, w.user, nil), 204, "")
		}
		counts(batch.text("id"), 451, apitest.Object{"queued": 448.0, "cancelled": 2.0})
		picked := w.want(t, w.call(t, 0, "POST", "/commands", w.user, apitest.Object{"name": "x", "filter": apitest.Object{"type": "bulb", "tag": "t1"}}), 202, "")
		counts(picked.text("id"), 224, apitest.Object{"queued": 224.0})
		for _, body := range []apitest.Object{
			{"name": "x"}, {"name": "x", "device_ids": ids, "filter": apitest.Object{}}, {"name": "x", "device_ids": []string{}}, {"name": "x", "device_ids": []string{ids[5], ids[5]}},
			{"name": "x", "device_ids": ids}, {"device_ids": ids[5:]}, {"name": "x", "filter": apitest.Object{"name": "x"}},
			{"name": "x", "filter": apitest.Object{"type": ""}}, {"name": "x", "filter": apitest.Object{"tag": ""}},
			{"name": "x", "device_ids": []string{ids[5], strings.ToUpper(ids[5])}},
		} {
			if r := w.call(t, 0, "POST", "/commands", w.user, body); r.status != 422 {
				t.Errorf("%.80s: %d %s", asJSON(t, body), r.status, r.raw)
			}
		}
		bad := w.call(t, 0, "POST", "/commands", w.user, apitest.Object{"name": "x", "device_ids": ids})
		if problems, _ := bad.body["errors"].([]any); len(problems) != 2 {
			t.Errorf("of two devices that are gone: %s", bad.raw)
		}
	})
}

func TestADevicesOldestWaitEndsForItsNewest(t *testing.T) {
	t.Parallel()
	w := newCommander(t, apitest.Embedded)
	ended := make(chan int, 5)
	for range 5 {
		go func() { ended <- w.next(t, 0, "30s").status }()
	}
	if status := <-ended; status != http.StatusNoContent {
		t.Errorf("the oldest got %d", status)
	}
	w.want(t, w.send(t, 0, "", apitest.Object{"name": "x"}), 202, "")
	for range 4 {
		if status := <-ended; status != http.StatusOK {
			t.Errorf("another got %d", status)
		}
	}
}
