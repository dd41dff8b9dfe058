package rest

import (
	"context"
	"net/http/httptest"
	"reflect"
	"testing"

	"hearth"
	"hearth/internal/api/resttest"
)

func TestParametersAreGivenOnce(t *testing.T) {
	t.Parallel()
	a := newBoundedAPI(t)
	var got []string
	Register(a, Operation{ID: "listed", Method: "GET", Path: "/listed", Tag: "Things", Access: ForUsers, Key: ClosedToKeys},
		func(_ context.Context, in *struct {
			IDs   []string `query:"device_ids"`
			Limit int      `query:"limit"`
			Name  string   `query:"name"`
		}) (*struct{}, error) {
			got = in.IDs
			return nil, nil
		})
	for query, wrong := range map[string][]string{
		"limit=1&name=x":               nil,
		"limit=1&limit=1":              {"query.limit"},
		"name=&name=x&limit=1&limit=2": {"query.limit", "query.name"},
		"name=x&x=1&x=2&name=y":        {"query.name", "query.x"},
	} {
		w := resttest.Call{Method: "GET", Path: "/api/v1/listed?" + query, Token: "ann"}.Do(t, a)
		if wrong == nil {
			if w.Code != 204 {
				t.Errorf("%s: %d %s", query, w.Code, w.Body)
			}
			continue
		}
		var places []string
		problem := resttest.ProblemIn(t, w)
		for _, field := range problem.Errors {
			places = append(places, field.Location)
		}
		if problem.Code != hearth.CodeValidationFailed || !reflect.DeepEqual(places, wrong) {
			t.Errorf("%s: %s %v, want %v", query, problem.Code, places, wrong)
		}
	}
	if w := (resttest.Call{Method: "GET", Path: "/api/v1/listed?device_ids=a,b&device_ids=c", Token: "ann"}).Do(t, a); w.Code != 204 || !reflect.DeepEqual(got, []string{"a", "b", "c"}) {
		t.Errorf("a list in two parts: %d, read as %v", w.Code, got)
	}
}

func TestAPathWithoutAnIDHasMethodsOfItsOwn(t *testing.T) {
	t.Parallel()
	a := newRouter(t, Options{Users: resttest.Tokens{}, Devices: resttest.Tokens{}})
	b := &Router{mux: a.mux, methods: map[string][]string{
		"/x/{id}": {"GET", "DELETE", "PATCH"}, "/x/all": {"POST", "PATCH"}, "/x/{id}/y": {"PUT"}, "/x/all/y": {"GET"}, "/y": {"GET"},
	}}
	b.refuseShared()
	for _, tt := range []struct{ method, path, allow string }{
		{"GET", "/x/all", "PATCH, POST"}, {"HEAD", "/x/all", "PATCH, POST"}, {"DELETE", "/x/all", "PATCH, POST"}, {"PUT", "/x/all/y", "GET, HEAD"},
	} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != 405 || w.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, allowed are %q, want 405 and %q", tt.method, tt.path, w.Code, w.Header().Get("Allow"), tt.allow)
		}
	}
}
