package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
)

// newProvisioningKey is the body of a key; for the organization where the caller is of it.
func (w *fixture) newProvisioningKey(caller string) string {
	if strings.HasPrefix(caller, "o.") {
		return `{"name":"x","device_type":"lamp","organization_id":"` + w.org + `"}`
	}
	return `{"name":"x","device_type":"lamp"}`
}

// notification returns the newest notification of a person, who changes the password for it if there is none.
func (w *fixture) notification(t *testing.T, owner string) string {
	t.Helper()
	if id := w.first(t, owner, "/api/v1/notifications"); id != "" {
		return id
	}
	w.must(t, owner, "POST", "/api/v1/auth/password", `{"current_password":"`+apitest.Password+`","new_password":"`+apitest.Password+`"}`)
	return w.awaitFirst(t, owner, "/api/v1/notifications")
}

// hotRule is a rule of a person.
const hotRule = `{"name":"n","severity":"info","condition":{"event":"t","operator":"gt","value":30}}`

// rule makes a rule about an event of the devices of a person, or of the organization.
func (w *fixture) rule(t *testing.T, owner, event string) string {
	t.Helper()
	body := with(hotRule, "condition", map[string]any{"event": event, "operator": "gt", "value": 30})
	if strings.HasPrefix(owner, "o.") {
		body = with(body, "organization_id", w.org)
	}
	return apitest.Text(w.must(t, owner, "POST", "/api/v1/rules", body), "id")
}

// alarm has a device raise one.
func (w *fixture) alarm(t *testing.T, owner, device string) string {
	t.Helper()
	w.serial++
	event := fmt.Sprint("event", w.serial)
	rule := w.rule(t, owner, event)
	w.must(t, owner, "POST", "/api/v1/devices/"+device+"/logs", `{"event":"`+event+`","value":31}`)
	return w.awaitFirst(t, owner, "/api/v1/alarms?rule_id="+rule)
}

// awaitFirst is first, once the list is not empty.
func (w *fixture) awaitFirst(t *testing.T, caller, path string) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if id := w.first(t, caller, path); id != "" {
			return id
		}
	}
	t.Fatalf("%s stays empty for %s", path, caller)
	return ""
}

// first returns the id of the first item of a list; "" if it is empty.
func (w *fixture) first(t *testing.T, caller, path string) string {
	t.Helper()
	items, _ := w.get(t, caller, path)["items"].([]any)
	if len(items) == 0 {
		return ""
	}
	item, _ := items[0].(map[string]any)
	return apitest.Text(item, "id")
}

// newChannel is a notification channel that leads nowhere.
const newChannel = `{"name":"the secret channel","kind":"webhook","url":"https://hook.invalid/x","types":["alarm"]}`

// newWebhook returns the body of a webhook of the caller's or of the organization.
func (w *fixture) newWebhook(inOrg bool) string {
	body := `{"name":"the secret hook","url":"https://example.com/hook"}`
	if inOrg {
		return with(body, "organization_id", w.org)
	}
	return body
}

// newIntegration is the body of an integration that does not connect.
const newIntegration = `{"name":"n","url":"mqtt://127.0.0.1:9","dialects":["tasmota"],"enabled":false}`
