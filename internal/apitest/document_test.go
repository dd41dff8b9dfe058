package apitest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAnAnswerThatDiffersFromTheDocumentIsFound(t *testing.T) {
	t.Parallel()
	const token = `{"id":"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","token":"hd_x","created_at":"2026-11-29T10:21:17.796Z","gateway":false}`
	problem := func(code string) string {
		return `{"type":"urn:hearth:error:` + code + `","title":"t","status":409,"detail":"d","code":"` + code + `","request_id":"r"}`
	}
	for name, test := range map[string]struct {
		method, path string
		status       int
		contentType  string
		body         string
		lacks        string // what is wrong; "" is nothing
	}{
		"as it is documented":          {"POST", "/api/v1/devices/1/tokens", 201, "application/json", token, ""},
		"another field":                {"POST", "/api/v1/devices/1/tokens", 201, "application/json", strings.Replace(token, `{`, `{"new":1,`, 1), ""},
		"a field is missing":           {"POST", "/api/v1/devices/1/tokens", 201, "application/json", `{"id":"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"}`, "missing properties"},
		"null where none may be":       {"POST", "/api/v1/devices/1/tokens", 201, "application/json", strings.Replace(token, `"hd_x"`, `null`, 1), "got null, want string"},
		"no time":                      {"POST", "/api/v1/devices/1/tokens", 201, "application/json", strings.Replace(token, `2026-11-29T`, ``, 1), "date-time"},
		"another status":               {"POST", "/api/v1/devices/1/tokens", 202, "application/json", token, "status is not documented"},
		"another content type":         {"POST", "/api/v1/devices/1/tokens", 201, "text/plain", token, `content type is "text/plain"`},
		"no body":                      {"POST", "/api/v1/devices/1/tokens", 201, "application/json", "", "body is empty"},
		"a documented failure":         {"POST", "/api/v1/devices", 409, "application/problem+json", problem("conflict"), ""},
		"the code of another":          {"POST", "/api/v1/devices", 409, "application/problem+json", problem("email_taken"), "the code is not one of"},
		"an undocumented path":         {"GET", "/nothing", 418, "text/plain", "x", ""},
		"a page where devices are":     {"GET", "/api/v1/devices", 200, "application/json", `{"items":[{}],"next_cursor":null}`, "missing properties"},
		"the same with chosen fields":  {"GET", "/api/v1/devices?fields=id", 200, "application/json", `{"items":[{}],"next_cursor":null}`, ""},
		"another type with them":       {"GET", "/api/v1/devices?fields=id", 200, "application/json", `{"items":[{"id":7}],"next_cursor":null}`, "got number, want string"},
		"the longest of two paths":     {"GET", "/api/v1/devices/me", 404, "application/problem+json", strings.Replace(problem("not_found"), "409", "404", 1), ""},
		"an answer without a body":     {"DELETE", "/api/v1/devices/1", 204, "", "", ""},
		"text where no body should be": {"DELETE", "/api/v1/devices/1", 204, "text/plain", "x", "content type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, err := url.Parse(test.path)
			if err != nil {
				t.Fatal(err)
			}
			err = CheckAnswer(test.method, target, Answer{test.status, http.Header{"Content-Type": {test.contentType}}, []byte(test.body)})
			switch {
			case test.lacks == "" && err != nil:
				t.Error(err)
			case test.lacks != "" && (err == nil || !strings.Contains(err.Error(), test.lacks)):
				t.Errorf("%v, want %q", err, test.lacks)
			}
		})
	}
}
