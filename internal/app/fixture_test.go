package app_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/apitest"
)

const missingID = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"

// dailyExport is a schedule of exports that anybody may have.
const dailyExport = `{"every":"daily","type":"logs","format":"csv"}`

// fixture is a running program with people, an organization and devices, each of which the tests know by name.
type fixture struct {
	*target
	// people are users by the name of the caller; tokens are their access tokens, made when they are needed.
	people map[string]string
	tokens map[string]string
	// device and mate are the owner's devices, orgDevice and orgMate the organization's.
	device, mate, orgDevice, orgMate string
	org                              string
	serial                           int
}

// newTown starts a program and fills it.
func newFixture(t *testing.T, m apitest.Mode) *fixture {
	t.Helper()
	w := &fixture{target: serveTarget(t, m, "off"), people: map[string]string{}, tokens: map[string]string{}}
	w.tokens["admin"] = w.token
	w.token = ""
	for _, name := range []string{"owner", "other", "disabled", "loggedout", "o.owner", "o.admin", "o.member", "o.viewer"} {
		made := w.must(t, "", "POST", "/api/v1/auth/signup", `{"name":"the `+name+`","email":"`+w.email(name)+`","password":"`+apitest.Password+`"}`)
		w.people[name] = inner(made, "user", "id")
	}
	w.org = apitest.Text(w.must(t, "o.owner", "POST", "/api/v1/organizations", `{"name":"the team"}`), "id")
	for _, role := range []string{"admin", "member", "viewer"} {
		w.must(t, "o.owner", "PUT", "/api/v1/organizations/"+w.org+"/members/"+w.people["o."+role], `{"role":"`+role+`"}`)
	}
	w.device, w.mate = w.newDevice(t, "owner"), w.newDevice(t, "owner")
	w.orgDevice, w.orgMate = w.newDevice(t, "o.owner"), w.newDevice(t, "o.owner")
	for name, id := range map[string]string{"device": w.device, "mate": w.mate} {
		w.tokens[name] = apitest.Text(w.must(t, "owner", "POST", "/api/v1/devices/"+id+"/tokens", ""), "token")
	}
	for _, caller := range []string{"owner", "o.owner"} {
		id := w.device
		if caller == "o.owner" {
			id = w.orgDevice
		}
		w.must(t, caller, "POST", "/api/v1/devices/"+id+"/logs", `{"event":"secret-event","value":4242}`)
		w.must(t, caller, "POST", "/api/v1/devices/"+id+"/heartbeat", "")
	}
	w.must(t, "loggedout", "POST", "/api/v1/auth/logout", "")
	w.login(t, "disabled")
	w.must(t, "admin", "PATCH", "/api/v1/users/"+w.people["disabled"], `{"disabled":true}`)
	return w
}

func (w *fixture) email(name string) string {
	if name == "admin" {
		return "root@example.com"
	}
	return name + "@example.com"
}

// secrets are what a stranger must never read, by what they are.
func (w *fixture) secrets() map[string]string {
	return map[string]string{
		"a device's id": w.device, "an organization's device": w.orgDevice, "an organization": w.org, "an event": "secret-event",
		"a person's e-mail": w.email("o.owner"), "a person's id": w.people["o.owner"],
	}
}

func (w *fixture) newDevice(t *testing.T, caller string) string {
	t.Helper()
	body := `{"name":"the secret lamp","type":"lamp"}`
	if caller == "o.owner" {
		body = `{"name":"the secret lamp","type":"lamp","organization_id":"` + w.org + `"}`
	}
	return apitest.Text(w.must(t, caller, "POST", "/api/v1/devices", body), "id")
}

// newOrg makes an organization with the same people in it.
func (w *fixture) newOrg(t *testing.T) string {
	t.Helper()
	id := apitest.Text(w.must(t, "o.owner", "POST", "/api/v1/organizations", `{"name":"another team"}`), "id")
	for _, role := range []string{"admin", "member", "viewer"} {
		w.must(t, "o.owner", "PUT", "/api/v1/organizations/"+id+"/members/"+w.people["o."+role], `{"role":"`+role+`"}`)
	}
	return id
}

// login returns a new pair of tokens of a person, and keeps the access token.
func (w *fixture) login(t *testing.T, name string) map[string]any {
	t.Helper()
	pair := w.must(t, "", "POST", "/api/v1/auth/login", `{"email":"`+w.email(name)+`","password":"`+apitest.Password+`"}`)
	w.tokens[name] = apitest.Text(pair, "access_token")
	return pair
}

// bearer returns the token of a caller; "" for nobody. key:SCOPE is an API key of the owner's with that scope, o.key one of the
// o.owner's with all of them, bound to the organization.
func (w *fixture) bearer(t *testing.T, caller string) string {
	t.Helper()
	scope, isKey := strings.CutPrefix(caller, "key:")
	switch {
	case caller == "nobody", caller == "":
		return ""
	case w.tokens[caller] != "":
	case caller == "o.key":
		w.tokens[caller] = w.newKey(t, "o.owner", w.org, hearth.KeyScopes()...)
	case isKey:
		w.tokens[caller] = w.newKey(t, "owner", "", hearth.KeyScope(scope))
	default:
		w.login(t, caller)
	}
	return w.tokens[caller]
}

// newKey makes an API key of a person, bound to an organization unless orgID is "".
func (w *fixture) newKey(t *testing.T, caller, orgID string, scopes ...hearth.KeyScope) string {
	t.Helper()
	body := asJSON(t, map[string]any{"name": "key of the test", "scopes": scopes})
	if orgID != "" {
		body = with(body, "organization_id", orgID)
	}
	return apitest.Text(w.must(t, caller, "POST", "/api/v1/users/me/api-keys", body), "key")
}

// must makes a call that has to succeed.
func (w *fixture) must(t *testing.T, caller, method, path, body string) map[string]any {
	t.Helper()
	c := &apitest.Client{URL: w.url, Token: w.bearer(t, caller)}
	if body == "" {
		return c.Call(t, method, path, nil)
	}
	return c.Call(t, method, path, body)
}

func (w *fixture) get(t *testing.T, caller, path string) map[string]any {
	t.Helper()
	return w.must(t, caller, "GET", path, "")
}

func inner(object map[string]any, outer, field string) string {
	value, _ := object[outer].(map[string]any)
	return apitest.Text(value, field)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// with returns a JSON object with one more field.
func with(body, field string, value any) string {
	object := map[string]any{}
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		panic(fmt.Sprintf("the body %s of the test: %v", body, err))
	}
	object[field] = value
	data, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// operationOf is one operation of the document.
type operationOf struct {
	documented
	method, path string
}

// operations are all of the document, in a fixed order.
func (w *fixture) operations() (all []operationOf) {
	for path, methods := range w.doc.Paths {
		for method, op := range methods {
			all = append(all, operationOf{op, strings.ToUpper(method), path})
		}
	}
	slices.SortFunc(all, func(a, b operationOf) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
	})
	return all
}

func (op operationOf) pathIDs() (names []string) {
	for _, p := range op.Parameters {
		if p.In == "path" {
			names = append(names, p.Name)
		}
	}
	return names
}

// places returns, for each string in the operation's body, what makes a body with another one there.
func (w *fixture) places(op operationOf) map[string]func(string) string {
	all := map[string]func(string) string{}
	if op.RequestBody == nil {
		return all
	}
	found := map[string]func(string) any{}
	w.doc.variants(op.RequestBody.Content["application/json"].Schema, "body", found)
	for place, filled := range found {
		all[place] = func(text string) string {
			data, err := json.Marshal(filled(text))
			if err != nil {
				panic(err)
			}
			return string(data)
		}
	}
	return all
}

// call is what a request asks for.
type call struct {
	ids   map[string]string
	query url.Values
	body  string
}

// answer is what came back; whole is everything of it but the date.
type answer struct {
	status int
	body   string
	whole  string
}

// ask makes the operation's request for a caller.
func (w *fixture) ask(t *testing.T, op operationOf, caller string) answer {
	t.Helper()
	got := w.send(t, op, caller, w.request(t, op, caller))
	switch op.OperationID {
	case "log-out", "log-out-all", "change-password", "revoke", "end-session": // some sessions are over now
		dead := map[string]string{"disabled": w.tokens["disabled"], "loggedout": w.tokens["loggedout"], "device": w.tokens["device"], "mate": w.tokens["mate"]}
		dead["o.key"] = w.tokens["o.key"] // it lives on
		w.tokens = dead
	}
	return got
}

func (w *fixture) send(t *testing.T, op operationOf, caller string, c call) answer {
	t.Helper()
	path := op.path
	for name, id := range c.ids {
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	if len(c.query) > 0 {
		path += "?" + c.query.Encode()
	}
	header := http.Header{"X-Request-Id": {"the-same-for-all"}}
	if token := w.bearer(t, caller); token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	if c.body != "" {
		header.Set("Content-Type", "application/json")
	}
	if op.OperationID == "claim-device" { // each caller has an address of its own
		w.serial++
		header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", w.serial%250))
	}
	if op.OperationID == "connect-websocket" || op.OperationID == "connect-mqtt" {
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "websocket")
		header.Set("Sec-WebSocket-Version", "13")
		header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	}
	resp := w.do(t, op.method, path, header, c.body)
	defer resp.Body.Close()
	got := answer{status: resp.StatusCode}
	if streams := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream"); !streams && got.status != http.StatusSwitchingProtocols {
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		got.body = string(data)
	}
	var whole bytes.Buffer
	fmt.Fprintln(&whole, resp.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if name != "Date" {
			fmt.Fprintln(&whole, name, resp.Header[name])
		}
	}
	got.whole = whole.String() + got.body
	return got
}

// request makes a request of the operation that succeeds for who may make it.
func (w *fixture) request(t *testing.T, op operationOf, caller string) call {
	t.Helper()
	c := call{ids: w.ids(t, op, caller), query: url.Values{}, body: w.body(t, op, caller)}
	inOrg := strings.HasPrefix(caller, "o.")
	device, mate, scope := w.device, w.mate, ""
	if inOrg {
		device, mate = w.orgDevice, w.orgMate
	}
	switch {
	case inOrg, caller == "other", caller == "admin":
		scope = w.org
	}
	for _, p := range op.Parameters {
		switch {
		case p.In != "query":
		case p.Required && p.Name == "from":
			c.query.Set("from", "2026-01-01T00:00:00Z")
		case p.Required && p.Name == "to":
			c.query.Set("to", "2026-01-02T00:00:00Z")
		case p.Required && p.Name == "event":
			c.query.Set("event", "temperature")
		case p.Name == "range":
			c.query.Set("range", "24h")
		case p.Name == "interval":
			c.query.Set("interval", "hour")
		case p.Name == "organization_id" && scope != "" && strings.Contains(op.path, "/analytics/") && op.OperationID != "comparison":
			c.query.Set("organization_id", scope)
		case p.Name == "device_ids":
			c.query.Set("device_ids", device+","+mate)
		case p.Name == "channels":
			c.query.Set("channels", "device:"+device)
		}
	}
	return c
}

// ids returns what stands in the path. What an operation deletes is made for it.
func (w *fixture) ids(t *testing.T, op operationOf, caller string) map[string]string {
	t.Helper()
	ids := map[string]string{}
	inOrg := strings.HasPrefix(caller, "o.")
	device, owner := w.device, "owner"
	if inOrg {
		device, owner = w.orgDevice, "o.owner"
	}
	for _, name := range op.pathIDs() {
		switch {
		case name == "token_id":
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/devices/"+device+"/tokens", ""), "id")
		case name == "invitation_id":
			body := fmt.Sprintf(`{"email":"invited%d@example.com","role":"viewer"}`, w.serial)
			ids[name] = apitest.Text(w.must(t, "o.owner", "POST", "/api/v1/organizations/"+w.org+"/invitations", body), "id")
		case name == "user_id":
			ids[name] = w.people["o.viewer"]
			if op.method == http.MethodDelete || op.method == http.MethodPut {
				ids["id"] = w.newOrg(t)
			}
			if caller == "o.viewer" { // everybody may leave
				ids[name] = w.people["o.member"]
			}
		case ids[name] != "":
		case op.OperationID == "delete-device":
			ids[name] = w.newDevice(t, owner)
		case op.OperationID == "delete-organization":
			ids[name] = w.newOrg(t)
		case name == "command_id", strings.Contains(op.path, "/commands/{id}"), op.OperationID == "next-command":
			made := apitest.Text(w.must(t, owner, "POST", "/api/v1/devices/"+device+"/commands", `{"name":"x"}`), "id")
			if ids[name] = made; op.OperationID == "next-command" {
				ids[name] = device
			}
		case strings.Contains(op.path, "/command-batches/"):
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/commands", `{"name":"x","device_ids":["`+device+`"]}`), "id")
		case strings.Contains(op.path, "/exports/"):
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/exports", `{"type":"logs","format":"csv"}`), "id")
		case name == "delivery_id":
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/webhooks/"+ids["id"]+"/test", ""), "id")
		case strings.Contains(op.path, "/webhooks/"):
			if ids[name] = w.first(t, owner, "/api/v1/webhooks"); ids[name] == "" || op.OperationID == "delete-webhook" {
				ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/webhooks", w.newWebhook(inOrg)), "id")
			}
		case strings.Contains(op.path, "/integrations/"):
			if ids[name] = w.first(t, "admin", "/api/v1/integrations"); ids[name] == "" || op.OperationID == "delete-integration" {
				ids[name] = apitest.Text(w.must(t, "admin", "POST", "/api/v1/integrations", newIntegration), "id")
			}
		case strings.Contains(op.path, "/export-schedules/"):
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/export-schedules", dailyExport), "id")
		case strings.Contains(op.path, "/rules/"):
			ids[name] = w.rule(t, owner, "t")
		case strings.Contains(op.path, "/alarms/"):
			ids[name] = w.alarm(t, owner, device)
		case strings.Contains(op.path, "/devices/"):
			ids[name] = device
		case strings.Contains(op.path, "/organizations/"):
			ids[name] = w.org
		case strings.Contains(op.path, "/notification-channels/"):
			if ids[name] = w.first(t, owner, "/api/v1/users/me/notification-channels"); ids[name] == "" {
				ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/users/me/notification-channels", newChannel), "id")
			}
		case strings.Contains(op.path, "/api-keys/"):
			body := `{"name":"x","scopes":["devices:read"]}`
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/users/me/api-keys", body), "id")
		case strings.Contains(op.path, "/provisioning-keys/"):
			ids[name] = apitest.Text(w.must(t, owner, "POST", "/api/v1/provisioning-keys", w.newProvisioningKey(caller)), "id")
		case strings.Contains(op.path, "/users/"):
			ids[name] = w.people["other"]
		case strings.Contains(op.path, "/sessions/"):
			w.login(t, "owner")
			sessions, _ := w.get(t, "owner", "/api/v1/auth/sessions")["items"].([]any)
			newest, _ := sessions[0].(map[string]any)
			ids[name] = apitest.Text(newest, "id")
			w.tokens["owner"] = "" // it is about to end
		case strings.Contains(op.path, "/notifications/"):
			ids[name] = w.notification(t, owner)
		case strings.Contains(op.path, "/admin/jobs/"):
			w.notification(t, "owner")
			ids[name] = w.awaitFirst(t, "admin", "/api/v1/admin/jobs?queue=notification&state=completed")
		default:
			t.Fatalf("%s: the test does not know what {%s} is", op.path, name)
		}
	}
	return ids
}

// body returns a body that succeeds; the document's examples where nothing else is said.
func (w *fixture) body(t *testing.T, op operationOf, caller string) string {
	t.Helper()
	inOrg := strings.HasPrefix(caller, "o.")
	device := w.device
	if inOrg {
		device = w.orgDevice
	}
	w.serial++
	fresh := fmt.Sprintf("new%d@example.com", w.serial)
	switch op.OperationID {
	case "transfer-device": // to where it is
		if inOrg {
			return `{"organization_id":"` + w.org + `"}`
		}
		return `{"owner_id":"` + w.people["owner"] + `"}`
	case "log-in":
		return `{"email":"` + w.email("owner") + `","password":"` + apitest.Password + `"}`
	case "refresh":
		return `{"refresh_token":"` + apitest.Text(w.login(t, "other"), "refresh_token") + `"}`
	case "revoke":
		return `{"token":"` + apitest.Text(w.login(t, "other"), "refresh_token") + `"}`
	case "set-up":
		return `{"token":"x","name":"x","email":"` + fresh + `","password":"` + apitest.Password + `"}`
	case "sign-up":
		return `{"name":"x","email":"` + fresh + `","password":"` + apitest.Password + `"}`
	case "confirm-password-reset":
		return `{"token":"x","new_password":"` + apitest.Password + `"}`
	case "confirm-email":
		return `{"token":"x"}`
	case "change-password":
		return `{"current_password":"` + apitest.Password + `","new_password":"` + apitest.Password + `"}`
	case "request-password-reset":
		return `{"email":"` + w.email("owner") + `"}`
	case "create-api-key":
		return `{"name":"x","scopes":["devices:read"]}`
	case "create-provisioning-key":
		return w.newProvisioningKey(caller)
	case "provision-device":
		key := apitest.Text(w.must(t, "owner", "POST", "/api/v1/provisioning-keys", `{"name":"x","device_type":"lamp"}`), "key")
		return fmt.Sprintf(`{"key":%q,"serial":"SN %d"}`, key, w.serial)
	case "claim-device":
		given := w.newDevice(t, "owner")
		return `{"code":"` + apitest.Text(w.must(t, "owner", "POST", "/api/v1/devices/"+given+"/claim-codes", ""), "code") + `"}`
	case "update-me":
		return `{"name":"x"}`
	case "update-user":
		return `{"role":"` + string(hearth.RoleUser) + `"}`
	case "create-device", "create-devices":
		item := `{"name":"x","type":"lamp"}`
		if inOrg {
			item = `{"name":"x","type":"lamp","organization_id":"` + w.org + `"}`
		}
		if op.OperationID == "create-devices" {
			return `{"items":[` + item + `]}`
		}
		return item
	case "set-notification-settings":
		return `{"types":{},"devices":[]}`
	case "create-notification-channel":
		return newChannel
	case "update-device", "update-organization", "create-organization", "update-notification-channel":
		return `{"name":"x"}`
	case "send-heartbeat":
		return `{}`
	case "send-heartbeats":
		return `{"items":[{"device_id":"` + device + `"}]}`
	case "create-rule":
		if inOrg {
			return with(hotRule, "organization_id", w.org)
		}
		return hotRule
	case "update-rule":
		return `{"name":"another"}`
	case "test-rule":
		return `{"from":"2026-03-01T12:00:00Z","to":"2026-03-02T12:00:00Z"}`
	case "comment-alarm":
		return `{"text":"x"}`
	case "send-command":
		return `{"name":"x"}`
	case "send-commands":
		return `{"name":"x","device_ids":["` + device + `"]}`
	case "answer-command":
		return `{"ok":true}`
	case "create-log":
		return `{"event":"x","value":1}`
	case "create-logs":
		return `[{"device_id":"` + device + `","event":"x","value":1}]`
	case "create-export":
		return `{"type":"logs","format":"csv"}`
	case "create-export-schedule":
		return dailyExport
	case "create-webhook":
		return w.newWebhook(inOrg)
	case "create-integration":
		return newIntegration
	case "update-webhook", "update-integration":
		return `{"name":"another"}`
	case "update-export-schedule":
		return `{"enabled":false}`
	case "set-member":
		return `{"role":"member"}`
	case "create-invitation":
		return `{"email":"` + fresh + `","role":"viewer"}`
	case "accept-invitation":
		return `{"token":"x"}`
	}
	if op.RequestBody == nil {
		return ""
	}
	return asJSON(t, w.doc.sample(op.RequestBody.Content["application/json"].Schema))
}
