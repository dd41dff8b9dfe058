package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/core/analytics"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/kv/memkv"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// logsWorld is an API over a real store with the devices a1 and a2 of ann and b1 of bob.
func logsWorld(t *testing.T, change ...func(*Options)) *API {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for id, owner := range map[string]string{"a1": "ann", "a2": "ann", "b1": "bob"} {
		_, err := store.CreateDevices(t.Context(), []hearth.Device{{
			ID: id, Name: "name of " + id, Type: "s", Status: hearth.StatusActive, Interval: 60, OwnerID: owner,
		}}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
	}
	devices, err := devices.New(devices.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(devices.Stop)
	cache, err := memkv.NewCache(memkv.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var logs *telemetry.Service
	counts, err := analytics.New(analytics.Options{
		Logs: store, Devices: store, Cache: cache, Flow: func(_ context.Context, _ hearth.Caller, reach hearth.Reach) analytics.Flow {
			return analytics.Flow{LogsPerSecond: logs.PerSecond(reach)}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, err = telemetry.New(telemetry.Options{Store: store, Audit: store, Directory: devices, Listener: counts})
	if err != nil {
		t.Fatal(err)
	}
	options := Options{
		Serving: rest.Options{
			Users: resttest.Tokens{"ann": {UserID: "ann", Role: hearth.RoleUser}, "bob": {UserID: "bob", Role: hearth.RoleUser}}, Devices: resttest.Tokens{"hd_a1": {DeviceID: "a1"}}, Idempotency: store, BatchBodyLimit: 1 << 20,
		}, Fleet: devices, Telemetry: logs, Analytics: counts,
	}
	for _, f := range change {
		f(&options)
	}
	a, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhatMakesEventsIsPublishedBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	waits := 0
	a := logsWorld(t, func(o *Options) { o.AwaitPublished = func(context.Context) { waits++ } })
	const entry = `{"event":"e","value":1}`
	for _, call := range []struct {
		logCall
		want int
	}{
		{logCall{name: "a log", method: "POST", path: "/devices/a1/logs", token: "ann", body: entry, status: 201}, 1},
		{logCall{name: "logs", method: "POST", path: "/logs", token: "ann", body: `[{"device_id":"a1","event":"e","value":1}]`, status: 201}, 1},
		{logCall{name: "a heartbeat", method: "POST", path: "/devices/a1/heartbeat", token: "ann", body: `{}`, status: 200}, 1},
		{logCall{name: "heartbeats", method: "POST", path: "/heartbeats", token: "ann", body: `{"items":[{"device_id":"a1"}]}`, status: 200}, 1},
		{logCall{name: "a refusal", method: "POST", path: "/devices/b1/logs", token: "ann", body: entry, status: 404, code: hearth.CodeNotFound}, 0},
		{logCall{name: "reading", method: "GET", path: "/devices/a1/logs", token: "ann", status: 200}, 0},
	} {
		waits = 0
		call.do(t, a)
		if waits != call.want {
			t.Errorf("%s waits %d times, want %d", call.name, waits, call.want)
		}
	}
}

// logCall is one request and what is expected of it.
type logCall struct {
	name, method, path, token, body string
	header                          map[string]string
	status                          int
	code                            hearth.Code
	contains                        string
}

func (c logCall) do(t *testing.T, a *API) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), c.method, "/api/v1"+c.path, strings.NewReader(c.body))
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	var problem rest.Problem
	if w.Code >= 400 {
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
			t.Fatalf("%s: %v in %s", c.name, err, w.Body)
		}
	}
	if w.Code != c.status || problem.Code != c.code || !strings.Contains(w.Body.String(), c.contains) {
		t.Errorf("%s: %d %s\nwant %d %s with %s", c.name, w.Code, w.Body, c.status, c.code, c.contains)
	}
	return w
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

func TestLogsAreTakenByTheContract(t *testing.T) {
	t.Parallel()
	a := logsWorld(t)
	item := func(device string) string { return fmt.Sprintf(`{"device_id":%q,"event":"e","value":1}`, device) }
	ndjson := map[string]string{"Content-Type": "application/x-ndjson"}
	ok := `{"event":"e","value":1.5}`
	future := time.Now().Add(25 * time.Hour).Format(time.RFC3339)
	for _, c := range []logCall{
		{name: "one log", method: "POST", path: "/devices/a1/logs", token: "ann", body: ok, status: 201, contains: `"value":1.5,"timestamp":"2`},
		{name: "an old one", method: "POST", path: "/devices/a1/logs", token: "ann", body: `{"event":"e","value":1,"timestamp":"0001-01-01T00:00:00+00:00"}`, status: 201, contains: `"timestamp":"0001-01-01T00:00:00.000Z"`},
		{name: "a device's own", method: "POST", path: "/devices/a1/logs", token: "hd_a1", body: ok, status: 201},
		{name: "a device's other", method: "POST", path: "/devices/a2/logs", token: "hd_a1", body: ok, status: 404, code: hearth.CodeNotFound},
		{name: "a foreign device", method: "POST", path: "/devices/b1/logs", token: "ann", body: ok, status: 404, code: hearth.CodeNotFound},
		{name: "no device", method: "POST", path: "/devices/x/logs", token: "ann", body: ok, status: 404, code: hearth.CodeNotFound},
		{name: "nobody", method: "POST", path: "/devices/a1/logs", body: ok, status: 401, code: hearth.CodeUnauthenticated},
		{name: "no body", method: "POST", path: "/devices/a1/logs", token: "ann", status: 400, code: hearth.CodeMalformedBody},
		{name: "not a number", method: "POST", path: "/devices/a1/logs", token: "ann", body: `{"event":"e","value":NaN}`, status: 400, code: hearth.CodeMalformedBody},
		{name: "out of range", method: "POST", path: "/devices/a1/logs", token: "ann", body: `{"event":"e","value":1e400}`, status: 422, code: hearth.CodeValidationFailed, contains: "body.value"},
		{name: "over the bound", method: "POST", path: "/devices/a1/logs", token: "ann", body: `{"event":"e","value":1.1e300}`, status: 422, code: hearth.CodeValidationFailed, contains: "body.value"},
		{name: "a far future", method: "POST", path: "/devices/a1/logs", token: "ann", body: `{"event":"e","value":1,"timestamp":"` + future + `"}`, status: 422, code: hearth.CodeValidationFailed, contains: "body.timestamp"},
		{name: "an unknown field", method: "POST", path: "/devices/a1/logs", token: "ann", body: `{"event":"e","value":1,"device_id":"a1"}`, status: 422, code: hearth.CodeValidationFailed, contains: "body.device_id"},
		{name: "another type", method: "POST", path: "/devices/a1/logs", token: "ann", body: ok, header: map[string]string{"Content-Type": "text/plain"}, status: 415, code: hearth.CodeUnsupportedMediaType},

		{name: "an array", method: "POST", path: "/logs", token: "ann", body: "[" + item("a1") + "," + item("a2") + "]", status: 201, contains: `{"accepted":2}`},
		{name: "an empty array", method: "POST", path: "/logs", token: "ann", body: "[]", status: 201, contains: `{"accepted":0}`},
		{name: "lines", method: "POST", path: "/logs", token: "ann", body: item("a1") + "\n" + item("a2") + "\n", header: ndjson, status: 201, contains: `{"accepted":2}`},
		{name: "packed", method: "POST", path: "/logs", token: "ann", body: zip(t, "["+item("a1")+"]"), header: map[string]string{"Content-Encoding": "gzip"}, status: 201, contains: `{"accepted":1}`},
		{name: "a bomb", method: "POST", path: "/logs", token: "ann", body: zip(t, "["+strings.Repeat(" ", 2<<20)+"]"), header: map[string]string{"Content-Encoding": "gzip"}, status: 413, code: hearth.CodePayloadTooLarge},
		{name: "too large", method: "POST", path: "/logs", token: "ann", body: "[" + strings.Repeat(" ", 2<<20) + "]", status: 413, code: hearth.CodePayloadTooLarge},
		{name: "a device's own batch", method: "POST", path: "/logs", token: "hd_a1", body: "[" + item("a1") + "]", status: 201},
		{name: "a device's batch without its id", method: "POST", path: "/logs", token: "hd_a1", body: `[{"event":"own","value":1},{"device_id":null,"event":"own","value":1},{"value":1,"event":"own","device_id":"a1"}]`, status: 201, contains: `{"accepted":3}`},
		{name: "a user's batch without a device", method: "POST", path: "/logs", token: "ann", body: `[{"event":"own","value":1}]`, status: 422, code: hearth.CodeValidationFailed, contains: `"body[0].device_id","message":"is required"`},
		{name: "twenty logs of two wrong fields", method: "POST", path: "/logs", token: "ann", body: "[" + strings.Repeat(`{"event":1,"value":null},`, 30) + "{}]", status: 422, code: hearth.CodeValidationFailed, contains: `body[19].value`},
		{name: "a user's batch with none", method: "POST", path: "/logs", token: "ann", body: `[{"device_id":null,"event":"own","value":1}]`, status: 422, code: hearth.CodeValidationFailed, contains: `body[0].device_id`},
		{name: "a device's batch for another", method: "POST", path: "/logs", token: "hd_a1", body: "[" + item("a1") + "," + item("a2") + "]", status: 404, code: hearth.CodeNotFound},
		{name: "a batch with a foreign device", method: "POST", path: "/logs", token: "ann", body: "[" + item("a1") + "," + item("b1") + "]", status: 422, code: hearth.CodeValidationFailed, contains: "body[1].device_id"},
		{
			name: "every fault of a batch", method: "POST", path: "/logs", token: "ann", status: 422, code: hearth.CodeValidationFailed,
			body: `[{"device_id":"b1","event":"e","value":1},{"device_id":"a1","event":"a b","value":null,"timestamp":"9000-01-01T00:00:00Z","x":1},7,` +
				`{"event":"","value":"` + strings.Repeat("x", 257) + `"}]`,
			contains: `"errors":[{"location":"body[0].device_id","message":"is not one of your devices"},` +
				`{"location":"body[1].value","message":"must be a number, a boolean or a string"},{"location":"body[1].x","message":"is not a known field"},` +
				`{"location":"body[1].event","message":"must be 1 to 64 letters, digits and _.:*/-"},` +
				`{"location":"body[1].timestamp","message":"is more than 24 hours in the future"},{"location":"body[2]","message":"must be an object"},` +
				`{"location":"body[3].value","message":"` + hearth.TextRule + `"},{"location":"body[3].device_id","message":"is required"},` +
				`{"location":"body[3].event","message":"must be 1 to 64 letters, digits and _.:*/-"}]`,
		},
		{
			name: "every fault of a log", method: "POST", path: "/devices/a1/logs", token: "ann", status: 422, code: hearth.CodeValidationFailed,
			body:     `{"event":"a b"}`,
			contains: `"errors":[{"location":"body.value","message":"is required"},{"location":"body.event","message":"must be 1 to 64 letters, digits and _.:*/-"}]`,
		},
		{name: "a cut batch", method: "POST", path: "/logs", token: "ann", body: "[" + item("a1"), status: 400, code: hearth.CodeMalformedBody},
		{name: "keys twice", method: "POST", path: "/logs", token: "ann", body: `[{"device_id":"a1","device_id":"a2","event":"e","value":1}]`, status: 400, code: hearth.CodeMalformedBody},
		{name: "no array", method: "POST", path: "/logs", token: "ann", body: item("a1"), status: 422, code: hearth.CodeValidationFailed},
		{name: "a text where a device belongs", method: "POST", path: "/logs", token: "ann", body: `[{"device_id":{"$ne":""},"event":"e","value":1}]`, status: 422, code: hearth.CodeValidationFailed, contains: "body[0].device_id"},
		{name: "too many", method: "POST", path: "/logs", token: "ann", body: "[" + strings.Repeat("{},", hearth.MaxLogBatch) + "{}]", status: 422, code: hearth.CodeValidationFailed},

		{name: "the list", method: "GET", path: "/devices/a1/logs?count=true&fields=value&range=1h", token: "ann", status: 200, contains: `{"items":[{"value":1},`},
		{name: "a device reads no list", method: "GET", path: "/devices/a1/logs", token: "hd_a1", status: 403, code: hearth.CodeForbidden},
		{name: "a device's own device", method: "GET", path: "/devices/me", token: "hd_a1", status: 200, contains: `{"id":"a1",`},
		{name: "a user's own device", method: "GET", path: "/devices/me", token: "ann", status: 404, code: hearth.CodeNotFound},
		{name: "a foreign list", method: "GET", path: "/devices/b1/logs", token: "ann", status: 404, code: hearth.CodeNotFound},
		{name: "another order", method: "GET", path: "/devices/a1/logs?order=up", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.order"},
		{name: "a broken cursor", method: "GET", path: "/devices/a1/logs?cursor=x", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.cursor"},

		{name: "the latest", method: "GET", path: "/devices/a2/latest", token: "ann", status: 200, contains: `{"items":[{"event":"e","value":1,"timestamp":"2`},
		{name: "the latest of another event", method: "GET", path: "/devices/a2/latest?event=f,g", token: "ann", status: 200, contains: `{"items":[]}`},
		{name: "the latest of no event", method: "GET", path: "/devices/a2/latest?event=e,,f", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.event"},
		{name: "a foreign device's latest", method: "GET", path: "/devices/b1/latest", token: "ann", status: 404, code: hearth.CodeNotFound},
		{name: "a device's latest", method: "GET", path: "/devices/a1/latest", token: "hd_a1", status: 403, code: hearth.CodeForbidden},
		{name: "the latest in a list", method: "GET", path: "/devices?include=latest&fields=id,latest&sort=name&limit=1", token: "ann", status: 200, contains: `{"items":[{"id":"a1","latest":{"e":{"value":1`},
		{name: "a list with something else", method: "GET", path: "/devices?include=logs", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.include"},

		{name: "a deletion", method: "DELETE", path: "/devices/a1/logs?from=0001-01-01T00:00:00Z&to=0001-01-01T01:00:00Z&event=e", token: "ann", status: 200, contains: `{"deleted":1}`},
		{name: "a deletion again", method: "DELETE", path: "/devices/a1/logs?from=0001-01-01T00:00:00Z&to=0001-01-01T01:00:00Z", token: "ann", status: 200, contains: `{"deleted":0}`},
		{name: "a deletion without an end", method: "DELETE", path: "/devices/a1/logs?from=0001-01-01T00:00:00Z", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.to"},
		{name: "a deletion without a beginning", method: "DELETE", path: "/devices/a1/logs?from=&to=0001-01-01T00:00:00Z", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.from"},
		{name: "a deletion of an event without a name", method: "DELETE", path: "/devices/a1/logs?from=0001-01-01T00:00:00Z&to=9999-01-01T00:00:00Z&event=", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.event"},
		{name: "a deletion backwards", method: "DELETE", path: "/devices/a1/logs?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", token: "ann", status: 422, code: hearth.CodeValidationFailed, contains: "query.from"},
		{name: "a foreign deletion", method: "DELETE", path: "/devices/b1/logs?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", token: "ann", status: 404, code: hearth.CodeNotFound},
		{name: "a device's deletion", method: "DELETE", path: "/devices/a1/logs?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", token: "hd_a1", status: 403, code: hearth.CodeForbidden},
	} {
		c.do(t, a)
	}
	// What was accepted is there, but for the one that was deleted: two by hand and seven in batches of a1, two of a2.
	for device, want := range map[string]int{"a1": 9, "a2": 2} {
		w := logCall{name: "the total", method: "GET", path: "/devices/" + device + "/logs?count=true", token: "ann", status: 200}.do(t, a)
		if !strings.Contains(w.Body.String(), fmt.Sprintf(`"total":%d`, want)) {
			t.Errorf("%s: %s, want %d", device, w.Body, want)
		}
	}
}

func TestALogKeepsTheTypeOfItsValue(t *testing.T) {
	t.Parallel()
	a := logsWorld(t)
	var items []string
	values := []string{`21.5`, `true`, `false`, `"true"`, `"1"`, `" <&> é😀 \u2028 \"\\ "`, `-1e-7`, `0`}
	for i, value := range values {
		fields := fmt.Sprintf(`"event":"door/1*","value":%s,"timestamp":"2026-03-01T10:20:%02dZ"`, value, i)
		want := strings.ReplaceAll(value, `\u2028`, "\u2028")
		key := map[string]string{"Idempotency-Key": fmt.Sprintf("one-%d", i)}
		one := logCall{method: "POST", path: "/devices/a1/logs", token: "ann", body: "{" + fields + "}", header: key, status: 201, contains: `"value":` + want + `,"timestamp"`}
		one.do(t, a)
		one.do(t, a) // answered again
		items = append(items, `{"device_id":"a2",`+fields+"}")
	}
	logCall{method: "POST", path: "/logs", token: "ann", body: "[" + strings.Join(items, ",") + "]", status: 201, contains: `{"accepted":8}`}.do(t, a)
	for _, device := range []string{"a1", "a2"} {
		w := logCall{method: "GET", path: "/devices/" + device + "/logs?order=asc&fields=value&event=door/1*", token: "ann", status: 200}.do(t, a)
		var list struct {
			Items []struct{ Value json.RawMessage }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Items) != len(values) {
			t.Fatalf("%v: %s", err, w.Body)
		}
		for i, item := range list.Items {
			if want := strings.ReplaceAll(values[i], `\u2028`, "\u2028"); string(item.Value) != want {
				t.Errorf("%s is listed as %s", want, item.Value)
			}
		}
	}
	for value, message := range map[string]string{
		`null`: "must be a number, a boolean or a string", `{}`: "must be a number, a boolean or a string", `""`: hearth.TextRule,
		`"\u0000"`: hearth.TextRule, `"a\nb"`: hearth.TextRule, `"` + strings.Repeat("é", 257) + `"`: hearth.TextRule,
	} {
		logCall{
			name: value, method: "POST", path: "/logs", token: "ann", status: 422, code: hearth.CodeValidationFailed,
			body:     `[{"device_id":"a1","event":"e","value":1},{"device_id":"a1","event":"e","value":` + value + `}]`,
			contains: `"errors":[{"location":"body[1].value","message":"` + message + `"}]`,
		}.do(t, a)
	}
	for _, value := range []string{`"\ud800"`, "\"\xff\"", "\"a\x00\"", `"\x"`, `True`} {
		logCall{
			name: value, method: "POST", path: "/devices/a1/logs", token: "ann", status: 400, code: hearth.CodeMalformedBody,
			body: `{"event":"e","value":` + value + `}`,
		}.do(t, a)
	}
}

func TestAnalyticsCountStringsAndSumTheRest(t *testing.T) {
	t.Parallel()
	a := logsWorld(t)
	logCall{method: "POST", path: "/logs", token: "ann", status: 201, body: `[` +
		`{"device_id":"a1","event":"mode","value":"on","timestamp":"2026-03-01T10:20:00Z"},` +
		`{"device_id":"a1","event":"mode","value":"off","timestamp":"2026-03-01T10:21:00Z"},` +
		`{"device_id":"a2","event":"e","value":true,"timestamp":"2026-03-01T10:20:00Z"},` +
		`{"device_id":"a2","event":"e","value":false,"timestamp":"2026-03-01T10:21:00Z"},` +
		`{"device_id":"a2","event":"e","value":"x","timestamp":"2026-03-01T10:22:00Z"},` +
		`{"device_id":"a2","event":"e","value":5,"timestamp":"2026-03-01T10:23:00Z"}]`}.do(t, a)
	day := "from=2026-03-01T10:00:00Z&to=2026-03-01T13:00:00Z"
	none := `"average":null,"min":null,"max":null`
	some := `"average":2,"min":0,"max":5`
	for _, c := range []logCall{
		{path: "/devices/a1/usage?" + day, contains: `"summary":{"count":2,"total":0,` + none + `,"p50":null,"p95":null,"p99":null`},
		{path: "/devices/a1/usage?" + day, contains: `"trend":[{"at":"2026-03-01T10:00:00.000Z","count":2,"total":0,` + none},
		{path: "/devices/a2/usage?" + day, contains: `"summary":{"count":4,"total":6,` + some},
		{path: "/analytics/trends?interval=hour&event=mode&" + day, contains: `"count":2,"total":0,` + none},
		{path: "/analytics/trends?interval=hour&" + day, contains: `"count":6,"total":6,` + some},
		{path: "/analytics/events?" + day, contains: `{"event":"mode","count":2,"total_value":0,` + none + `,"p50":null,"p95":null,"p99":null}`},
		{path: "/analytics/events?" + day, contains: `{"event":"e","count":4,"total_value":6,` + some},
		{path: "/analytics/comparison?device_ids=a1,a2&" + day, contains: `"summary":{"count":2,"total":0,` + none},
		{path: "/analytics/dashboard?" + day, contains: `"logs":6,"total_value":6}`},
	} {
		c.name, c.method, c.token, c.status = c.path, "GET", "ann", 200
		c.do(t, a)
	}
}

func TestARepeatedLogIsAnsweredAsTheFirst(t *testing.T) {
	t.Parallel()
	a := logsWorld(t)
	key := map[string]string{"Idempotency-Key": "k"}
	for path, bodies := range map[string][2]string{
		"/devices/a1/logs": {`{"event":"e","value":1}`, `{"event":"e","value":2}`},
		"/logs":            {`[{"device_id":"a1","event":"e","value":1}]`, `[{"device_id":"a1","event":"f","value":1}]`},
	} {
		c := logCall{name: path, method: "POST", path: path, token: "ann", body: bodies[0], header: key, status: 201}
		first, second := c.do(t, a), c.do(t, a)
		if first.Body.String() != second.Body.String() || second.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: first %s, then %s", path, first.Body, second.Body)
		}
		key["Idempotency-Key"] += "2"
		c.body, c.status, c.code = bodies[1], 409, hearth.CodeIdempotencyMismatch
		c.header = map[string]string{"Idempotency-Key": strings.TrimSuffix(key["Idempotency-Key"], "2")}
		c.do(t, a)
	}
	logCall{name: "the total", method: "GET", path: "/devices/a1/logs?count=true", token: "ann", status: 200, contains: `"total":2`}.do(t, a)
}

func TestAnalyticsAnswerByTheContract(t *testing.T) {
	t.Parallel()
	a := logsWorld(t)
	logCall{name: "two values", method: "POST", path: "/logs", token: "ann", status: 201, body: `[` +
		`{"device_id":"a1","event":"e","value":1,"timestamp":"2026-03-01T10:20:00Z"},` +
		`{"device_id":"a1","event":"e","value":4,"timestamp":"2026-03-01T12:59:59.999Z"}]`}.do(t, a)
	day := "from=2026-03-01T10:10:00Z&to=2026-03-01T13:00:00Z"
	figures := `"count":2,"total":5,"average":2.5,"min":1,"max":4`
	trend := `"trend":[{"at":"2026-03-01T10:00:00.000Z","count":1,"total":1,"average":1,"min":1,"max":1,"first":null,"last":null,"increase":null},` +
		`{"at":"2026-03-01T12:00:00.000Z","count":1,"total":4,"average":4,"min":4,"max":4,"first":null,"last":null,"increase":null}]`
	for _, c := range []logCall{
		{name: "usage", path: "/devices/a1/usage?" + day, status: 200, contains: `"interval":"hour","summary":{` + figures},
		{name: "usage's trend", path: "/devices/a1/usage?" + day, status: 200, contains: trend},
		{name: "an empty usage", path: "/devices/a2/usage?" + day, status: 200, contains: `"summary":{"count":0,"total":0,"average":null,"min":null,"max":null,"p50":null,"p95":null,"p99":null,"first":null,"last":null,"increase":null},"trend":[]}`},
		{name: "a comparison", path: "/analytics/comparison?device_ids=a2,a1&" + day, status: 200, contains: `"device_id":"a1","device_name":"name of a1","summary":{` + figures},
		{name: "trends", path: "/analytics/trends?interval=hour&event=e&" + day, status: 200, contains: `"average":4,"min":4,"max":4,"first":null,"last":null,"increase":3}]`},
		{name: "no trends", path: "/analytics/trends?event=x&" + day, status: 200, contains: `"trend":[]}`},
		{name: "events", path: "/analytics/events?" + day, status: 200, contains: `"events":[{"event":"e","count":2,"total_value":5,"average":2.5,"min":1,"max":4,"p50":1`},
		{name: "the dashboard", path: "/analytics/dashboard?" + day, status: 200, contains: `"summary":{"total_devices":2,"active_devices":2,"online_devices":0,"total_logs":2,"logs":2,"total_value":5},"devices":[{"device_id":"a1","device_name":"name of a1","device_type":"s","log_count":2,"total_value":5,"last_active_at":null}],"trend":[{"at":"2026-03-01T10:00:00.000Z","log_count":1,"total_value":1},`},
		{name: "of nothing", path: "/analytics/dashboard", status: 200, contains: `"total_logs":2,"logs":0,"total_value":0},"devices":[],"trend":[],"events":[]}`},
		{name: "an end that is not counted", path: "/analytics/events?from=2026-03-01T10:20:00Z&to=2026-03-01T12:59:59.999Z", status: 200, contains: `"count":1,"total_value":1,`},
		{name: "realtime", path: "/analytics/realtime", status: 200, contains: `"online_devices":0,"active_devices":2,"heartbeats_per_second":0,"logs_per_second":0.2,"connections":0}`},

		{name: "range beside from", path: "/analytics/events?range=1h&" + day, status: 422, code: hearth.CodeValidationFailed, contains: "query.range"},
		{name: "a strange range", path: "/analytics/events?range=1y", status: 422, code: hearth.CodeValidationFailed, contains: "query.range"},
		{name: "backwards", path: "/analytics/events?to=2026-03-01T10:10:00Z&from=2026-03-01T13:00:00Z", status: 422, code: hearth.CodeValidationFailed, contains: "query.from"},
		{name: "empty", path: "/analytics/events?to=2026-03-01T10:10:00Z&from=2026-03-01T10:10:00Z", status: 422, code: hearth.CodeValidationFailed, contains: "query.from"},
		{name: "an end alone", path: "/analytics/events?to=2026-03-01T10:10:00Z", status: 422, code: hearth.CodeValidationFailed, contains: "query.from"},
		{name: "no time", path: "/analytics/events?from=yesterday", status: 422, code: hearth.CodeValidationFailed, contains: "query.from"},
		{name: "another interval", path: "/analytics/trends?interval=year", status: 422, code: hearth.CodeValidationFailed, contains: "query.interval"},
		{name: "too fine an interval", path: "/analytics/trends?interval=minute&range=365d", status: 422, code: hearth.CodeValidationFailed, contains: "query.interval"},
		{name: "one device", path: "/analytics/comparison?device_ids=a1", status: 422, code: hearth.CodeValidationFailed, contains: "query.device_ids"},
		{name: "no devices", path: "/analytics/comparison", status: 422, code: hearth.CodeValidationFailed, contains: "query.device_ids"},
		{name: "a foreign device", path: "/analytics/comparison?device_ids=a1,b1", status: 404, code: hearth.CodeNotFound},
		{name: "a foreign usage", path: "/devices/b1/usage", status: 404, code: hearth.CodeNotFound},
		{name: "a foreign organization", path: "/analytics/dashboard?organization_id=o", status: 404, code: hearth.CodeNotFound},
	} {
		c.method, c.token = "GET", "ann"
		c.do(t, a)
		c.token, c.status, c.code, c.contains = "hd_a1", 403, hearth.CodeForbidden, ""
		c.do(t, a)
	}
	w := logCall{name: "a tag", method: "GET", path: "/analytics/events?" + day, token: "ann", status: 200}.do(t, a)
	logCall{
		name: "nothing new", method: "GET", path: "/analytics/events?" + day, token: "ann", status: 304,
		header: map[string]string{"If-None-Match": w.Header().Get("ETag")},
	}.do(t, a)
}

// A log that is written by hand reads as if package json had written it.
func TestALogIsWrittenAsPackageJSONWritesIt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
	for _, value := range []any{
		0.0, 21.5, -3.0, 1e-6, 9.99e-7, -1e-9, 1e20, 1e21, 1e300, -1e300, 0.1, 123456789.125, true, false, "on", "a <b> & \"c\" \\ é 😀",
	} {
		log := hearth.Log{ID: hearth.LogID(7), DeviceID: "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", Event: "a.b_c:*/-1", At: at}
		switch v := value.(type) {
		case float64:
			log.Value = hearth.Number(v)
		case bool:
			log.Value = hearth.Boolean(v)
		case string:
			log.Value = hearth.Text(v)
		}
		got, err := wireLog(log).append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(struct {
			ID        string    `json:"id"`
			DeviceID  string    `json:"device_id"`
			Event     string    `json:"event"`
			Value     any       `json:"value"`
			Timestamp rest.Time `json:"timestamp"`
		}{log.ID, log.DeviceID, log.Event, value, rest.Time(at)}); err != nil {
			t.Fatal(err)
		}
		if string(got)+"\n" != want.String() {
			t.Errorf("%v is written as\n%s, want\n%s", value, got, want.String())
		}
	}
}
