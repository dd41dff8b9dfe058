package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/core/devices"
	"hearth/internal/core/orgs"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// fixture is the API over real devices, organizations and store. The users are ann, bob and carl, and root, an admin.
type fixture struct {
	t    testing.TB
	api  *API
	orgs *orgs.Service
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	devices, err := devices.New(devices.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	organizations, err := orgs.New(orgs.Options{Store: store, Users: store, Secret: bytes.Repeat([]byte("s"), 32)})
	if err != nil {
		t.Fatal(err)
	}
	tokensOf := resttest.Tokens{"root": {UserID: "root", Role: hearth.RoleAdmin}}
	for _, name := range []string{"ann", "bob", "carl"} {
		tokensOf[name] = hearth.Caller{UserID: name, Role: hearth.RoleUser}
		err := store.CreateUser(t.Context(), hearth.User{
			ID: name, Name: name, Email: name + "@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x"),
		}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
	}
	devices.Start()
	t.Cleanup(func() {
		devices.Stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	a, err := New(Options{
		People:  people.Services{Organizations: organizations},
		Serving: rest.Options{Users: tokensOf, Devices: devices, Roles: organizations.Roles, Idempotency: store}, Fleet: devices,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, a, organizations}
}

// call asks as token; header is pairs.
func (f *fixture) call(token, method, path, body string, header ...string) reply {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), method, rest.BasePath+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	} else {
		r.Body = http.NoBody
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	out := reply{status: w.Code, header: w.Header(), raw: w.Body.String()}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &out.body); err != nil {
			f.t.Fatalf("%s %s answered %q: %v", method, path, w.Body, err)
		}
	}
	return out
}

func (f *fixture) want(got reply, status int, code hearth.Code) reply {
	f.t.Helper()
	if got.status != status || got.code() != code {
		f.t.Errorf("got %d %q, want %d %q: %s", got.status, got.code(), status, code, got.raw)
	}
	return got
}

// create makes a device of ann's and returns its id.
func (f *fixture) create(body string) string {
	f.t.Helper()
	return f.want(f.call("ann", "POST", "/devices", body), 201, "").text("id")
}

func (r reply) names() (names []string) {
	items, _ := r.body["items"].([]any)
	for _, item := range items {
		fields, _ := item.(map[string]any)
		name, _ := fields["name"].(string)
		names = append(names, name)
	}
	return names
}

func TestADeviceLivesByTheContract(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.want(f.call("ann", "POST", "/devices", `{"name":"Küche","type":"lamp","tags":["a"],"metadata":{"b":1,"a":[1.50]}}`), 201, "")
	id := made.text("id")
	if location := made.header.Get("Location"); location != "/api/v1/devices/"+id {
		t.Errorf("location %q", location)
	}
	for field, want := range map[string]string{
		"name": `"Küche"`, "type": `"lamp"`, "status": `"active"`, "connection": `"never"`, "tags": `["a"]`, "metadata": `{"a":[1.5],"b":1}`,
		"heartbeat_interval": `60`, "last_active_at": `null`, "owner_id": `"ann"`, "organization_id": `null`, "version": `1`,
	} {
		if got, err := json.Marshal(made.body[field]); err != nil || string(got) != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	if !strings.Contains(made.raw, `"metadata":{"a":[1.50],"b":1}`) {
		t.Errorf("a number was written anew: %s", made.raw)
	}
	got := f.want(f.call("ann", "GET", "/devices/"+id, ""), 200, "")
	tag := got.header.Get("ETag")
	if got.raw != made.raw || !strings.HasPrefix(tag, `"1-`) {
		t.Errorf("read %s with the tag %s, made %s", got.raw, tag, made.raw)
	}
	if r := f.call("ann", "GET", "/devices/"+id, "", "If-None-Match", tag); r.status != 304 || r.raw != "" {
		t.Errorf("a known tag gave %d", r.status)
	}
	// A heartbeat changes what is shown, not the version.
	beat := f.want(f.call("ann", "POST", "/devices/"+id+"/heartbeat", ""), 200, "")
	if beat.text("device_id") != id || beat.text("status") != "active" || beat.text("connection") != "online" || beat.text("last_active_at") == "" {
		t.Errorf("heartbeat answered %s", beat.raw)
	}
	if r := f.want(f.call("ann", "GET", "/devices/"+id, "", "If-None-Match", tag), 200, ""); r.text("connection") != "online" || r.text("last_active_at") != beat.text("last_active_at") {
		t.Errorf("after a heartbeat: %s", r.raw)
	}
	changed := f.want(f.call("ann", "PATCH", "/devices/"+id, `{"name":"x","tags":null,"metadata":null,"heartbeat_interval":5,"status":"error"}`, "If-Match", tag), 200, "")
	if changed.text("name") != "x" || changed.body["version"] != 2.0 || changed.body["metadata"] != nil || changed.body["heartbeat_interval"] != 5.0 ||
		changed.text("status") != "error" || !strings.Contains(changed.raw, `"tags":[]`) || !strings.HasPrefix(changed.header.Get("ETag"), `"2-`) {
		t.Errorf("changed to %s", changed.raw)
	}
	if r := f.want(f.call("ann", "PATCH", "/devices/"+id, `{"heartbeat_interval":null,"status":null}`), 200, ""); r.body["heartbeat_interval"] != 60.0 || r.text("status") != "active" {
		t.Errorf("cleared to %s", r.raw)
	}
	f.want(f.call("ann", "PATCH", "/devices/"+id, `{"name":"y"}`, "If-Match", tag), 412, hearth.CodeVersionMismatch)
	f.want(f.call("ann", "DELETE", "/devices/"+id, "", "If-Match", tag), 412, hearth.CodeVersionMismatch)
	f.want(f.call("bob", "DELETE", "/devices/"+id, "", "If-Match", tag), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "DELETE", "/devices/"+id, "", "If-Match", `"3-0"`), 204, "")
	f.want(f.call("ann", "GET", "/devices/"+id, ""), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "POST", "/devices/"+id+"/heartbeat", ""), 404, hearth.CodeNotFound)
}

func TestBadDevicesAreRefusedByPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.create(`{"name":"a","type":"t"}`)
	long := strings.Repeat("ü", 201)
	for name, c := range map[string]struct{ method, path, body, place string }{
		"no name":                       {"POST", "/devices", `{"type":"t"}`, "body.name"},
		"a blank name":                  {"POST", "/devices", `{"name":"  ","type":"t"}`, "body.name"},
		"a long name":                   {"POST", "/devices", `{"name":"` + long + `","type":"t"}`, "body.name"},
		"no type":                       {"POST", "/devices", `{"name":"n","type":""}`, "body.type"},
		"an odd status":                 {"POST", "/devices", `{"name":"n","type":"t","status":"on"}`, "body.status"},
		"no interval":                   {"POST", "/devices", `{"name":"n","type":"t","heartbeat_interval":0}`, "body.heartbeat_interval"},
		"a tag twice":                   {"POST", "/devices", `{"name":"n","type":"t","tags":["a","a"]}`, "body.tags"},
		"too many tags":                 {"POST", "/devices", `{"name":"n","type":"t","tags":[` + strings.Repeat(`"x",`, 50) + `"x"]}`, "body.tags"},
		"metadata as a list":            {"POST", "/devices", `{"name":"n","type":"t","metadata":[]}`, "body.metadata"},
		"big metadata":                  {"POST", "/devices", `{"name":"n","type":"t","metadata":{"a":"` + strings.Repeat("x", 8200) + `"}}`, "body.metadata"},
		"a big number":                  {"POST", "/devices", `{"name":"n","type":"t","metadata":{"a":1e400}}`, "body.metadata.a"},
		"an owner":                      {"POST", "/devices", `{"name":"n","type":"t","owner_id":"bob"}`, "body.owner_id"},
		"a batch's item":                {"POST", "/devices/batch", `{"items":[{"name":"n","type":"t"},{"name":" ","type":"t"}]}`, "body.items[1].name"},
		"an empty batch":                {"POST", "/devices/batch", `{"items":[]}`, "body.items"},
		"a null name":                   {"PATCH", "/devices/" + id, `{"name":null}`, "body.name"},
		"another owner":                 {"PATCH", "/devices/" + id, `{"owner_id":"bob"}`, "body.owner_id"},
		"a wrong type":                  {"PATCH", "/devices/" + id, `{"tags":{"$ne":1}}`, "body.tags"},
		"an odd sort":                   {"GET", "/devices?sort=owner_id", "", "query.sort"},
		"an odd filter":                 {"GET", "/devices?status=on", "", "query.status"},
		"an odd limit":                  {"GET", "/devices?limit=201", "", "query.limit"},
		"an odd field":                  {"GET", "/devices?fields=name,secret", "", "query.fields"},
		"an odd cursor":                 {"GET", "/devices?cursor=xyz", "", "query.cursor"},
		"a heartbeat's status":          {"POST", "/devices/" + id + "/heartbeat", `{"status":"on"}`, "body.status"},
		"an empty status":               {"POST", "/devices/" + id + "/heartbeat", `{"status":""}`, "body.status"},
		"a status that is a number":     {"POST", "/devices/" + id + "/heartbeat", `{"status":1}`, "body.status"},
		"a heartbeat with more":         {"POST", "/devices/" + id + "/heartbeat", `{"device_id":"x"}`, "body.device_id"},
		"a heartbeat that is a list":    {"POST", "/devices/" + id + "/heartbeat", `[]`, "body"},
		"heartbeats of nobody":          {"POST", "/heartbeats", `{"items":[{"status":"active"}]}`, "body.items[0].device_id"},
		"heartbeats that are an object": {"POST", "/heartbeats", `{"items":{}}`, "body.items"},
		"heartbeats that are not there": {"POST", "/heartbeats", `{}`, "body.items"},
		"no heartbeats":                 {"POST", "/heartbeats", `{"items":[]}`, "body.items"},
		"too many heartbeats":           {"POST", "/heartbeats", `{"items":[` + strings.Repeat(`{"device_id":"x"},`, 1000) + `{"device_id":"x"}]}`, "body.items"},
		"heartbeats with more":          {"POST", "/heartbeats", `{"items":[{"device_id":"x","at":1}],"x":{"y":[1]}}`, "body.items[0].at"},
	} {
		got := f.want(f.call("ann", c.method, c.path, c.body), 422, hearth.CodeValidationFailed)
		if !strings.Contains(got.raw, `"location":"`+c.place+`"`) {
			t.Errorf("%s: %s is not named: %s", name, c.place, got.raw)
		}
	}
	for _, body := range []string{`{"items":[`, `{"items":[{"device_id":"x","device_id":"y"}]}`, `{"items":[]} {}`, "", `{"items":[{"device_id":"` + "\xff" + `"}]}`} {
		f.want(f.call("ann", "POST", "/heartbeats", body), 400, hearth.CodeMalformedBody)
	}
	for _, body := range []string{`{"status"`, `{"status":"active","status":"error"}`, `{} {}`, `nul`} {
		f.want(f.call("ann", "POST", "/devices/"+id+"/heartbeat", body), 400, hearth.CodeMalformedBody)
	}
	for _, body := range []string{"", " ", "{}", `{"status":null}`, `{"status":"active"}`} {
		f.want(f.call("ann", "POST", "/devices/"+id+"/heartbeat", body), 200, "")
	}
	if list := f.call("ann", "GET", "/devices?count=true", ""); list.body["total"] != 1.0 {
		t.Errorf("something refused was stored: %s", list.raw)
	}
}

func TestDevicesAreListedAsAsked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var items []string
	for n := range 5 {
		items = append(items, fmt.Sprintf(`{"name":"d%d","type":%q,"tags":["t%d"]}`, n, []string{"lamp", "door"}[n%2], n%3))
	}
	batch := f.want(f.call("ann", "POST", "/devices/batch", `{"items":[`+strings.Join(items, ",")+`]}`), 201, "")
	if want := []string{"d0", "d1", "d2", "d3", "d4"}; !slices.Equal(batch.names(), want) {
		t.Errorf("created %v", batch.names())
	}
	f.want(f.call("bob", "POST", "/devices", `{"name":"d9","type":"lamp"}`), 201, "")
	for query, want := range map[string][]string{
		"sort=name":                     {"d0", "d1", "d2", "d3", "d4"},
		"sort=-name&limit=2":            {"d4", "d3"},
		"sort=name&type=door":           {"d1", "d3"},
		"sort=name&tag=t0&q=D3":         {"d3"},
		"sort=name&connection=online":   {},
		"sort=name&connection=never":    {"d0", "d1", "d2", "d3", "d4"},
		"sort=name&status=error":        {},
		"sort=-last_active_at&type=xyz": {},
	} {
		if got := f.want(f.call("ann", "GET", "/devices?"+query, ""), 200, "").names(); !slices.Equal(got, want) {
			t.Errorf("%s gave %v, want %v", query, got, want)
		}
	}
	if got := f.call("root", "GET", "/devices?count=true&limit=1", ""); got.body["total"] != 6.0 {
		t.Errorf("an admin sees %s", got.raw)
	}
	list := f.call("ann", "GET", "/devices?fields=name,id&limit=1&sort=name", "")
	if strings.Contains(list.raw, "version") || !strings.Contains(list.raw, `"name":"d0"`) || list.body["next_cursor"] == nil {
		t.Errorf("two fields: %s", list.raw)
	}
	next := f.call("ann", "GET", "/devices?sort=name&cursor="+list.text("next_cursor"), "")
	if want := []string{"d1", "d2", "d3", "d4"}; !slices.Equal(next.names(), want) || next.body["next_cursor"] != nil {
		t.Errorf("the rest: %s", next.raw)
	}
	f.want(f.call("ann", "GET", "/devices?cursor="+list.text("next_cursor"), ""), 422, hearth.CodeValidationFailed)
	if r := f.call("ann", "GET", "/devices?sort=name", "", "If-None-Match", f.call("ann", "GET", "/devices?sort=name", "").header.Get("ETag")); r.status != 304 {
		t.Errorf("a list that is known gave %d", r.status)
	}
	f.want(f.call("ann", "GET", "/devices?organization_id=o1", ""), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "POST", "/devices", `{"name":"n","type":"t","organization_id":"o1"}`), 404, hearth.CodeNotFound)
}

func TestADeviceTokenSpeaksForItselfAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mine, other := f.create(`{"name":"a","type":"t"}`), f.create(`{"name":"b","type":"t"}`)
	issued := f.want(f.call("ann", "POST", "/devices/"+mine+"/tokens", ""), 201, "")
	token := issued.text("token")
	if !strings.HasPrefix(token, "hd_") || issued.header.Get("Cache-Control") != "no-store" || len(issued.body) != 4 {
		t.Errorf("issued %s with %v", issued.raw, issued.header)
	}
	f.want(f.call(token, "POST", "/devices/"+mine+"/heartbeat", `{"status":"error"}`), 200, "")
	f.want(f.call(token, "POST", "/devices/"+other+"/heartbeat", ""), 404, hearth.CodeNotFound)
	f.want(f.call(token, "GET", "/devices/"+mine, ""), 200, "")
	f.want(f.call(token, "GET", "/devices/"+other, ""), 404, hearth.CodeNotFound)
	batch := f.want(f.call(token, "POST", "/heartbeats", `{"items":[{"device_id":"`+other+`"},{"status":null,"device_id":"`+mine+`"},{"device_id":"`+mine+`","status":"odd"}]}`), 200, "")
	if want := `{"accepted":1,"rejected":[{"index":0,"code":"not_found"},{"index":2,"code":"validation_failed"}]}` + "\n"; batch.raw != want {
		t.Errorf("answered %s", batch.raw)
	}
	for _, call := range [][2]string{
		{"GET", "/devices"}, {"POST", "/devices"}, {"POST", "/devices/batch"}, {"PATCH", "/devices/" + mine}, {"DELETE", "/devices/" + mine},
		{"GET", "/devices/" + mine + "/tokens"}, {"POST", "/devices/" + mine + "/tokens"}, {"DELETE", "/devices/" + mine + "/tokens/" + issued.text("id")},
	} {
		f.want(f.call(token, call[0], call[1], ""), 403, hearth.CodeForbidden)
	}
	if list := f.want(f.call("ann", "GET", "/devices/"+mine+"/tokens", ""), 200, ""); !strings.Contains(list.raw, issued.text("id")) || strings.Contains(list.raw, "hd_") {
		t.Errorf("listed %s", list.raw)
	}
	f.want(f.call("bob", "GET", "/devices/"+mine+"/tokens", ""), 404, hearth.CodeNotFound)
	f.want(f.call("bob", "DELETE", "/devices/"+mine+"/tokens/"+issued.text("id"), ""), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "DELETE", "/devices/"+other+"/tokens/"+issued.text("id"), ""), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "DELETE", "/devices/"+mine+"/tokens/"+issued.text("id"), ""), 204, "")
	f.want(f.call(token, "GET", "/devices/"+mine, ""), 401, hearth.CodeUnauthenticated)
}

func TestACreationIsSafeToRepeat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, body := range map[string]string{
		"/devices": `{"name":"a","type":"t"}`, "/devices/batch": `{"items":[{"name":"a","type":"t"}]}`,
		"/devices/" + f.create(`{"name":"a","type":"t"}`) + "/tokens": "",
	} {
		first := f.want(f.call("ann", "POST", path, body, "Idempotency-Key", "k"+path), 201, "")
		again := f.want(f.call("ann", "POST", path, body, "Idempotency-Key", "k"+path), 201, "")
		if again.raw != first.raw || again.header.Get("Location") != first.header.Get("Location") {
			t.Errorf("%s: first %s, again %s", path, first.raw, again.raw)
		}
	}
	if list := f.call("ann", "GET", "/devices?count=true", ""); list.body["total"] != 3.0 {
		t.Errorf("%v devices, want 3", list.body["total"])
	}
}

// BenchmarkHeartbeatRequest is a request through the whole API, without a network: 64 at once.
func BenchmarkHeartbeatRequest(b *testing.B) {
	f := newFixture(b)
	id := f.create(`{"name":"a","type":"t"}`)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if r := f.call("ann", "POST", "/devices/"+id+"/heartbeat", `{"status":"active"}`); r.status != 200 {
				b.Errorf("got %s", r.raw)
			}
		}
	})
}

func TestIDsOfHeartbeatsAreReadInEitherCase(t *testing.T) {
	t.Parallel()
	signs, err := parseHeartbeats([]byte(`{"items":[{"device_id":"0195A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B"},{"device_id":"A"}]}`), false)
	if err != nil {
		t.Fatal(err)
	}
	if signs[0].DeviceID != "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" || signs[1].DeviceID != "A" {
		t.Errorf("the devices are %s and %s", signs[0].DeviceID, signs[1].DeviceID)
	}
}

// A long body of heartbeats is held against the bounds of every body, and no more of it is read than is named as wrong.
func TestLongBodiesOfHeartbeatsAreBounded(t *testing.T) {
	t.Parallel()
	members := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, `,"k%d":{}`, i)
		}
		return b.String()[1:]
	}
	items := make([]string, 6)
	for i := range items {
		items[i] = "{" + members(4000*i, 4000*i+3999) + "}"
	}
	parse := func(text string) ([]devices.Sign, error) {
		body, checked, err := rest.ReadBody(httptest.NewRequest("POST", "/", strings.NewReader(text)), hearth.MaxHeartbeatBatch)
		if err != nil {
			return nil, err
		}
		return parseHeartbeats(body, checked)
	}
	for name, test := range map[string]struct {
		body, message string
		fields        int
	}{
		"members":          {"{" + members(0, 75_000) + "}", "must have at most 4000 fields", 1},
		"members of one":   {`{"status":{` + members(0, 75_000) + `}}`, "must have at most 4000 fields", 1},
		"members of items": {`{"items":[` + strings.Join(items, ",") + `]}`, "unexpected property", rest.MaxFields},
		"a text":           {`{"status":"` + strings.Repeat("x", 1<<20) + `"}`, "has more than 131072 bytes", 1},
	} {
		_, err := parse(test.body)
		refusal, ok := errors.AsType[*hearth.Error](err)
		if !ok || refusal.Code != hearth.CodeValidationFailed || len(refusal.Fields) != test.fields || refusal.Fields[0].Message != test.message {
			t.Errorf("%s: %.300v, want %q", name, err, test.message)
		}
	}
}
