package app_test

import (
	"context"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/app"
)

// A device token is worth what the rights of the user who made it are worth, on every instance.
func TestADeviceTokenEndsWithTheRightsOfItsMaker(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newInstances(t, m)
		owner, ann := apitest.SignUp(t, w.urls[0], "owner@example.com"), apitest.SignUp(t, w.urls[0], "ann@example.com")
		annID := apitest.Text(ann.Call(t, "GET", "/users/me", nil), "id")
		org := apitest.Text(owner.Call(t, "POST", "/organizations", apitest.Object{"name": "the team"}), "id")
		member := func(role string) {
			owner.Call(t, "PUT", "/organizations/"+org+"/members/"+annID, apitest.Object{"role": role})
		}
		member("member")
		device := apitest.Text(owner.Call(t, "POST", "/devices", apitest.Object{"name": "press", "type": "press", "organization_id": org}), "id")
		made := func(by *apitest.Client) string {
			return apitest.Text(by.Call(t, "POST", "/devices/"+device+"/tokens", nil), "token")
		}
		kept, lost := made(owner), made(ann)
		works := func(token string, want bool) {
			t.Helper()
			for i := range 4 {
				c := &apitest.Client{URL: w.urls[i%len(w.urls)], Token: token}
				for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) { // what another instance changed holds within a second
					a := c.Ask(t, "POST", "/devices/"+device+"/heartbeat", nil)
					if (a.Status == 200) == want {
						break
					}
					if a.Status != 200 && a.Status != 401 || time.Now().After(deadline) {
						t.Fatalf("a token answers %d, want it to work: %t", a.Status, want)
					}
				}
			}
		}
		works(kept, true)
		works(lost, true)
		list := owner.Call(t, "GET", "/devices/"+device+"/tokens", nil)["items"].([]any)
		if len(list) != 2 || list[1].(apitest.Object)["created_by"] != annID {
			t.Errorf("the tokens: %v", list)
		}
		for name, change := range map[string][2]func(){
			"demoted": {func() { member("viewer") }, func() { member("member") }},
			"removed": {
				func() { owner.Call(t, "DELETE", "/organizations/"+org+"/members/"+annID, nil) }, func() { member("member") },
			},
			"disabled": {
				func() {
					(&apitest.Client{URL: w.urls[0], Token: w.admin}).Call(t, "PATCH", "/users/"+annID, apitest.Object{"disabled": true})
				},
				func() {
					(&apitest.Client{URL: w.urls[0], Token: w.admin}).Call(t, "PATCH", "/users/"+annID, apitest.Object{"disabled": false})
				},
			},
		} {
			change[0]()
			works(lost, false)
			works(kept, true)
			change[1]()
			works(lost, true)
			t.Logf("%s: done", name)
		}
		mine := apitest.Text(owner.Call(t, "POST", "/organizations", apitest.Object{"name": "another team"}), "id")
		owner.Call(t, "POST", "/devices/"+device+"/transfer", apitest.Object{"organization_id": mine})
		works(lost, false)
		works(kept, true)
	})
}

// The link of one instance works on every one, once, and also where somebody has signed up before.
func TestTheFirstAdminOfAFleetIsSetUpOnAnyInstance(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		var urls, tokens []string
		for range m.Instances {
			apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error {
				return app.Run(ctx, app.Settings{Config: m.Config(t), Version: "test"}, func(serving app.Serving) {
					token, err := serving.SetupToken(ctx)
					if err != nil {
						t.Error(err)
					}
					urls, tokens = append(urls, serving.URL), append(tokens, token)
					ready()
				})
			})
		}
		last := len(urls) - 1
		if tokens[0] == "" || tokens[0] != tokens[last] {
			t.Fatalf("the tokens are %q", tokens)
		}
		apitest.SignUp(t, urls[0], "stranger@example.com")
		setUp := func(url, email string) int {
			return (&apitest.Client{URL: url}).Ask(t, "POST", "/auth/setup", apitest.Object{
				"token": tokens[0], "name": "Root", "email": email, "password": apitest.Password,
			}).Status
		}
		if got := setUp(urls[last], "stranger@example.com"); got != 409 {
			t.Errorf("with the e-mail of another account: %d", got)
		}
		if got := setUp(urls[last], "root@example.com"); got != 201 {
			t.Errorf("the first admin: %d", got)
		}
		if got := setUp(urls[0], "second@example.com"); got != 403 {
			t.Errorf("a second one: %d", got)
		}
	})
}
