package rest

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"hearth/internal/api/resttest"

	"github.com/danielgtaylor/huma/v2"
)

func TestIDsAreReadInEitherCase(t *testing.T) {
	t.Parallel()
	const id = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
	op := Operation{Path: "/devices/{id}"}
	r := httptest.NewRequest("GET", "/x?device_ids="+strings.ToUpper(id)+"%2C"+strings.ToUpper(id)+"&q=ABC&organization_id="+strings.ToUpper(id), nil)
	r.SetPathValue("id", strings.ToUpper(id))
	lowerIDs(op.params(), r)
	if got := r.PathValue("id"); got != id {
		t.Errorf("the path names %s", got)
	}
	if want := "device_ids=" + id + "%2C" + id + "&q=ABC&organization_id=" + id; r.URL.RawQuery != want {
		t.Errorf("the query is %s, want %s", r.URL.RawQuery, want)
	}
	r.SetPathValue("id", "A name")
	if lowerIDs(op.params(), r); r.PathValue("id") != "A name" {
		t.Error("what is no id was changed")
	}
	for body, want := range map[string]bool{
		``: false, `"`: false, `""`: false, `{"a":"` + strings.ToUpper(id) + `"}`: true, `{"a":"` + id + `"}`: false, `"` + strings.ToUpper(id): false,
		`["x","` + strings.ToUpper(id) + `"`: true, `"\"` + strings.ToUpper(id) + `"`: true, `" ` + strings.ToUpper(id) + `"`: false,
	} {
		if got := hasUpperID([]byte(body)); got != want {
			t.Errorf("%s has an id in upper case: %v", body, got)
		}
	}
}

// recipients are a group or users' ids, as those of actions are.
type recipients struct {
	Group string
	Users []string
}

func (r *recipients) FromBody(value any) error {
	switch of := value.(type) {
	case string:
		r.Group = of
	case []any:
		for _, id := range of {
			r.Users = append(r.Users, id.(string))
		}
	}
	return nil
}

func (recipients) Schema(huma.Registry) *huma.Schema {
	text := &huma.Schema{Type: huma.TypeString}
	return &huma.Schema{OneOf: []*huma.Schema{text, {Type: huma.TypeArray, Items: text}}}
}

// idBody has ids in every way in which bodies have them.
type idBody struct {
	DeviceID       string           `json:"device_id,omitempty"`
	DeviceIDs      []string         `json:"device_ids,omitempty"`
	OrganizationID Optional[string] `json:"organization_id,omitempty"`
	OwnerID        *string          `json:"owner_id,omitempty"`
	Devices        *struct {
		IDs []string `json:"ids"`
	} `json:"devices,omitempty"`
	Actions []struct {
		Notify recipients `json:"notify,omitempty"`
	} `json:"actions,omitempty"`
	Name     string          `json:"name,omitempty"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

func TestIDsInBodiesAreReadInEitherCase(t *testing.T) {
	t.Parallel()
	a := newBoundedAPI(t)
	var got idBody
	Register(a, Operation{ID: "ids", Method: "POST", Path: "/ids", Tag: "Things", Access: ForUsers, Key: ClosedToKeys},
		func(_ context.Context, in *struct{ Body idBody }) (*struct{}, error) {
			got = in.Body
			return nil, nil
		})
	const lower = "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
	upper := strings.ToUpper(lower)
	body := func(id string) string {
		quoted := `"` + id + `"`
		return `{"device_id":` + quoted + `,"device_ids":[` + quoted + `,"x"],"organization_id":` + quoted + `,"owner_id":` + quoted +
			`,"devices":{"ids":[` + quoted + `]},"actions":[{"notify":[` + quoted + `]},{"notify":"owner"}],"name":"` + upper +
			`","metadata":{"device_id":"` + upper + `"}}`
	}
	owner := lower
	want := idBody{
		DeviceID: lower, DeviceIDs: []string{lower, "x"}, OrganizationID: Optional[string]{Set: true, Value: lower}, OwnerID: &owner,
		Name: upper, Metadata: json.RawMessage(`{"device_id":"` + upper + `"}`),
	}
	want.Devices = &struct {
		IDs []string `json:"ids"`
	}{[]string{lower}}
	want.Actions = make([]struct {
		Notify recipients `json:"notify,omitempty"`
	}, 2)
	want.Actions[0].Notify.Users, want.Actions[1].Notify.Group = []string{lower}, "owner"
	for _, id := range []string{lower, upper} {
		got = idBody{}
		if w := (resttest.Call{Method: "POST", Path: "/api/v1/ids", Token: "ann", Body: body(id)}).Do(t, a); w.Code != 204 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as\n%+v, want\n%+v", id, got, want)
		}
	}
}
