package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
)

const channelsPath = "/users/me/notification-channels"

// channel makes a channel of the user's.
func (w *hookWorld) channel(t *testing.T, body apitest.Object) (id string) {
	t.Helper()
	for name, value := range (apitest.Object{"name": "Phone", "kind": "webhook", "types": []string{"alarm", "export_ready"}}) {
		if body[name] == nil {
			body[name] = value
		}
	}
	return w.want(t, w.call(t, 0, "POST", channelsPath, w.user, body), 201, "").text("id")
}

// raise has the device of a rule that notifies its owner of both raise and clear alarms n times.
func (w *hookWorld) raise(t *testing.T, device string, n int) {
	t.Helper()
	for i := range n {
		value := 31 - 10*(i%2)
		w.want(t, w.call(t, i%2, "POST", "/devices/"+device+"/logs", w.user, apitest.Object{"event": "t", "value": value}), 201, "")
	}
}

func (w *hookWorld) hotRule(t *testing.T) (device string) {
	t.Helper()
	w.want(t, w.call(t, 0, "POST", "/rules", w.user, apitest.Object{
		"name": "Hot", "severity": "critical", "condition": apitest.Object{"event": "t", "operator": "gt", "value": 30},
		"actions": []any{apitest.Object{"notify": "owner", "on": "both"}},
	}), 201, "")
	return w.device(t, 0, "freezer")
}

// notified returns the titles that a request to a webhook's channel names.
func notified(t *testing.T, got hooked) (titles []string) {
	t.Helper()
	var body struct {
		Type string
		Data struct {
			Notifications []struct{ Title, Body string }
		}
	}
	if err := json.Unmarshal(got.body, &body); err != nil || body.Type != "notification" {
		t.Fatalf("%s: %v", got.body, err)
	}
	for _, n := range body.Data.Notifications {
		titles = append(titles, n.Title)
	}
	return titles
}

func TestAChannelIsSentOneDigestForEachPause(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		r := newReceiver(t, nil)
		w := newHookWorld(t, m)
		device := w.hotRule(t)
		w.channel(t, apitest.Object{"url": r.url, "digest_minutes": 10})
		w.raise(t, device, 1)
		if first := notified(t, r.await(t, 1)[0]); len(first) != 1 || first[0] != "Hot: freezer" {
			t.Errorf("the first message names %q", first)
		}
		w.raise(t, device, 1) // goes on
		w.want(t, w.call(t, 0, "POST", "/devices/"+device+"/logs", w.user, apitest.Object{"event": "t", "value": 20}), 201, "")
		w.raise(t, device, 2)
		hold(t, "four notifications", func() bool {
			return w.want(t, w.call(t, 0, "GET", "/notifications?count=true", w.user, nil), 200, "").body["total"] == 4.0
		})
		w.advance(t, 10*time.Minute)
		all := r.await(t, 2)
		if digest := notified(t, all[1]); len(digest) != 3 {
			t.Errorf("the digest names %q", digest)
		}
		w.advance(t, time.Hour)
		w.raise(t, device, 1)
		if all = r.await(t, 3); len(all) != 3 || len(notified(t, all[2])) != 1 {
			t.Errorf("there are %d messages", len(all))
		}
	})
}

func TestReceiversThatDoNotAnswerDelayNoOther(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		over := make(chan struct{})
		slow := newReceiver(t, func(http.ResponseWriter, *http.Request, hooked) { <-over })
		t.Cleanup(func() { close(over) }) // before the receiver closes
		r := newReceiver(t, nil)
		w := newHookWorld(t, m)
		device := w.hotRule(t)
		w.channel(t, apitest.Object{"url": r.url})
		for range 9 {
			w.channel(t, apitest.Object{"url": slow.url})
		}
		w.raise(t, device, 1)
		slow.await(t, 9)
		start := time.Now()
		r.await(t, 1)
		w.raise(t, device, 2)
		w.raise(t, device, 2)
		hold(t, "the other channel has all", func() bool {
			sum := 0
			for _, got := range r.got() {
				sum += len(notified(t, got))
			}
			return sum == 4
		})
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := len(slow.got()); n != 9 {
			t.Errorf("%d requests to the receivers that do not answer", n)
		}
	})
}

func TestAChannelIsTestedChangedAndDeleted(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ hooked) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("invalid_token"))
		})
		w := newHookWorld(t, m)
		made := w.want(t, w.call(t, 0, "POST", channelsPath, w.user, apitest.Object{
			"name": "Chat", "kind": "slack", "url": r.url + "/services/0123456789/abcdefWXYZ", "types": []string{"alarm"},
		}), 201, "")
		id := made.text("id")
		if strings.Contains(made.raw, "abcdef") || made.body["secret"] != nil || !strings.HasSuffix(made.text("address"), "/…WXYZ") {
			t.Errorf("made: %s", made.raw)
		}
		tested := w.want(t, w.call(t, 1, "POST", channelsPath+"/"+id+"/test", w.user, nil), 200, "")
		if tested.body["status"] != 403.0 || tested.text("error") != "the receiver answered 403" || tested.text("answer") != "invalid_token" {
			t.Errorf("tested: %s", tested.raw)
		}
		got := w.want(t, w.call(t, 0, "GET", channelsPath+"/"+id, w.user, nil), 200, "")
		if got.text("last_error") != "the receiver answered 403" || got.body["failing_since"] == nil || strings.Contains(got.raw, "abcdef") {
			t.Errorf("got: %s", got.raw)
		}
		w.want(t, w.call(t, 0, "PATCH", channelsPath+"/"+id, w.user, apitest.Object{"name": "x"}, "If-Match", `"9"`), 412, "version_mismatch")
		after := w.want(t, w.call(t, 1, "PATCH", channelsPath+"/"+id, w.user, apitest.Object{"min_severity": "major", "enabled": false}), 200, "")
		if after.body["enabled"] != false || after.text("min_severity") != "major" || after.body["version"] != 2.0 {
			t.Errorf("changed: %s", after.raw)
		}
		w.want(t, w.call(t, 0, "PATCH", channelsPath+"/"+id, w.user, apitest.Object{"url": "http://10.0.0.1/x"}), 422, "validation_failed")
		w.want(t, w.call(t, 1, "DELETE", channelsPath+"/"+id, w.user, nil), 204, "")
		w.want(t, w.call(t, 0, "GET", channelsPath+"/"+id, w.user, nil), 404, "not_found")
	})
}

func TestQuietHoursAndDigestsAreSet(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newHookWorld(t, m)
		const path = "/users/me/notification-settings"
		body := apitest.Object{"types": apitest.Object{}, "devices": []any{}}
		if got := w.want(t, w.call(t, 0, "PUT", path, w.user, body), 200, ""); got.body["quiet_hours"] != nil || got.body["email_digest_minutes"] != 0.0 {
			t.Errorf("by default: %s", got.raw)
		}
		body["quiet_hours"], body["email_digest_minutes"] = apitest.Object{"start": "22:30", "end": "06:00"}, 15
		w.want(t, w.call(t, 0, "PUT", path, w.user, body), 200, "")
		got := w.want(t, w.call(t, 1, "GET", path, w.user, nil), 200, "")
		if quiet, _ := got.body["quiet_hours"].(map[string]any); quiet["start"] != "22:30" || quiet["end"] != "06:00" || got.body["email_digest_minutes"] != 15.0 {
			t.Errorf("set: %s", got.raw)
		}
		for _, wrong := range []apitest.Object{
			{"quiet_hours": apitest.Object{"start": "22:00", "end": "22:00"}}, {"quiet_hours": apitest.Object{"start": "24:00", "end": "06:00"}},
			{"quiet_hours": apitest.Object{"start": "22:00"}}, {"email_digest_minutes": -1}, {"email_digest_minutes": 1441},
		} {
			wrong["types"], wrong["devices"] = apitest.Object{}, []any{}
			w.want(t, w.call(t, 0, "PUT", path, w.user, wrong), 422, "validation_failed")
		}
	})
}
