package app_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hearth/internal/apitest"
)

// conditionalCaller is who may make a change of the operation.
func conditionalCaller(op operationOf) string {
	switch {
	case strings.Contains(op.path, "/organizations/"):
		return "o.owner"
	case strings.Contains(op.path, "/admin/"), strings.Contains(op.path, "/integrations"), op.OperationID == "update-user":
		return "admin"
	}
	return "owner"
}

// try makes a request with the ids and the body of c, and returns the answer's status, entity tag and body.
func (w *fixture) try(t *testing.T, method, path, caller string, c call, header http.Header) (status int, tag, body string) {
	t.Helper()
	for name, id := range c.ids {
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	if len(c.query) > 0 && method != http.MethodGet {
		path += "?" + c.query.Encode()
	}
	header.Set("Authorization", "Bearer "+w.bearer(t, caller))
	if c.body != "" && method != http.MethodGet {
		header.Set("Content-Type", "application/json")
	} else {
		c.body = ""
	}
	resp := w.do(t, method, path, header, c.body)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("ETag"), string(data)
}

// Every PATCH, PUT and DELETE of the document is tried with stale and with current entity tags.
func TestEveryChangeHonoursIfMatch(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, mode apitest.Mode) {
		w := newFixture(t, mode)
		get := map[string]string{} // the path that serves the entity tag, by the path of the change
		for _, op := range w.operations() {
			if _, tagged := op.Responses["304"]; op.method == http.MethodGet && tagged {
				get[op.path] = op.path
			}
		}
		for _, side := range []string{"desired", "reported"} {
			get["/api/v1/devices/{id}/twin/"+side] = "/api/v1/devices/{id}/twin"
		}
		tried := 0
		for _, op := range w.operations() {
			if !slices.Contains([]string{"PATCH", "PUT", "DELETE"}, op.method) {
				continue
			}
			tried++
			caller := conditionalCaller(op)
			c := w.request(t, op, caller)
			conditional := func(tags ...string) int {
				status, _, body := w.try(t, op.method, op.path, caller, c, http.Header{"If-Match": tags})
				if status == http.StatusPreconditionFailed && !strings.Contains(body, `"code":"version_mismatch"`) {
					t.Errorf("%s: the refusal is %s", op.OperationID, body)
				}
				return status
			}
			for _, stale := range []string{`"0-0123456789abcdef"`, `"x", W/"y"`, `x`} {
				if status := conditional(stale); status != http.StatusPreconditionFailed {
					t.Errorf("%s with the tag %s: %d, want 412", op.OperationID, stale, status)
				}
			}
			current := []string{"*"}
			if get[op.path] != "" {
				status, tag, body := w.try(t, "GET", get[op.path], caller, c, http.Header{})
				if status != http.StatusOK || tag == "" {
					t.Fatalf("GET %s: %d, tag %q: %s", op.path, status, tag, body)
				}
				current = []string{`"other"`, `"another",W/` + tag} // a list of two lines
			}
			if status := conditional(current...); status >= 300 {
				t.Errorf("%s with the tags %s: %d", op.OperationID, current, status)
			}
			if op.method != http.MethodDelete {
				continue
			}
			c = w.request(t, op, caller)
			if status := conditional("*"); status >= 300 {
				t.Errorf("%s with any tag: %d", op.OperationID, status)
			}
		}
		if tried < 12 {
			t.Errorf("only %d operations were tried", tried)
		}
	})
}
