package app_test

import (
	"database/sql"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"hearth/internal/apitest"
)

// unaudited are operations that change something and leave no audit entry: what devices report, what people read, and what
// goes on with a session that has one.
var unaudited = []string{ // never written to
	"refresh", "send-heartbeat", "send-heartbeats", "create-log", "create-logs", "read-notification", "read-all-notifications", "create-stream-ticket",
	"update-twin-reported", "acknowledge-command", "answer-command", "test-rule",
}

// takeTokens need what only a letter or the first start holds; their capabilities' tests break the audit for them.
var takeTokens = []string{"set-up", "confirm-password-reset", "confirm-email", "accept-invitation"} // never written to

// Where the audit entry of a change cannot be written, the change does not happen; and every change has one.
func TestNothingHappensWithoutItsAuditEntry(t *testing.T) {
	t.Parallel()
	w := newFixture(t, apitest.Embedded)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dir, "hearth.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	run := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for _, op := range w.operations() {
		if op.method == http.MethodGet || slices.Contains(takeTokens, op.OperationID) {
			continue
		}
		caller := "owner"
		switch {
		case strings.Contains(op.path, "/organizations/{"):
			caller = "o.owner"
		case strings.Contains(op.path, "/admin/"), strings.Contains(op.path, "/users/{"), strings.Contains(op.path, "/integrations"):
			caller = "admin"
		case op.OperationID == "acknowledge-command", op.OperationID == "answer-command":
			caller = "device"
		case op.OperationID == "transfer-device":
			caller = "o.owner"
		}
		request := w.request(t, op, caller)
		switch op.OperationID { // others change nothing
		case "transfer-device":
			request.body = `{"owner_id":"` + w.people["o.owner"] + `"}`
		case "update-user":
			request.body = `{"role":"admin"}`
		case "set-notification-settings":
			request.body = `{"types":{"account_locked":{"in_app":false,"email":false}},"devices":[]}`
		}
		w.bearer(t, caller)
		run(`CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'the audit is broken'); END`)
		got := w.send(t, op, caller, request)
		run(`DROP TRIGGER broken`)
		w.tokens["owner"], w.tokens["o.owner"] = "", "" // they may have ended
		switch listed := slices.Contains(unaudited, op.OperationID); {
		case got.status >= 500 && !listed:
			refused++
		case got.status >= 300 || !listed:
			t.Errorf("%s by %s without an audit: %d %.200s", op.OperationID, caller, got.status, got.body)
		}
	}
	t.Logf("%d operations were refused", refused)
	if refused < 25 {
		t.Error("hardly any operation writes an audit entry: the test lost its targets")
	}
}

// What people and devices call things is data in a stream, however it is written.
func TestANameForgesNoEvent(t *testing.T) {
	t.Parallel()
	c := apitest.SignUp(t, apitest.Start(t, apitest.Config(t)), annsMail)
	for _, end := range []string{"\n", "\r", "\r\n", "\u2028", "\u0085"} {
		evil := "x" + end + end + "event: device-deleted" + end + "id: forged" + end + "data: {}" + end + end
		id, _ := c.Call(t, "POST", "/devices", apitest.Object{"name": evil, "type": evil, "tags": []string{evil}, "metadata": apitest.Object{"k": evil}})["id"].(string)
		lines := c.Stream(t, "&channels=device:"+id)
		c.Call(t, "PATCH", "/devices/"+id, apitest.Object{"name": evil + "!"})
		c.Call(t, "POST", "/devices/"+id+"/logs", apitest.Object{"event": "x", "value": 1})
		events, timeout := 0, time.After(20*time.Second)
		for events < 2 {
			select {
			case line := <-lines:
				kind, value, _ := strings.Cut(line, ": ")
				switch {
				case kind == "event" && (value == "device-update" || value == "device-log"):
					events++
				case kind == "event", kind == "id" && value == "forged", kind == "data" && value == "{}", kind == "x":
					t.Errorf("%q makes the line %q", end, line)
				}
			case <-timeout:
				t.Fatalf("%q: only %d events came", end, events)
			}
		}
	}
}
