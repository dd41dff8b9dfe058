package app_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/config"
)

// provisioned is a service with ann, who has provisioning keys, and bob.
type provisioned struct {
	*instances
	t          *testing.T
	ann, annID string
	bob, bobID string
}

// awaitLine waits for a line of a stream with a text in it.
func awaitLine(t *testing.T, lines <-chan string, text string) {
	t.Helper()
	for timeout := time.After(20 * time.Second); ; {
		select {
		case line, open := <-lines:
			if strings.Contains(line, text) {
				return
			}
			if !open {
				t.Fatalf("the stream ended before %q", text)
			}
		case <-timeout:
			t.Fatalf("no %q on the stream", text)
		}
	}
}

// trustPeer lets tests choose their address.
func trustPeer(cfg *config.Config) {
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func newProvisioned(t *testing.T, m apitest.Mode) *provisioned {
	t.Helper()
	w := &provisioned{t: t, instances: newInstances(t, m, trustPeer)}
	w.annID, w.bobID = w.signUp(t, "ann@example.com"), w.signUp(t, "bob@example.com")
	w.ann, w.bob = w.login(t, "ann@example.com").text("access_token"), w.login(t, "bob@example.com").text("access_token")
	return w
}

func (w *provisioned) made(token, path string, body any) reply {
	w.t.Helper()
	r := w.call(w.t, 0, "POST", path, token, body)
	if r.status != http.StatusCreated {
		w.t.Fatalf("%s answered %d %s", path, r.status, r.raw)
	}
	return r
}

// key makes a provisioning key of ann's; more are pairs of further fields.
func (w *provisioned) key(more ...any) (key, id string) {
	w.t.Helper()
	body := apitest.Object{"name": "factory", "device_type": "lamp"}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	r := w.made(w.ann, "/provisioning-keys", body)
	return r.text("key"), r.text("id")
}

// provision asks for a token; an empty secret is none.
func (w *provisioned) provision(instance int, key, serial, secret string) reply {
	w.t.Helper()
	body := apitest.Object{"key": key, "serial": serial}
	if secret != "" {
		body["secret"] = secret
	}
	return w.call(w.t, instance, "POST", "/provision", "", body)
}

func (w *provisioned) claim(instance int, token, code, address string) reply {
	w.t.Helper()
	return w.call(w.t, instance, "POST", "/claims", token, apitest.Object{"code": code}, "X-Forwarded-For", address)
}

// wantAudit looks for entries of an action, which are in the audit as many times as there are texts, the newest first.
func (w *provisioned) wantAudit(action string, texts ...string) {
	w.t.Helper()
	r := w.call(w.t, 1, "GET", "/admin/audit?action="+action, w.admin, nil)
	items, _ := r.body["items"].([]any)
	if len(items) != len(texts) {
		w.t.Fatalf("%d entries of %s: %s", len(items), action, r.raw)
	}
	for i, item := range items {
		if entry := asJSON(w.t, item); !strings.Contains(entry, texts[i]) {
			w.t.Errorf("entry %d of %s lacks %s: %s", i, action, texts[i], entry)
		}
	}
}

func TestADeviceProvisionsItselfAndComesBackWithItsSecret(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newProvisioned(t, m)
		key, keyID := w.key("tags", []string{"hall"}, "max_devices", 2)
		events := (&apitest.Client{URL: w.urls[0], Token: w.ann}).Stream(t, "")
		first := w.want(t, w.provision(1, key, "SN-1", "the secret of SN-1"), 201, "")
		id, token := first.text("device_id"), first.text("token")
		if first.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(token, "hd_") {
			t.Errorf("the answer is %s with %v", first.raw, first.header)
		}
		awaitLine(t, events, `"id":"`+id+`"`)
		d := w.want(t, w.call(t, 0, "GET", "/devices/"+id, w.ann, nil), 200, "")
		if d.text("name") != "SN-1" || d.text("serial") != "SN-1" || d.text("type") != "lamp" || !strings.Contains(d.raw, `"tags":["hall"]`) || d.text("owner_id") != w.annID {
			t.Errorf("the device is %s", d.raw)
		}
		w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/logs", token, apitest.Object{"event": "e", "value": 1}), 201, "")
		byHand := w.made(w.ann, "/devices/"+id+"/tokens", nil).text("token")

		// A stolen key does not get at a device that is there.
		w.want(t, w.provision(0, key, "SN-1", ""), 409, hearth.CodeConflict)
		w.want(t, w.provision(1, key, "SN-1", "a guess"), 409, hearth.CodeConflict)
		w.want(t, w.call(t, 1, "GET", "/devices/me", token, nil), 200, "")

		again := w.want(t, w.provision(1, key, "SN-1", "the secret of SN-1"), 200, "")
		if again.text("device_id") != id || again.text("token") == token {
			t.Errorf("the second time: %s after %s", again.raw, first.raw)
		}
		w.want(t, w.call(t, 1, "GET", "/devices/me", token, nil), 401, hearth.CodeUnauthenticated)
		w.want(t, w.call(t, 1, "GET", "/devices/me", again.text("token"), nil), 200, "")
		w.want(t, w.call(t, 1, "GET", "/devices/me", byHand, nil), 200, "")

		// A device that gave no secret has none to prove; its serial is another's in another scope.
		w.want(t, w.provision(0, key, "SN-2", ""), 201, "")
		w.want(t, w.provision(0, key, "SN-2", "anything"), 409, hearth.CodeConflict)
		w.want(t, w.provision(1, key, "SN-3", ""), 403, hearth.CodeForbidden)
		w.want(t, w.provision(1, key, "SN-1", "the secret of SN-1"), 200, "") // it makes none
		list := w.call(t, 1, "GET", "/provisioning-keys?count=true", w.ann, nil)
		if strings.Contains(list.raw, key) || !strings.Contains(list.raw, `"device_count":2`) || !strings.Contains(list.raw, `"max_devices":2`) {
			t.Errorf("the list is %s", list.raw)
		}

		w.want(t, w.call(t, 0, "DELETE", "/provisioning-keys/"+keyID, w.bob, nil), 404, hearth.CodeNotFound)
		w.want(t, w.call(t, 0, "DELETE", "/provisioning-keys/"+keyID, w.ann, nil), 204, "")
		for _, wrong := range []string{key, "hp_" + strings.Repeat("A", 43), "hp_", token, w.ann[:100]} {
			w.want(t, w.provision(1, wrong, "SN-1", "the secret of SN-1"), 401, hearth.CodeUnauthenticated)
		}
		w.wantAudit("provisioning_key.create", `"target":"provisioning_key:`+keyID+`"`)
		w.wantAudit("provisioning_key.delete", `"actor_id":"user:`+w.annID+`"`)
		ok, refused := `"result":"ok"`, `"result":"conflict"`
		w.wantAudit("device.provision", ok, refused, ok, ok, refused, `"actor_id":"provisioning_key:`+keyID+`"`)
	})
}

func TestAProvisioningKeyOfAnOrganizationReachesItAlone(t *testing.T) {
	t.Parallel()
	w := newProvisioned(t, apitest.Embedded)
	org := w.made(w.ann, "/organizations", apitest.Object{"name": "the team"}).text("id")
	key, id := w.key("organization_id", org)
	own, _ := w.key()
	made := w.want(t, w.provision(0, key, "SN-1", "s"), 201, "").text("device_id")
	if d := w.call(t, 0, "GET", "/devices/"+made, w.ann, nil); d.text("organization_id") != org {
		t.Errorf("the device is %s", d.raw)
	}
	// The serial of another scope is another device, whoever has its secret.
	if other := w.want(t, w.provision(0, own, "SN-1", "s"), 201, "").text("device_id"); other == made {
		t.Error("a key got at the device of another scope")
	}
	w.want(t, w.call(t, 0, "POST", "/provisioning-keys", w.bob, apitest.Object{"name": "x", "device_type": "x", "organization_id": org}), 404, hearth.CodeNotFound)
	w.want(t, w.call(t, 0, "GET", "/provisioning-keys?organization_id="+org, w.bob, nil), 404, hearth.CodeNotFound)
	for _, step := range []struct {
		role string
		want int
	}{{"member", 403}, {"admin", 200}} { // in this order: the admin deletes the key below
		role, want := step.role, step.want
		w.want(t, w.call(t, 0, "PUT", "/organizations/"+org+"/members/"+w.bobID, w.ann, apitest.Object{"role": role}), 200, "")
		if r := w.call(t, 0, "GET", "/provisioning-keys?organization_id="+org, w.bob, nil); r.status != want {
			t.Errorf("a member as %s: %d %s", role, r.status, r.raw)
		}
		sees := strings.Contains(w.call(t, 0, "GET", "/provisioning-keys", w.bob, nil).raw, id)
		if sees != (want == 200) {
			t.Errorf("a member as %s sees the key: %v", role, sees)
		}
	}
	w.want(t, w.call(t, 0, "DELETE", "/provisioning-keys/"+id, w.bob, nil), 204, "")
	w.want(t, w.provision(0, key, "SN-2", ""), 401, hearth.CodeUnauthenticated)
	bad := []apitest.Object{
		{"name": "", "device_type": "x"}, {"name": "x", "device_type": ""}, {"name": "x", "device_type": "x", "max_devices": 0},
		{"name": "x", "device_type": "x", "expires_at": "2001-01-01T00:00:00Z"}, {"name": "x", "device_type": "x", "tags": []string{"a", "a"}},
	}
	for _, body := range bad {
		w.want(t, w.call(t, 0, "POST", "/provisioning-keys", w.ann, body), 422, hearth.CodeValidationFailed)
	}
	for _, serial := range []string{"", " ", "a/b", "a+b", "#", strings.Repeat("A", 65), "é"} {
		w.want(t, w.provision(0, own, serial, ""), 422, hearth.CodeValidationFailed)
	}
	w.want(t, w.provision(0, own, "SN-9", strings.Repeat("s", 257)), 422, hearth.CodeValidationFailed)
}

func TestAProvisioningKeyNeverMakesMoreThanItsMost(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newProvisioned(t, m)
		key, _ := w.key("max_devices", 7)
		codes := w.rush(40, func(i int) reply { return w.provision(i, key, fmt.Sprint("SN-", i%20), "") })
		list := w.call(t, 0, "GET", "/devices?count=true", w.ann, nil)
		if total := list.body["total"]; codes[""] != 7 || total != 7.0 {
			t.Errorf("%v, %v devices", codes, total)
		}
	})
}

func TestADeviceIsClaimedOnceWithItsHistory(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newProvisioned(t, m)
		key, _ := w.key()
		got := w.want(t, w.provision(0, key, "SN-1", "s"), 201, "")
		id, token := got.text("device_id"), got.text("token")
		w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/logs", token, apitest.Object{"event": "e", "value": 1}), 201, "")
		byHand := w.made(w.ann, "/devices/"+id+"/tokens", nil).text("token")
		w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/claim-codes", w.bob, nil), 404, hearth.CodeNotFound)
		w.want(t, w.call(t, 0, "POST", "/devices/"+id+"/claim-codes", token, nil), 403, hearth.CodeForbidden)
		issued := w.made(w.ann, "/devices/"+id+"/claim-codes", nil)
		code, unused := issued.text("code"), w.made(w.ann, "/devices/"+id+"/claim-codes", nil).text("code")
		if issued.header.Get("Cache-Control") != "no-store" || len(code) != 14 || issued.text("expires_at") == "" {
			t.Errorf("the code is %s with %v", issued.raw, issued.header)
		}

		w.want(t, w.claim(1, w.bob, "0000-0000-0000", "198.51.100.1"), 404, hearth.CodeNotFound)
		w.want(t, w.claim(1, token, code, "198.51.100.1"), 403, hearth.CodeForbidden)
		taken := w.made(w.bob, "/devices", apitest.Object{"name": "x", "type": "x", "serial": "SN-1"}).text("id")
		if r := w.want(t, w.claim(1, w.bob, code, "198.51.100.1"), 409, hearth.CodeConflict); r.text("detail") != "you have another device with the serial SN-1" {
			t.Errorf("the answer is %s", r.raw)
		}
		w.want(t, w.call(t, 0, "DELETE", "/devices/"+taken, w.bob, nil), 204, "")

		lost := (&apitest.Client{URL: w.urls[0], Token: w.ann}).Stream(t, "")
		gained := (&apitest.Client{URL: w.urls[0], Token: w.bob}).Stream(t, "")
		typed := strings.ToLower(strings.ReplaceAll(code, "-", " "))
		d := w.want(t, w.claim(1, w.bob, typed, "198.51.100.1"), 200, "")
		if d.text("id") != id || d.text("owner_id") != w.bobID || d.body["organization_id"] != nil {
			t.Errorf("the device is %s", d.raw)
		}
		awaitLine(t, lost, "device-deleted")
		awaitLine(t, gained, `"id":"`+id+`"`)
		if logs := w.call(t, 0, "GET", "/devices/"+id+"/logs", w.bob, nil); !strings.Contains(logs.raw, `"event":"e"`) {
			t.Errorf("its logs are %s", logs.raw)
		}
		w.want(t, w.call(t, 1, "GET", "/devices/"+id, w.ann, nil), 404, hearth.CodeNotFound)
		w.want(t, w.call(t, 1, "GET", "/devices/me", byHand, nil), 401, hearth.CodeUnauthenticated)
		w.want(t, w.call(t, 1, "GET", "/devices/me", token, nil), 200, "")
		// The device still proves itself to the key that made it, and makes no second one.
		w.want(t, w.provision(0, key, "SN-1", ""), 409, hearth.CodeConflict)
		w.want(t, w.provision(0, key, "SN-1", "s"), 200, "")
		w.want(t, w.call(t, 0, "GET", "/devices/"+id, w.bob, nil), 200, "")

		// Neither code opens it again, for no one.
		for i, used := range []string{code, unused} {
			w.want(t, w.claim(i, w.ann, used, "198.51.100.2"), 404, hearth.CodeNotFound)
		}
		w.wantAudit("claim_code.create", `"target":"device:`+id+`"`, `"target":"device:`+id+`"`)
		refused := `"actor_id":"user:` + w.annID + `"`
		w.wantAudit("device.claim", refused, refused, `"target":"device:`+id+`"`, `"result":"not_found"`)
	})
}

func TestGuessingClaimCodesIsLimitedWhereNothingElseIs(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newProvisioned(t, m)
		for i := range 5 {
			r := w.want(t, w.claim(i, w.ann, "0000-0000-0000", fmt.Sprint("198.51.100.", i)), 404, hearth.CodeNotFound)
			if got := r.header.Get("RateLimit-Remaining"); got != fmt.Sprint(4-i) {
				t.Errorf("after %d attempts %q are left", i+1, got)
			}
		}
		blocked := w.want(t, w.claim(0, w.ann, "0000-0000-0000", "198.51.100.9"), 429, hearth.CodeRateLimited)
		if blocked.text("limit") != "claims" || blocked.header.Get("Retry-After") == "" {
			t.Errorf("the refusal is %s with %v", blocked.raw, blocked.header)
		}
		// Others at one address share it, whoever they are.
		for i := range 5 {
			token := []string{w.bob, w.admin}[i%2]
			w.want(t, w.claim(i, token, "0000-0000-0000", "203.0.113.1"), 404, hearth.CodeNotFound)
		}
		w.want(t, w.claim(1, w.bob, "0000-0000-0000", "203.0.113.1"), 429, hearth.CodeRateLimited)
		w.want(t, w.claim(1, w.bob, "0000-0000-0000", "203.0.113.2"), 404, hearth.CodeNotFound)
	})
}

func TestProvisioningIsLimitedByAddressAndByKey(t *testing.T) {
	t.Parallel()
	w := newInstances(t, apitest.Embedded, trustPeer, func(cfg *config.Config) {
		var err error
		if cfg.RateLimits, err = config.ParseRateLimits("provision=3/1h"); err != nil {
			t.Fatal(err)
		}
	})
	try := func(key, address string) reply {
		return w.call(t, 0, "POST", "/provision", "", apitest.Object{"key": key, "serial": "SN-1"}, "X-Forwarded-For", address)
	}
	for i := range 3 {
		w.want(t, try("hp_one", fmt.Sprint("198.51.100.", i)), 401, hearth.CodeUnauthenticated)
	}
	w.want(t, try("hp_one", "198.51.100.9"), 429, hearth.CodeRateLimited)
	for i := range 3 {
		w.want(t, try(fmt.Sprint("hp_", i), "203.0.113.1"), 401, hearth.CodeUnauthenticated)
	}
	if r := w.want(t, try("hp_more", "203.0.113.1"), 429, hearth.CodeRateLimited); r.text("limit") != "provision" {
		t.Errorf("the refusal is %s", r.raw)
	}
}
