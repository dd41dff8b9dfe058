package app_test

import (
	"strings"
	"testing"

	"hearth/internal/apitest"
)

// Some programs write UUIDs in upper case.
func TestIDsInBodiesAreReadInEitherCase(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		url := apitest.Start(t, m.Config(t))
		ann := apitest.SignUp(t, url, "ann@example.com")
		upper := func(o apitest.Object) string { return strings.ToUpper(apitest.Text(o, "id")) }
		me := upper(ann.Call(t, "GET", "/users/me", nil))
		org := upper(ann.Call(t, "POST", "/organizations", apitest.Object{"name": "the team"}))
		lamp := ann.Call(t, "POST", "/devices", apitest.Object{"name": "lamp", "type": "t", "metadata": apitest.Object{"room_id": me}})
		id := upper(lamp)
		if metadata, _ := lamp["metadata"].(apitest.Object); metadata["room_id"] != me {
			t.Errorf("metadata came back as %v", metadata)
		}
		for _, c := range []struct {
			path   string
			body   any
			status int
			want   string
		}{
			{"/logs", []any{apitest.Object{"device_id": id, "event": "e", "value": id}}, 201, `{"accepted":1}`},
			{"/heartbeats", apitest.Object{"items": []any{apitest.Object{"device_id": id}}}, 200, `{"accepted":1,"rejected":[]}`},
			{"/commands", apitest.Object{"name": "x", "device_ids": []string{id}}, 202, `"total":1`},
			{"/exports", apitest.Object{"type": "logs", "format": "csv", "range": "24h", "filters": apitest.Object{"device_ids": []string{id}}}, 202, strings.ToLower(id)},
			{"/devices", apitest.Object{"name": "a", "type": "t", "organization_id": org}, 201, strings.ToLower(org)},
			{"/devices/batch", apitest.Object{"items": []any{apitest.Object{"name": "b", "type": "t", "organization_id": org}}}, 201, strings.ToLower(org)},
			{"/provisioning-keys", apitest.Object{"name": "k", "device_type": "t", "organization_id": org}, 201, strings.ToLower(org)},
			{"/users/me/api-keys", apitest.Object{"name": "k", "scopes": []string{"devices:read"}, "organization_id": org}, 201, strings.ToLower(org)},
			{"/rules", apitest.Object{
				"name": "r", "devices": apitest.Object{"ids": []string{id}}, "condition": apitest.Object{"event": "e", "operator": "eq", "value": id},
				"severity": "info", "actions": []any{apitest.Object{"notify": []string{me}}},
			}, 201, `"notify":["` + strings.ToLower(me) + `"]`},
			// Who makes a rule of an organization may name themselves, as one of its members.
			{"/rules", apitest.Object{
				"name": "r", "organization_id": org, "condition": apitest.Object{"event": "e", "operator": "eq", "value": 1},
				"severity": "info", "actions": []any{apitest.Object{"notify": []string{me}}},
			}, 201, `"notify":["` + strings.ToLower(me) + `"]`},
			{"/devices/" + id + "/transfer", apitest.Object{"organization_id": org}, 200, strings.ToLower(org)},
			{"/devices/" + id + "/transfer", apitest.Object{"owner_id": me}, 200, strings.ToLower(me)},
		} {
			if status, body := ann.Ask(t, "POST", c.path, c.body).Text(); status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("POST %s %v: %d %s, want %d %s", c.path, c.body, status, body, c.status, c.want)
			}
		}
		if _, body := ann.Ask(t, "GET", "/devices/"+id+"/latest", nil).Text(); !strings.Contains(body, `"value":"`+id+`"`) {
			t.Errorf("a value that looks like an id came back as %s", body)
		}
	})
}
