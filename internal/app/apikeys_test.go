package app_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/config"
)

// keyed is a service with a user, ann, who is in an organization with a device and has one of her own.
type keyed struct {
	*instances
	ann, annID         string // an access token
	org                string
	device, orgDevice  string
	another, orgExport string // bob's device; an export that ann ordered herself
}

func newKeyed(t *testing.T, m apitest.Mode) *keyed {
	t.Helper()
	w := &keyed{instances: newInstances(t, m)}
	w.annID = w.signUp(t, "ann@example.com")
	w.ann = w.login(t, "ann@example.com").text("access_token")
	w.signUp(t, "bob@example.com")
	bob := w.login(t, "bob@example.com").text("access_token")
	w.org = w.made(t, w.ann, "/organizations", apitest.Object{"name": "the team"}).text("id")
	w.device = w.made(t, w.ann, "/devices", apitest.Object{"name": "lamp", "type": "lamp"}).text("id")
	w.orgDevice = w.made(t, w.ann, "/devices", apitest.Object{"name": "lamp", "type": "lamp", "organization_id": w.org}).text("id")
	w.another = w.made(t, bob, "/devices", apitest.Object{"name": "lamp", "type": "lamp"}).text("id")
	w.orgExport = w.want(t, w.call(t, 0, "POST", "/exports", w.ann, apitest.Object{
		"type": "logs", "format": "csv", "filters": apitest.Object{"device_ids": []string{w.orgDevice}},
	}), 202, "").text("id")
	return w
}

func (w *keyed) made(t *testing.T, token, path string, body any) reply {
	t.Helper()
	return w.want(t, w.call(t, 0, "POST", path, token, body), 201, "")
}

// key makes a key of ann's; more are further fields.
func (w *keyed) key(t *testing.T, scopes []hearth.KeyScope, more apitest.Object) reply {
	t.Helper()
	body := apitest.Object{"name": "ci", "scopes": scopes}
	maps.Copy(body, more)
	return w.made(t, w.ann, "/users/me/api-keys", body)
}

// ends waits until the key is refused with that code at every instance, for a second at most after the first refusal is due.
func (w *keyed) ends(t *testing.T, key string, code hearth.Code) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(2 * time.Second)
	for instance := range w.urls {
		for {
			r := w.call(t, instance, "GET", "/devices", key, nil)
			if r.status == http.StatusUnauthorized && r.code() == code {
				break
			}
			if r.status != http.StatusOK || time.Now().After(deadline) {
				t.Fatalf("instance %d answers %d %s", instance, r.status, r.raw)
			}
			<-tick.C
		}
	}
}

func TestAnAPIKeyIsMadeShownOnceUsedAndDeleted(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newKeyed(t, m)
		body := apitest.Object{"name": "ci", "scopes": []string{"devices:read", "devices:write"}, "expires_at": "2099-01-01T00:00:00Z"}
		first := w.want(t, w.call(t, 0, "POST", "/users/me/api-keys", w.ann, body, "Idempotency-Key", "one"), 201, "")
		key, id := first.text("key"), first.text("id")
		if !strings.HasPrefix(key, "hk_") || len(key) != 46 || first.header.Get("Cache-Control") != "no-store" {
			t.Errorf("the answer is %s with %v", first.raw, first.header)
		}
		again := w.want(t, w.call(t, 1, "POST", "/users/me/api-keys", w.ann, body, "Idempotency-Key", "one"), 201, "")
		if again.raw != first.raw {
			t.Errorf("the repetition answers %s after %s", again.raw, first.raw)
		}
		w.want(t, w.call(t, 1, "GET", "/devices", key, nil), 200, "")
		w.want(t, w.call(t, 1, "GET", "/devices?include=latest", key, nil), 403, hearth.CodeForbidden)
		made := w.made(t, key, "/devices", apitest.Object{"name": "by the key", "type": "lamp"})
		w.awaitUse(t, id)
		list := w.call(t, 0, "GET", "/users/me/api-keys?count=true", w.ann, nil)
		items, _ := list.body["items"].([]any)
		if len(items) != 1 || strings.Contains(list.raw, key) || strings.Contains(list.raw, `"key"`) {
			t.Fatalf("the list is %s", list.raw)
		}
		item, _ := items[0].(apitest.Object)
		if apitest.Text(item, "prefix") != key[:11] || apitest.Text(item, "expires_at") != "2099-01-01T00:00:00.000Z" || item["organization_id"] != nil {
			t.Errorf("the key is listed as %v", item)
		}
		for action, want := range map[string]string{
			"api_key.create": `"actor_id":"user:` + w.annID + `","action":"api_key.create","target":"api_key:` + id + `"`,
			"device.create":  `"actor_id":"user:` + w.annID + "/key:" + id + `","action":"device.create","target":"device:` + made.text("id") + `"`,
		} {
			if audit := w.call(t, 0, "GET", "/admin/audit?action="+action, w.admin, nil); !strings.Contains(audit.raw, want) {
				t.Errorf("the audit of %s is %s", action, audit.raw)
			}
		}
		w.want(t, w.call(t, 0, "DELETE", "/users/me/api-keys/"+id, w.ann, nil), 204, "")
		w.want(t, w.call(t, 0, "GET", "/devices", key, nil), 401, hearth.CodeUnauthenticated)
		w.ends(t, key, hearth.CodeUnauthenticated)
		w.want(t, w.call(t, 0, "DELETE", "/users/me/api-keys/"+id, w.ann, nil), 404, hearth.CodeNotFound)
		if audit := w.call(t, 0, "GET", "/admin/audit?action=api_key.delete", w.admin, nil); !strings.Contains(audit.raw, "api_key:"+id) {
			t.Errorf("the audit of the deletion is %s", audit.raw)
		}
	})
}

// awaitUse waits until every instance shows that the key was used.
func (w *keyed) awaitUse(t *testing.T, id string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for instance := range w.urls {
		for {
			list := w.call(t, instance, "GET", "/users/me/api-keys", w.ann, nil)
			if strings.Contains(list.raw, id) && strings.Contains(list.raw, `"last_used_at":"`) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("instance %d shows no use: %s", instance, list.raw)
			}
			<-tick.C
		}
	}
}

func TestAnAPIKeyOfAnOrganizationReachesNothingElse(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newKeyed(t, m)
		bound := w.key(t, hearth.KeyScopes(), apitest.Object{"organization_id": w.org}).text("key")
		free := w.key(t, hearth.KeyScopes(), nil).text("key")
		get := func(key, path string, status int) reply {
			t.Helper()
			r := w.call(t, 0, "GET", path, key, nil)
			if r.status != status {
				t.Errorf("GET %s: %d %s, want %d", path, r.status, r.raw, status)
			}
			return r
		}
		get(bound, "/devices/"+w.orgDevice, 200)
		for _, id := range []string{w.device, w.another} {
			get(bound, "/devices/"+id, 404)
			get(bound, "/devices/"+id+"/logs", 404)
			get(bound, "/devices/"+id+"/usage", 404)
			w.want(t, w.call(t, 0, "PATCH", "/devices/"+id, bound, apitest.Object{"name": "x"}), 404, hearth.CodeNotFound)
			w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/logs", bound, apitest.Object{"event": "x", "value": 1}), 404, hearth.CodeNotFound)
		}
		get(free, "/devices/"+w.device, 200)
		get(free, "/devices/"+w.orgDevice, 200)
		get(free, "/devices/"+w.another, 404)
		for key, want := range map[string]float64{bound: 1, free: 2} {
			if r := get(key, "/devices?count=true", 200); r.body["total"] != want {
				t.Errorf("of %v devices the key lists %s", want, r.raw)
			}
			if r := get(key, "/analytics/dashboard", 200); !strings.Contains(r.raw, `"total_devices":`+map[float64]string{1: "1", 2: "2"}[want]+",") {
				t.Errorf("of %v devices the dashboard shows %s", want, r.raw)
			}
		}
		w.want(t, w.call(t, 0, "POST", "/devices", bound, apitest.Object{"name": "x", "type": "x"}), 403, hearth.CodeForbidden)
		w.made(t, bound, "/devices", apitest.Object{"name": "x", "type": "x", "organization_id": w.org})

		// What ann ordered herself is no object of the organization; what the key ordered holds the organization's alone.
		get(bound, "/exports/"+w.orgExport, 404)
		ordered := w.want(t, w.call(t, 0, "POST", "/exports", bound, apitest.Object{"type": "device_report", "format": "ndjson"}), 202, "").text("id")
		get(bound, "/exports/"+ordered, 200)
		if r := get(bound, "/exports?count=true", 200); r.body["total"] != 1.0 {
			t.Errorf("the key lists the exports %s", r.raw)
		}
		if r := get(free, "/exports?count=true", 200); r.body["total"] != 2.0 {
			t.Errorf("its owner's list is %s", r.raw)
		}
		if r := get(bound, "/exports/stats", 200); r.body["total"] != 1.0 {
			t.Errorf("the key counts %s", r.raw)
		}
		plan := apitest.Object{"every": "daily", "type": "logs", "format": "csv"}
		own := w.made(t, w.ann, "/export-schedules", plan).text("id")
		keys := w.made(t, bound, "/export-schedules", plan).text("id")
		get(bound, "/export-schedules/"+own, 404)
		get(bound, "/export-schedules/"+keys, 200)
		if r := get(bound, "/export-schedules?count=true", 200); r.body["total"] != 1.0 {
			t.Errorf("the key lists the schedules %s", r.raw)
		}
		file := w.awaitFile(t, bound, ordered)
		if !strings.Contains(file, w.orgDevice) || strings.Contains(file, w.device) || strings.Contains(file, w.another) {
			t.Errorf("the file of the key holds %s", file)
		}

		// Live events.
		for channel, status := range map[string]int{
			"": 200, "org:" + w.org: 200, "device:" + w.orgDevice: 200, "user:" + w.annID: 404, "device:" + w.device: 404, "device:" + w.another: 404,
		} {
			if got := w.stream(t, bound, channel).status; got != status {
				t.Errorf("the stream of %q is %d, want %d", channel, got, status)
			}
		}
		stream := w.stream(t, bound, "")
		w.made(t, w.ann, "/devices/"+w.device+"/logs", apitest.Object{"event": "private", "value": 1})
		w.made(t, w.ann, "/devices/"+w.orgDevice+"/logs", apitest.Object{"event": "shared", "value": 1})
		for line := range stream.lines {
			if strings.Contains(line, "private") {
				t.Errorf("the stream shows %s", line)
			}
			if strings.Contains(line, "shared") {
				break
			}
		}

		// Who leaves the organization takes the key's reach along.
		w.want(t, w.call(t, 0, "PUT", "/organizations/"+w.org+"/members/"+w.userID(t, "bob@example.com"), w.ann, apitest.Object{"role": "owner"}), 200, "")
		w.want(t, w.call(t, 0, "DELETE", "/organizations/"+w.org+"/members/"+w.annID, w.ann, nil), 204, "")
		get(bound, "/devices/"+w.orgDevice, 404)
		if r := get(bound, "/devices?count=true", 200); r.body["total"] != 0.0 {
			t.Errorf("without the organization the key lists %s", r.raw)
		}
		stream.ends(t, 5*time.Second)
	})
}

func (w *keyed) userID(t *testing.T, email string) string {
	t.Helper()
	items, _ := w.want(t, w.call(t, 0, "GET", "/users?q="+email, w.admin, nil), 200, "").body["items"].([]any)
	item, _ := items[0].(apitest.Object)
	return apitest.Text(item, "id")
}

// awaitFile returns an export's file once it is there, at the instance that made it: each has files of its own here.
func (w *keyed) awaitFile(t *testing.T, key, id string) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		for _, url := range w.urls {
			c := &apitest.Client{URL: url, Token: key}
			status, text := c.Ask(t, "GET", "/exports/"+id+"/file", nil).Text()
			if status == http.StatusOK {
				return text
			}
			last = text
		}
	}
	t.Fatalf("the export does not end: %s", last)
	return ""
}

// openStream is a stream of events, as long as the test lasts.
type openStream struct {
	status int
	lines  chan string
}

// stream opens one with the key in the header.
func (w *keyed) stream(t *testing.T, key, channel string) openStream {
	t.Helper()
	c := &apitest.Client{URL: w.urls[len(w.urls)-1], Token: key}
	path := "/realtime/sse"
	if channel != "" {
		path += "?channels=" + channel
	}
	ctx, leave := context.WithCancel(context.Background())
	t.Cleanup(leave)
	response, err := c.Open(ctx, "GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := openStream{response.StatusCode, make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		var chunk [4096]byte
		for {
			n, err := response.Body.Read(chunk[:])
			if err != nil {
				return
			}
			s.lines <- string(chunk[:n])
		}
	}()
	return s
}

// ends waits for the end of the stream.
func (s openStream) ends(t *testing.T, within time.Duration) {
	t.Helper()
	timeout := time.After(within)
	for {
		select {
		case _, open := <-s.lines:
			if !open {
				return
			}
		case <-timeout:
			t.Fatalf("the stream is open after %v", within)
		}
	}
}

func TestAnAPIKeyEndsWithWhatItRestsOn(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newKeyed(t, m)
		reading := []hearth.KeyScope{hearth.KeyDevicesRead, hearth.KeyTelemetryRead}
		open := func(key string) openStream {
			t.Helper()
			s := w.stream(t, key, "device:"+w.device)
			if s.status != http.StatusOK {
				t.Fatalf("the stream answers %d", s.status)
			}
			return s
		}
		t.Run("its deletion", func(t *testing.T) {
			made := w.key(t, reading, nil)
			stream := open(made.text("key"))
			w.want(t, w.call(t, 0, "DELETE", "/users/me/api-keys/"+made.text("id"), w.ann, nil), 204, "")
			w.ends(t, made.text("key"), hearth.CodeUnauthenticated)
			stream.ends(t, 5*time.Second)
		})
		t.Run("its expiry", func(t *testing.T) {
			expires := time.Now().Add(2 * time.Second)
			made := w.key(t, reading, apitest.Object{"expires_at": expires.UTC().Format(time.RFC3339Nano)})
			stream := open(made.text("key"))
			stream.ends(t, time.Until(expires)+5*time.Second)
			if time.Now().Before(expires) {
				t.Error("the stream ended before the key expired")
			}
			w.ends(t, made.text("key"), hearth.CodeTokenExpired)
		})
		t.Run("a demotion of its owner", func(t *testing.T) {
			w.want(t, w.call(t, 0, "PATCH", "/users/"+w.annID, w.admin, apitest.Object{"role": "admin"}), 200, "")
			w.ann = w.login(t, "ann@example.com").text("access_token")
			key := w.key(t, reading, nil).text("key")
			w.want(t, w.call(t, 0, "GET", "/devices/"+w.another, key, nil), 200, "")
			w.want(t, w.call(t, 0, "PATCH", "/users/"+w.annID, w.admin, apitest.Object{"role": "user"}), 200, "")
			w.want(t, w.call(t, 0, "GET", "/devices/"+w.another, key, nil), 404, hearth.CodeNotFound)
			w.ann = w.login(t, "ann@example.com").text("access_token")
		})
		t.Run("its disabled owner", func(t *testing.T) {
			key := w.key(t, reading, nil).text("key")
			stream := open(key)
			w.want(t, w.call(t, 0, "PATCH", "/users/"+w.annID, w.admin, apitest.Object{"disabled": true}), 200, "")
			w.want(t, w.call(t, 0, "GET", "/devices", key, nil), 401, hearth.CodeTokenRevoked)
			w.ends(t, key, hearth.CodeTokenRevoked)
			stream.ends(t, 5*time.Second)
			w.want(t, w.call(t, 0, "PATCH", "/users/"+w.annID, w.admin, apitest.Object{"disabled": false}), 200, "")
			w.want(t, w.call(t, 0, "GET", "/devices", key, nil), 200, "")
		})
	})
}

func TestAPIKeysAreHardToMisuse(t *testing.T) {
	t.Parallel()
	w := newKeyed(t, apitest.Embedded)
	all := w.key(t, hearth.KeyScopes(), nil)
	key := all.text("key")
	bob := w.login(t, "bob@example.com").text("access_token")
	for name, fields := range map[string]apitest.Object{
		"no scope":              {"scopes": []string{}},
		"no scopes at all":      {"scopes": nil},
		"an unknown scope":      {"scopes": []string{"devices:read", "admin"}},
		"a scope twice":         {"scopes": []string{"devices:read", "devices:read"}},
		"an expiry in the past": {"expires_at": "2020-01-01T00:00:00Z"},
		"no name":               {"name": " "},
		"a field too many":      {"user_id": w.annID},
	} {
		body := apitest.Object{"name": "x", "scopes": []string{"devices:read"}}
		maps.Copy(body, fields)
		if r := w.call(t, 0, "POST", "/users/me/api-keys", w.ann, body); r.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	inAnothers := apitest.Object{"name": "x", "scopes": []string{"devices:read"}, "organization_id": w.org}
	w.want(t, w.call(t, 0, "POST", "/users/me/api-keys", bob, inAnothers), 404, hearth.CodeNotFound)
	w.want(t, w.call(t, 0, "DELETE", "/users/me/api-keys/"+all.text("id"), bob, nil), 404, hearth.CodeNotFound)
	w.want(t, w.call(t, 0, "DELETE", "/users/me/api-keys/nonsense", w.ann, nil), 404, hearth.CodeNotFound)
	for _, garbage := range []string{"hk_", "hk_x", key + "A", key[:len(key)-1], strings.ToUpper(key), "hk_" + strings.Repeat("A", 43), "hk_" + strings.Repeat("A", 4000)} {
		w.want(t, w.call(t, 0, "GET", "/devices", garbage, nil), 401, hearth.CodeUnauthenticated)
	}
	for _, path := range []string{"/devices?api_key=" + key, "/devices?access_token=" + key, "/realtime/sse?ticket=" + key, "/realtime/sse?token=" + key} {
		if r := w.call(t, 0, "GET", path, "", nil); r.status != http.StatusUnauthorized && r.status != http.StatusUnprocessableEntity {
			t.Errorf("a key in the address is %d %s", r.status, r.raw)
		}
	}
	w.want(t, w.call(t, 0, "POST", "/users/me/api-keys", key, apitest.Object{"name": "x", "scopes": []string{"devices:read"}}), 403, hearth.CodeForbidden)
	narrow := w.key(t, []hearth.KeyScope{hearth.KeyDevicesRead}, nil).text("key")
	if got := w.stream(t, narrow, "").status; got != http.StatusForbidden {
		t.Errorf("a stream without telemetry:read is %d", got)
	}
	w.want(t, w.call(t, 0, "POST", "/realtime/ticket", narrow, nil), 403, hearth.CodeForbidden)
	ticket := w.want(t, w.call(t, 0, "POST", "/realtime/ticket", key, nil), 201, "").text("ticket")
	if got := w.stream(t, "", "user:"+w.annID+"&ticket="+ticket).status; got != http.StatusOK {
		t.Errorf("a stream with a key's ticket is %d", got)
	}
}

// Of a key only the hash is in the data directory, also where its creation may be repeated.
func TestAnAPIKeyIsNotStored(t *testing.T) {
	t.Parallel()
	cfg := apitest.Unlimited(t)
	url := apitest.Start(t, cfg)
	c := apitest.SignUp(t, url, annsMail)
	made := c.Call(t, "POST", "/users/me/api-keys", apitest.Object{"name": "a name to find", "scopes": []string{"devices:read"}}, "Idempotency-Key", "k")
	key, found := apitest.Text(made, "key"), false
	(&apitest.Client{URL: url, Token: key}).Call(t, "GET", "/devices", nil)
	err := filepath.WalkDir(cfg.DataDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte("a name to find"))
		if bytes.Contains(data, []byte(key[12:])) {
			t.Errorf("%s holds the key", path)
		}
		return err
	})
	if err != nil || !found {
		t.Errorf("%v: the test can tell nothing", err)
	}
}

func TestRequestsOfAnAPIKeyCountForItsOwnerAndGuessesForTheAddress(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	var err error
	if cfg.RateLimits, err = config.ParseRateLimits("devices=6/1h"); err != nil {
		t.Fatal(err)
	}
	url := apitest.Start(t, cfg)
	c := apitest.SignUp(t, url, annsMail)
	made := c.Call(t, "POST", "/users/me/api-keys", apitest.Object{"name": "ci", "scopes": []string{"devices:read"}})
	key := &apitest.Client{URL: url, Token: apitest.Text(made, "key")}
	for range 3 {
		c.Call(t, "GET", "/devices", nil)
		key.Call(t, "GET", "/devices", nil)
	}
	for _, one := range []*apitest.Client{c, key} {
		if status, text := one.Ask(t, "GET", "/devices", nil).Text(); status != http.StatusTooManyRequests {
			t.Errorf("the seventh request is %d %s", status, text)
		}
	}
	guess := &apitest.Client{URL: url, Token: "hk_" + strings.Repeat("A", 43)}
	for range 6 {
		if status, text := guess.Ask(t, "GET", "/devices", nil).Text(); status != http.StatusUnauthorized {
			t.Errorf("a guess is %d %s", status, text)
		}
	}
	if status, text := guess.Ask(t, "GET", "/devices", nil).Text(); status != http.StatusTooManyRequests {
		t.Errorf("the seventh guess is %d %s", status, text)
	}
}

// A rule sends its commands for whoever wrote it: without that scope, a key would reach by it what it may not do itself.
func TestAKeyWritesRulesWithCommandsOnlyWithTheScopeOfCommands(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newKeyed(t, m)
		alarms := w.key(t, []hearth.KeyScope{hearth.KeyAlarmsWrite}, nil).text("key")
		both := w.key(t, []hearth.KeyScope{hearth.KeyAlarmsWrite, hearth.KeyCommandsWrite}, nil).text("key")
		rule := func(actions ...apitest.Object) apitest.Object {
			return apitest.Object{
				"name": "hot", "devices": apitest.Object{"ids": []string{w.device}}, "severity": "minor", "actions": actions,
				"condition": apitest.Object{"event": "temperature", "operator": "gt", "value": 30},
			}
		}
		command := apitest.Object{"command": apitest.Object{"name": "open"}}
		owner := apitest.Object{"notify": "owner"}

		w.want(t, w.call(t, 0, "POST", "/rules", alarms, rule(owner, command)), 403, hearth.CodeForbidden)
		plain := w.made(t, alarms, "/rules", rule(owner)).text("id")
		w.want(t, w.call(t, 0, "PATCH", "/rules/"+plain, alarms, apitest.Object{"actions": []apitest.Object{command}}), 403, hearth.CodeForbidden)

		sends := w.made(t, both, "/rules", rule(command)).text("id")
		colder := apitest.Object{"condition": apitest.Object{"event": "temperature", "operator": "gt", "value": -30}}
		w.want(t, w.call(t, 0, "PATCH", "/rules/"+sends, alarms, colder), 403, hearth.CodeForbidden)
		w.want(t, w.call(t, 0, "PATCH", "/rules/"+sends, both, colder), 200, "")
		w.want(t, w.call(t, 0, "PATCH", "/rules/"+sends, alarms, apitest.Object{"enabled": false}), 200, "")
		w.want(t, w.call(t, 0, "PATCH", "/rules/"+sends, alarms, apitest.Object{"enabled": true}), 403, hearth.CodeForbidden)
		w.want(t, w.call(t, 0, "PATCH", "/rules/"+sends, w.ann, apitest.Object{"enabled": true}), 200, "")
		w.want(t, w.call(t, 0, "DELETE", "/rules/"+sends, alarms, nil), 204, "")
	})
}
