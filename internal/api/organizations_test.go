package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hearth"
)

func TestAnOrganizationLivesByTheContract(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.want(f.call("ann", "POST", "/organizations", `{"name":"Team"}`), 201, "")
	id := made.text("id")
	if made.header.Get("Location") != "/api/v1/organizations/"+id || made.text("role") != "owner" || made.text("name") != "Team" {
		t.Errorf("made %s at %s", made.raw, made.header.Get("Location"))
	}
	path := "/organizations/" + id
	f.want(f.call("bob", "GET", path, ""), 404, hearth.CodeNotFound)
	if list := f.want(f.call("bob", "GET", "/organizations?count=true", ""), 200, ""); list.body["total"] != 0.0 {
		t.Errorf("bob sees %s", list.raw)
	}
	if m := f.want(f.call("ann", "PUT", path+"/members/bob", `{"role":"viewer"}`), 200, ""); m.text("user_id") != "bob" || m.text("role") != "viewer" || m.text("email") != "bob@example.com" {
		t.Errorf("set %s", m.raw)
	}
	if got := f.want(f.call("bob", "GET", path, ""), 200, ""); got.text("role") != "viewer" || got.header.Get("ETag") == "" {
		t.Errorf("bob sees %s", got.raw)
	}
	f.want(f.call("bob", "PATCH", path, `{"name":"x"}`), 403, hearth.CodeForbidden)
	f.want(f.call("bob", "PUT", path+"/members/bob", `{"role":"owner"}`), 403, hearth.CodeForbidden)
	f.want(f.call("ann", "PUT", path+"/members/ann", `{"role":"member"}`), 409, hearth.CodeConflict)
	f.want(f.call("ann", "DELETE", path+"/members/ann", ""), 409, hearth.CodeConflict)
	f.want(f.call("ann", "PUT", path+"/members/bob", `{"role":"chief"}`), 422, hearth.CodeValidationFailed)
	f.want(f.call("ann", "PUT", path+"/members/nobody", `{"role":"viewer"}`), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "PATCH", path, `{"name":null}`), 422, hearth.CodeValidationFailed)
	f.want(f.call("ann", "POST", "/organizations", `{"name":" "}`), 422, hearth.CodeValidationFailed)
	if got := f.want(f.call("ann", "PATCH", path, `{"name":"New"}`), 200, ""); got.text("name") != "New" {
		t.Errorf("renamed to %s", got.raw)
	}
	if list := f.want(f.call("bob", "GET", path+"/members?fields=user_id&limit=1", ""), 200, ""); !strings.Contains(list.raw, `"items":[{"user_id":"ann"}]`) || list.body["next_cursor"] == nil {
		t.Errorf("members are %s", list.raw)
	}

	device := f.want(f.call("ann", "POST", "/devices", `{"name":"d","type":"t","organization_id":"`+id+`"}`), 201, "").text("id")
	f.want(f.call("bob", "POST", "/devices", `{"name":"d","type":"t","organization_id":"`+id+`"}`), 403, hearth.CodeForbidden)
	f.want(f.call("carl", "POST", "/devices", `{"name":"d","type":"t","organization_id":"`+id+`"}`), 404, hearth.CodeNotFound)
	if list := f.want(f.call("bob", "GET", "/devices?organization_id="+id, ""), 200, ""); !slices.Equal(list.names(), []string{"d"}) {
		t.Errorf("bob's devices are %s", list.raw)
	}
	f.want(f.call("bob", "PATCH", "/devices/"+device, `{"name":"x"}`), 403, hearth.CodeForbidden)
	f.want(f.call("bob", "POST", "/devices/"+device+"/heartbeat", ""), 403, hearth.CodeForbidden)
	f.want(f.call("bob", "GET", "/devices/"+device, ""), 200, "")
	f.want(f.call("ann", "DELETE", path, ""), 409, hearth.CodeConflict)
	f.want(f.call("bob", "DELETE", path+"/members/bob", ""), 204, "")
	f.want(f.call("bob", "GET", "/devices/"+device, ""), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "DELETE", "/devices/"+device, ""), 204, "")
	f.want(f.call("bob", "DELETE", path, ""), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "DELETE", path, ""), 204, "")
	f.want(f.call("ann", "GET", path, ""), 404, hearth.CodeNotFound)
	f.want(f.call("root", "GET", path+"/members", ""), 404, hearth.CodeNotFound)
}

func TestAnInvitationIsAcceptedByTheInvited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	org := f.want(f.call("ann", "POST", "/organizations", `{"name":"Team"}`), 201, "").text("id")
	path := "/organizations/" + org + "/invitations"
	var shapes []string
	for _, email := range []string{"bob@example.com", "unknown@example.com"} {
		got := f.want(f.call("ann", "POST", path, `{"email":"`+email+`","role":"member"}`, "Idempotency-Key", email), 201, "")
		again := f.want(f.call("ann", "POST", path, `{"email":"`+email+`","role":"member"}`, "Idempotency-Key", email), 201, "")
		if got.raw != again.raw || strings.Contains(got.raw, "token") {
			t.Errorf("invited %s, again %s", got.raw, again.raw)
		}
		var fields []string
		for field := range got.body {
			fields = append(fields, field)
		}
		slices.Sort(fields)
		shapes = append(shapes, strings.Join(fields, " "))
		if email == "unknown@example.com" {
			continue
		}
		payload, err := json.Marshal(map[string]string{"invitation_id": got.text("id")})
		if err != nil {
			t.Fatal(err)
		}
		mail, err := f.orgs.InvitationMail(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"token":"` + mail.Token + `"}`
		f.want(f.call("", "POST", "/invitations/accept", body), 401, hearth.CodeUnauthenticated)
		other := f.want(f.call("carl", "POST", "/invitations/accept", body), 422, hearth.CodeValidationFailed)
		unknown := f.want(f.call("carl", "POST", "/invitations/accept", `{"token":"x"}`), 422, hearth.CodeValidationFailed)
		if other.text("detail") != unknown.text("detail") {
			t.Errorf("another's token is told from an unknown one: %s and %s", other.raw, unknown.raw)
		}
		if member := f.want(f.call("bob", "POST", "/invitations/accept", body), 200, ""); member.text("organization_id") != org || member.text("role") != "member" {
			t.Errorf("joined as %s", member.raw)
		}
		f.want(f.call("bob", "POST", "/invitations/accept", body), 422, hearth.CodeValidationFailed)
	}
	if shapes[0] != shapes[1] {
		t.Errorf("known and unknown e-mails are told apart: %v", shapes)
	}
	f.want(f.call("bob", "POST", path, `{"email":"x@example.com","role":"viewer"}`), 403, hearth.CodeForbidden)
	f.want(f.call("carl", "POST", path, `{"email":"x@example.com","role":"viewer"}`), 404, hearth.CodeNotFound)
	f.want(f.call("ann", "POST", path, `{"email":"not an address","role":"viewer"}`), 422, hearth.CodeValidationFailed)
	f.want(f.call("ann", "POST", path, `{"email":"x@example.com"}`), 422, hearth.CodeValidationFailed)
}
