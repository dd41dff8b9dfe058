package app_test

import (
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/mqtt/mqtttest"
	"hearth/internal/mqtt/packet"
)

// An open connection ends with the rights of the user who made its token, on whichever instance it is; another user's stays.
func TestAConnectionEndsWithTheRightsOfItsTokensMaker(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		w := newInstances(t, m)
		owner, ann := apitest.SignUp(t, w.urls[0], "owner@example.com"), apitest.SignUp(t, w.urls[0], "ann@example.com")
		admin := &apitest.Client{URL: w.urls[0], Token: w.admin}
		annID := apitest.Text(ann.Call(t, "GET", "/users/me", nil), "id")
		org := apitest.Text(owner.Call(t, "POST", "/organizations", apitest.Object{"name": "the team"}), "id")
		member := "/organizations/" + org + "/members/" + annID
		as := func(role string) func() {
			return func() { owner.Call(t, "PUT", member, apitest.Object{"role": role}) }
		}
		disabled := func(is bool) func() {
			return func() { admin.Call(t, "PATCH", "/users/"+annID, apitest.Object{"disabled": is}) }
		}
		as("member")()
		token := func(by *apitest.Client, name string) string {
			device := apitest.Text(owner.Call(t, "POST", "/devices", apitest.Object{"name": name, "type": "press", "organization_id": org}), "id")
			return apitest.Text(by.Call(t, "POST", "/devices/"+device+"/tokens", nil), "token")
		}
		kept := mqtttest.Login(t, w.mqtt[0], mqtttest.Connect{Version: packet.V5, Username: token(owner, "kept")})
		lost := make([]string, len(w.mqtt))
		for i := range lost {
			lost[i] = token(ann, "lost")
		}
		for _, change := range []struct {
			name       string
			lose, back func()
		}{
			{"demoted", as("viewer"), as("member")},
			{"removed", func() { owner.Call(t, "DELETE", member, nil) }, as("member")},
			{"disabled", disabled(true), disabled(false)},
		} {
			open := make([]*mqtttest.Device, len(w.mqtt))
			for i := range open {
				connect := mqtttest.Connect{Version: packet.V5, Username: lost[i]}
				eventually(t, "the rights are back", func() bool {
					return mqtttest.Dial(t, w.mqtt[i], packet.V5).Connect(connect).Body[1] == 0
				})
				open[i] = mqtttest.Login(t, w.mqtt[i], connect)
			}
			start := time.Now()
			change.lose()
			for i, d := range open {
				if got := d.Closed(); got != packet.NotAuthorized {
					t.Errorf("%s: the connection to instance %d ends with %s", change.name, i, got)
				}
			}
			t.Logf("%s: the connections ended after %v", change.name, time.Since(start))
			kept.Acknowledged("t/n", "1", 1)
			change.back()
		}
	})
}
