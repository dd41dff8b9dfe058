package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
)

// twinFixture is a device of ann's, whose calls go to the instances in turn.
type twinFixture struct {
	*instances
	t              *testing.T
	user, token    string
	device, prefix string
}

func newTwinFixture(t *testing.T, m apitest.Mode) *twinFixture {
	t.Helper()
	f := &twinFixture{instances: newInstances(t, m), t: t}
	f.signUp(t, "ann@example.com")
	f.user = f.login(t, "ann@example.com").text("access_token")
	f.device = f.want(t, f.call(t, 0, "POST", "/devices", f.user, apitest.Object{"name": "lamp", "type": "lamp"}), 201, "").text("id")
	f.prefix = "/devices/" + f.device + "/twin"
	f.token = f.want(t, f.call(t, 0, "POST", "/devices/"+f.device+"/tokens", f.user, nil), 201, "").text("token")
	return f
}

func (f *twinFixture) patch(instance int, side, token, body string, header ...string) reply {
	f.t.Helper()
	return f.call(f.t, instance, "PATCH", f.prefix+"/"+side, token, body, header...)
}

// compact returns a field of an answer as JSON.
func (r reply) compact(t *testing.T, field string) string {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(r.raw), &all); err != nil {
		t.Fatal(err)
	}
	return string(all[field])
}

func (f *twinFixture) wantTwin(r reply, desired, reported, delta string, desiredVersion, reportedVersion int) {
	f.t.Helper()
	got := fmt.Sprint(r.status, " ", r.compact(f.t, "desired"), r.compact(f.t, "reported"), r.compact(f.t, "delta"), " ", r.compact(f.t, "desired_version"), " ", r.compact(f.t, "reported_version"))
	if want := fmt.Sprint("200 ", desired, reported, delta, " ", desiredVersion, " ", reportedVersion); got != want {
		f.t.Errorf("the twin is %s, want %s", got, want)
	}
}

func TestATwinTellsADeviceWhatIsLeftToDo(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		f := newTwinFixture(t, m)
		ann := &apitest.Client{URL: f.urls[0], Token: f.user}
		events := ann.Stream(t, "&channels=device:"+f.device)
		empty := f.call(t, 1, "GET", f.prefix, f.token, nil)
		f.wantTwin(empty, `{}`, `{}`, `{}`, 0, 0)
		if empty.body["desired_at"] != nil || empty.body["reported_at"] != nil || empty.text("device_id") != f.device {
			t.Errorf("an empty twin is %s", empty.raw)
		}

		merge := []string{"Content-Type", "application/merge-patch+json"}
		first := f.patch(0, "desired", f.user, `{"on":true,"color":{"r":255,"g":1.0},"level":12345678901234567890}`, merge...)
		desired := `{"color":{"g":1.0,"r":255},"level":12345678901234567890,"on":true}`
		f.wantTwin(first, desired, `{}`, desired, 1, 0)
		// The next heartbeat says so on every instance, without another question.
		for i := range m.Instances {
			beat := f.want(t, f.call(t, i, "POST", "/devices/"+f.device+"/heartbeat", f.token, nil), 200, "")
			if got := beat.compact(t, "pending"); got != `{"commands":0,"desired_version":1}` {
				t.Errorf("instance %d answers a heartbeat with %s", i, got)
			}
		}
		reported := f.patch(1, "reported", f.token, `{"on":true,"color":{"g":1,"b":0},"firmware":"1.2"}`)
		f.wantTwin(reported, desired, `{"color":{"b":0,"g":1},"firmware":"1.2","on":true}`, `{"color":{"r":255},"level":12345678901234567890}`, 1, 1)
		again := f.patch(0, "desired", f.user, `{"on":true,"nothing":null}`)
		if again.raw != reported.raw || again.header.Get("ETag") != reported.header.Get("ETag") {
			t.Errorf("a patch of nothing made %s of %s", again.raw, reported.raw)
		}
		settled := f.patch(1, "reported", f.token, reported.compact(t, "delta"))
		if got := settled.compact(t, "delta"); got != `{}` {
			t.Errorf("after the delta, %s is left", got)
		}
		f.patch(0, "desired", f.user, `{"color":null,"level":null,"on":null}`)
		f.wantTwin(f.call(t, 1, "GET", f.prefix, f.user, nil), `{}`, settled.compact(t, "reported"), `{}`, 2, 2)

		var got []string
		for len(got) < 4 {
			select {
			case line := <-events:
				if data, ok := strings.CutPrefix(line, "data: "); ok && strings.Contains(data, `"device-twin"`) {
					_, data, _ = strings.Cut(data, `"data":`)
					got = append(got, strings.TrimSuffix(data, "}"))
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("the stream has only %v", got)
			}
		}
		for i, want := range []string{
			`1,"reported_version":0,"delta":` + desired, `1,"reported_version":1,"delta":{"color":{"r":255},"level":12345678901234567890}`,
			`1,"reported_version":2,"delta":{}`, `2,"reported_version":2,"delta":{}`,
		} {
			if want = `{"device_id":"` + f.device + `","desired_version":` + want + `}`; got[i] != want {
				t.Errorf("event %d is %s, want %s", i, got[i], want)
			}
		}

		// The audit has what users desired, and not what the device reported.
		audit := f.want(t, f.call(t, 0, "GET", "/admin/audit?action=twin.update", f.admin, nil), 200, "")
		if items, _ := audit.body["items"].([]any); len(items) != 2 || !strings.Contains(audit.raw, `"after":{"color":{"g":1,"r":255}`) {
			t.Errorf("the audit has %s", audit.raw)
		}
		f.want(t, f.patch(0, "desired", f.user, `{"long":"`+strings.Repeat("x", 2000)+`"}`), 200, "")
		audit = f.want(t, f.call(t, 0, "GET", "/admin/audit?action=twin.update", f.admin, nil), 200, "")
		if !strings.Contains(audit.raw, `"after":{"bytes":2011}`) || strings.Contains(audit.raw, "xxx") {
			t.Errorf("the audit has a copy of what is long: %s", audit.raw)
		}
		f.want(t, f.call(t, 0, "DELETE", "/devices/"+f.device, f.user, nil), 204, "")
		f.want(t, f.call(t, 0, "GET", f.prefix, f.user, nil), 404, hearth.CodeNotFound)
		f.want(t, f.patch(0, "reported", f.user, `{"a":1}`), 404, hearth.CodeNotFound)
	})
}

func TestATwinIsChangedOnlyAsItWasRead(t *testing.T) {
	t.Parallel()
	f := newTwinFixture(t, apitest.Embedded)
	empty := f.call(t, 0, "GET", f.prefix, f.user, nil).header.Get("ETag")
	first := f.want(t, f.patch(0, "desired", f.user, `{"a":1}`, "If-Match", empty), 200, "").header.Get("ETag")
	f.want(t, f.patch(0, "desired", f.user, `{"a":2}`, "If-Match", empty), 412, hearth.CodeVersionMismatch)
	f.want(t, f.patch(0, "desired", f.user, `{"a":2}`, "If-Match", `"nonsense"`), 412, hearth.CodeVersionMismatch)
	f.want(t, f.patch(0, "desired", f.user, `{"a":2}`, "If-Match", empty+", "+first), 200, "")
	f.want(t, f.patch(0, "desired", f.user, `{"a":3}`, "If-Match", "*"), 200, "")
	// The other side does not count.
	f.want(t, f.patch(0, "reported", f.token, `{"a":1}`, "If-Match", empty), 200, "")
	f.want(t, f.patch(0, "reported", f.token, `{"a":2}`, "If-Match", empty), 412, hearth.CodeVersionMismatch)
	// A change of nothing is held against the condition too.
	f.want(t, f.patch(0, "reported", f.token, `{"a":1}`, "If-Match", empty), 412, hearth.CodeVersionMismatch)

	now := f.call(t, 0, "GET", f.prefix, f.user, nil)
	f.wantTwin(now, `{"a":3}`, `{"a":1}`, `{"a":3}`, 3, 1)
	client := &apitest.Client{URL: f.urls[0], Token: f.user}
	if a := client.Ask(t, "GET", f.prefix, nil, "If-None-Match", now.header.Get("ETag")); a.Status != 304 || len(a.Body) > 0 {
		t.Errorf("an unchanged twin is answered %d %s", a.Status, a.Body)
	}
	if a := client.Ask(t, "GET", f.prefix, nil, "If-None-Match", first); a.Status != 200 {
		t.Errorf("a changed twin is answered %d", a.Status)
	}
}

func TestBadPatchesOfATwinAreRefused(t *testing.T) {
	t.Parallel()
	f := newTwinFixture(t, apitest.Embedded)
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	many := func(n int) string {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"k%d":%d`, i, i))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	for body, code := range map[string]hearth.Code{
		"": hearth.CodeMalformedBody, "{": hearth.CodeMalformedBody, `{"a":1,"a":2}`: hearth.CodeMalformedBody, `{"a":{"b":1,"\u0062":2}}`: hearth.CodeMalformedBody,
		`{"a":1}{}`: hearth.CodeMalformedBody, "{\"\xff\":1}": hearth.CodeMalformedBody, `{"\ud800":1}`: hearth.CodeMalformedBody, `{"a":NaN}`: hearth.CodeMalformedBody,
		strings.Repeat(`{"a":`, 100_000): hearth.CodeMalformedBody, nested(100): hearth.CodeMalformedBody,
		"null": hearth.CodeValidationFailed, "[]": hearth.CodeValidationFailed, `"a"`: hearth.CodeValidationFailed, "1": hearth.CodeValidationFailed,
		`{"a":1e400}`: hearth.CodeValidationFailed, `{"a":1e-400}`: hearth.CodeValidationFailed, `{"\u0000":1}`: hearth.CodeValidationFailed,
		nested(9): hearth.CodeValidationFailed, many(4000): hearth.CodeValidationFailed, many(60_000): hearth.CodeValidationFailed,
		`{"a":"` + strings.Repeat("x", 33<<10) + `"}`: hearth.CodeValidationFailed, `{"a":"` + strings.Repeat("x", 1<<20) + `"}`: hearth.CodePayloadTooLarge,
	} {
		for _, side := range []string{"desired", "reported"} {
			status := map[hearth.Code]int{hearth.CodeMalformedBody: 400, hearth.CodeValidationFailed: 422, hearth.CodePayloadTooLarge: 413}[code]
			if r := f.patch(0, side, f.user, body); r.status != status || r.code() != code {
				t.Errorf("%.50s: %d %s, want %d", body, r.status, r.raw, status)
			}
		}
	}
	f.want(t, f.patch(0, "desired", f.user, "a: 1", "Content-Type", "application/yaml"), 415, hearth.CodeUnsupportedMediaType)
	f.want(t, f.patch(0, "desired", f.user, "[]", "Content-Type", "application/json-patch+json"), 415, hearth.CodeUnsupportedMediaType)
	f.want(t, f.patch(0, "desired", f.token, `{"a":1}`), 403, hearth.CodeForbidden)
	f.wantTwin(f.call(t, 0, "GET", f.prefix, f.user, nil), `{}`, `{}`, `{}`, 0, 0)

	for _, odd := range []string{nested(8), `{"$set":{"a.b":1,"$ne":null,"":0},"__proto__":{"x":[null]},"é":"\"\\/\u2028"}`} {
		r := f.want(t, f.patch(0, "reported", f.token, odd, "Content-Type", "application/json; charset=utf-8"), 200, "")
		if r.compact(t, "reported_version") == "0" {
			t.Errorf("%s was not taken: %s", odd, r.raw)
		}
	}
	if got := f.call(t, 0, "GET", f.prefix, f.token, nil).compact(t, "reported"); !strings.Contains(got, `"$set":{"":0,"a.b":1}`) || !strings.Contains(got, `"__proto__":{"x":[null]}`) {
		t.Errorf("odd names came back as %s", got)
	}
}

// Users and the device change both sides of one twin at once, at every instance. Each of their keys is there in the end.
func TestPatchesFromManySidesLoseNothing(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		const writers, each = 16, 40
		f := newTwinFixture(t, m)
		start := time.Now()
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				side, token := "desired", f.user
				if w%2 == 1 {
					side, token = "reported", f.token
				}
				for n := range each {
					if r := f.patch(w/2, side, token, fmt.Sprintf(`{"w%d":{"k%d":%d}}`, w, n, n)); r.status != 200 {
						t.Errorf("writer %d: %d %s", w, r.status, r.raw)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%.0f patches a second", writers*each/time.Since(start).Seconds())
		var twin struct {
			Desired         map[string]map[string]int `json:"desired"`
			Reported        map[string]map[string]int `json:"reported"`
			DesiredVersion  int                       `json:"desired_version"`
			ReportedVersion int                       `json:"reported_version"`
		}
		if err := json.Unmarshal([]byte(f.call(t, 0, "GET", f.prefix, f.user, nil).raw), &twin); err != nil {
			t.Fatal(err)
		}
		keys := 0
		for _, side := range []map[string]map[string]int{twin.Desired, twin.Reported} {
			for _, of := range side {
				keys += len(of)
			}
		}
		if half := writers * each / 2; keys != 2*half || twin.DesiredVersion != half || twin.ReportedVersion != half {
			t.Errorf("%d keys in the versions %d and %d, want %d in %d each", keys, twin.DesiredVersion, twin.ReportedVersion, 2*half, half)
		}
	})
}
