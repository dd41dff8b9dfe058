package app_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"hearth/internal/apitest"
)

// notProtected create nothing that lasts, or can be done once anyway.
var notProtected = []string{"set-up", "request-password-reset", "confirm-email", "create-stream-ticket", "order-backup"} // never written to

// testedElsewhere need more than a request, such as a letter's token.
var testedElsewhere = []string{"accept-invitation", "comment-alarm"} // never written to

// creation is a request that makes one object; list then has one more, if there is a list.
type creation struct{ method, path, body, list string }

// creations returns a valid request for every operation that takes an Idempotency-Key.
func creations(device, other, organization, provisioning, webhook string) map[string]creation {
	organizations := "/api/v1/organizations"
	devices, logs, tokens := "/api/v1/devices", "/api/v1/devices/"+device+"/logs", "/api/v1/devices/"+device+"/tokens"
	log := `"event":"e","value":1,"timestamp":"2026-03-01T12:00:00Z"}`
	return map[string]creation{
		"sign-up":                 {"POST", "/api/v1/auth/signup", `{"name":"N","email":"n@example.com","password":"a long enough secret"}`, "/api/v1/users"},
		"create-device":           {"POST", devices, `{"name":"n","type":"t"}`, devices},
		"create-devices":          {"POST", devices + "/batch", `{"items":[{"name":"n","type":"t"}]}`, devices},
		"create-organization":     {"POST", organizations, `{"name":"n"}`, organizations},
		"create-invitation":       {"POST", organizations + "/" + organization + "/invitations", `{"email":"x@example.com","role":"viewer"}`, ""},
		"create-device-token":     {"POST", tokens, "", tokens},
		"create-export":           {"POST", "/api/v1/exports", `{"type":"logs","format":"csv"}`, "/api/v1/exports"},
		"create-export-schedule":  {"POST", "/api/v1/export-schedules", dailyExport, "/api/v1/export-schedules"},
		"create-log":              {"POST", logs, `{` + log, logs},
		"create-logs":             {"POST", "/api/v1/logs", `[{"device_id":"` + device + `",` + log + `]`, logs},
		"create-api-key":          {"POST", "/api/v1/users/me/api-keys", `{"name":"n","scopes":["devices:read"]}`, "/api/v1/users/me/api-keys"},
		"create-provisioning-key": {"POST", "/api/v1/provisioning-keys", `{"name":"n","device_type":"t"}`, "/api/v1/provisioning-keys"},
		"provision-device":        {"POST", "/api/v1/provision", `{"key":"` + provisioning + `","serial":"S","name":"n"}`, devices},
		"create-claim-code":       {"POST", devices + "/" + device + "/claim-codes", "", ""},
		"create-webhook":          {"POST", "/api/v1/webhooks", `{"name":"n","url":"https://example.com/"}`, "/api/v1/webhooks"},
		"test-webhook":            {"POST", "/api/v1/webhooks/" + webhook + "/test", "", "/api/v1/webhooks/" + webhook + "/deliveries"},
		"create-notification-channel": {
			"POST", "/api/v1/users/me/notification-channels", `{"name":"n","kind":"slack","url":"https://hook.invalid/x","types":[]}`,
			"/api/v1/users/me/notification-channels",
		},
		"create-integration": {"POST", "/api/v1/integrations", newIntegration, "/api/v1/integrations"},
		"create-rule":        {"POST", "/api/v1/rules", hotRule, "/api/v1/rules"},
		"send-command":       {"POST", devices + "/" + device + "/commands", `{"name":"n"}`, devices + "/" + device + "/commands"},
		"send-commands":      {"POST", "/api/v1/commands", `{"name":"n","device_ids":["` + other + `"]}`, devices + "/" + other + "/commands"},
	}
}

func (s *target) count(t *testing.T, list string) int {
	t.Helper()
	if list == "" {
		return 0
	}
	var answer struct {
		Items []json.RawMessage `json:"items"`
	}
	s.get(t, list+"?limit=200", &answer)
	return len(answer.Items)
}

// create posts with a key and returns the answer as one text.
func (s *target) create(t *testing.T, c creation, key string) (answer string, replayed bool) {
	t.Helper()
	header := http.Header{"Idempotency-Key": {key}}
	if c.body != "" {
		header.Set("Content-Type", "application/json")
	}
	resp := s.do(t, c.method, c.path, header, c.body)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return fmt.Sprint(resp.StatusCode, resp.Header.Get("Location"), resp.Header.Get("Content-Type"), string(body)),
		resp.Header.Get("Idempotency-Replayed") == "true"
}

func TestEveryCreationHappensOnce(t *testing.T) {
	t.Parallel()
	s := serveTarget(t, apitest.Embedded, "off")
	made := func(path, body string) string {
		t.Helper()
		var object struct {
			ID  string `json:"id"`
			Key string `json:"key"`
		}
		status, answer := s.send(t, "POST", path, body)
		if err := json.Unmarshal([]byte(answer), &object); err != nil || object.ID == "" {
			t.Fatalf("%s: %d %s %v", path, status, answer, err)
		}
		return cmp.Or(object.Key, object.ID)
	}
	device, second := made("/api/v1/devices", `{"name":"n","type":"t"}`), made("/api/v1/devices", `{"name":"n","type":"t"}`)
	hook := `{"name":"n","url":"https://example.com/"}`
	webhook, secondHook := made("/api/v1/webhooks", hook), made("/api/v1/webhooks", hook)
	known := creations(device, second, made("/api/v1/organizations", `{"name":"n"}`),
		made("/api/v1/provisioning-keys", `{"name":"k","device_type":"t"}`), webhook)
	for path, methods := range s.doc.Paths {
		for method, op := range methods {
			takesKey := false
			for _, p := range op.Parameters {
				takesKey = takesKey || p.Name == "Idempotency-Key"
			}
			creates := method == "post" && (op.Responses["201"] != nil || op.Responses["202"] != nil)
			if creates && !takesKey && !slices.Contains(notProtected, op.OperationID) {
				t.Errorf("%s %s (%s) creates, and takes no Idempotency-Key", method, path, op.OperationID)
			}
			if _, ok := known[op.OperationID]; takesKey && !ok && !slices.Contains(testedElsewhere, op.OperationID) {
				t.Errorf("%s has no request in this test", op.OperationID)
			}
		}
	}
	for id, c := range known {
		before := s.count(t, c.list)
		key := uuid.NewString()
		answers := make([]string, 100)
		var replays sync.Map
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				var replayed bool
				answers[i], replayed = s.create(t, c, key)
				replays.Store(i, replayed)
			})
		}
		wg.Wait()
		first := 0
		for i, answer := range answers {
			if answer != answers[0] || !strings.HasPrefix(answer, "20") {
				t.Errorf("%s: two answers: %s and %s", id, answer, answers[0])
			}
			if replayed, _ := replays.Load(i); replayed != true {
				first++
			}
		}
		after := s.count(t, c.list)
		for placing := time.Now().Add(20 * time.Second); id == "send-commands" && after == before && time.Now().Before(placing); {
			after = s.count(t, c.list) // a job places the commands of a batch
		}
		if c.list != "" && after != before+1 || first != 1 {
			t.Errorf("%s: %d new objects from 100 posts, want 1; %d first answers", id, after-before, first)
		}
		other := c
		if other.body == "" {
			other.path = strings.NewReplacer(device, second, webhook, secondHook).Replace(c.path)
		} else {
			other.body = strings.Replace(strings.Replace(c.body, `"n"`, `"other"`, 1), `"value":1`, `"value":2`, 1)
			other.body = strings.Replace(other.body, `"name":"N"`, `"name":"other"`, 1)
			other.body = strings.Replace(other.body, "viewer", "member", 1)
			other.body = strings.Replace(other.body, `"csv"`, `"json"`, 1)
		}
		if answer, _ := s.create(t, other, key); !strings.Contains(answer, "idempotency_mismatch") {
			t.Errorf("%s: the same key for another request: %s", id, answer)
		}
	}
}
