package brokerauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/brokerauth"
)

const device, token = "0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b", "hd_token"

// tokens know one token; "hd_away" cannot be looked up.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, of string) (hearth.Caller, error) {
	switch of {
	case token:
		return hearth.Caller{DeviceID: device}, nil
	case "hd_away":
		return hearth.Caller{}, hearth.Errorf(hearth.CodeUnavailable, "the database is away")
	}
	return hearth.Caller{}, hearth.Errorf(hearth.CodeUnauthenticated, "the device token is not valid")
}

// Every broker is answered in its form; ID and TOKEN stand for the device's.
func TestBrokersAreAnsweredInTheirForm(t *testing.T) {
	t.Parallel()
	clock := hearth.Clock(func() time.Time { return time.Unix(1_700_000_000, 0) })
	h := brokerauth.Handler(tokens{}, clock)
	const formType, jsonType = "application/x-www-form-urlencoded", "application/json"
	notAllowed := `{"result":{"error":"not_allowed"}}`
	for name, tt := range map[string]struct {
		path, hook, kind, body string
		status                 int
		want                   string
	}{
		"emqx": {"", "", jsonType, `{"username":"x","password":"TOKEN","clientid":"c"}`, 200,
			`{"acl":[{"permission":"allow","action":"all","topic":"d/ID/#"},{"permission":"deny","action":"all","topic":"#"}],"expire_at":1700086400,"is_superuser":false,"result":"allow"}`},
		"emqx, the token as user name": {"", "", jsonType, `{"username":"TOKEN"}`, 200, `"result":"allow"`},
		"emqx, a wrong token":          {"", "", jsonType, `{"username":"x","password":"hd_no"}`, 200, `{"result":"deny"}`},
		"emqx, no answer now":          {"", "", jsonType, `{"password":"hd_away"}`, 200, `{"result":"deny"}`},
		"emqx, no JSON":                {"", "", jsonType, `username=x`, 400, ``},
		"emqx, too long":               {"", "", jsonType, `{"username":"` + strings.Repeat("x", 1<<17) + `"}`, 400, ``},

		"nanomq, many fields":     {"/nanomq", "", formType, "clientid=ID&username=TOKEN" + strings.Repeat("&x=", 98), 200, ``},
		"nanomq, too many fields": {"/nanomq", "", formType, "clientid=ID&username=TOKEN" + strings.Repeat("&x=", 99), 400, ``},

		"vernemq":                           {"/vernemq", "auth_on_register", jsonType, `{"client_id":"ID","username":"x","password":"TOKEN"}`, 200, `{"result":"ok"}`},
		"vernemq 5":                         {"/vernemq", "auth_on_register_m5", jsonType, `{"client_id":"ID","username":"x","password":"TOKEN"}`, 200, `{"result":"ok"}`},
		"vernemq, another's id":             {"/vernemq", "auth_on_register", jsonType, `{"client_id":"other","password":"TOKEN"}`, 200, notAllowed},
		"vernemq publish":                   {"/vernemq", "auth_on_publish", jsonType, `{"client_id":"ID","topic":"d/ID/t"}`, 200, `{"result":"ok"}`},
		"vernemq publish to another":        {"/vernemq", "auth_on_publish", jsonType, `{"client_id":"ID","topic":"d/other/t"}`, 200, notAllowed},
		"vernemq publish by nobody":         {"/vernemq", "auth_on_publish", jsonType, `{"client_id":"","topic":"d//t"}`, 200, notAllowed},
		"vernemq subscribe":                 {"/vernemq", "auth_on_subscribe_m5", jsonType, `{"client_id":"ID","topics":[{"topic":"d/ID/#","qos":1}]}`, 200, `{"result":"ok"}`},
		"vernemq subscribe to more":         {"/vernemq", "auth_on_subscribe", jsonType, `{"client_id":"ID","topics":[{"topic":"d/ID/#"},{"topic":"#"}]}`, 200, notAllowed},
		"vernemq subscribe to all shared":   {"/vernemq", "auth_on_subscribe", jsonType, `{"client_id":"ID","topics":[{"topic":"$share/g/#"}]}`, 200, notAllowed},
		"vernemq subscribe to many":         {"/vernemq", "auth_on_subscribe", jsonType, `{"client_id":"ID","topics":[{"topic":"d/ID/#"}` + strings.Repeat(`,{"topic":"d/ID/c"}`, 99) + `]}`, 200, `{"result":"ok"}`},
		"vernemq subscribe to too many":     {"/vernemq", "auth_on_subscribe", jsonType, `{"client_id":"ID","topics":[{"topic":"d/ID/#"}` + strings.Repeat(`,{"topic":"d/ID/c"}`, 100) + `]}`, 200, notAllowed},
		"vernemq subscribe to nothing deep": {"/vernemq", "auth_on_subscribe", jsonType, `{"client_id":"ID","topics":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, 400, ``},
		"vernemq, another hook":             {"/vernemq", "on_publish", jsonType, `{"client_id":"ID"}`, 200, notAllowed},

		"nanomq":                    {"/nanomq", "", formType, `clientid=ID&username=x&password=TOKEN`, 200, ``},
		"nanomq in JSON":            {"/nanomq", "", jsonType, `{"clientid":"ID","username":"x","password":"TOKEN"}`, 200, ``},
		"nanomq, a wrong token":     {"/nanomq", "", formType, `clientid=ID&username=x&password=no`, 403, ``},
		"nanomq, another's id":      {"/nanomq", "", formType, `clientid=other&password=TOKEN`, 403, ``},
		"nanomq, no answer now":     {"/nanomq", "", formType, `clientid=ID&password=hd_away`, 503, ``},
		"nanomq topic":              {"/nanomq/acl", "", formType, `access=2&clientid=ID&topic=d%2FID%2Ft`, 200, ``},
		"nanomq topic of another":   {"/nanomq/acl", "", formType, `access=1&clientid=ID&topic=d%2Fother%2F%23`, 403, ``},
		"nanomq, a topic that ends": {"/nanomq/acl", "", formType, `access=1&clientid=ID&topic=d%2FID%2F`, 403, ``},

		"rabbitmq user":             {"/rabbitmq/user", "", formType, `username=ID&password=TOKEN`, 200, `allow`},
		"rabbitmq, another's name":  {"/rabbitmq/user", "", formType, `username=other&password=TOKEN`, 200, `deny`},
		"rabbitmq vhost":            {"/rabbitmq/vhost", "", formType, `username=ID&vhost=%2F`, 200, `allow`},
		"rabbitmq exchange":         {"/rabbitmq/resource", "", formType, `username=ID&resource=exchange&name=amq.topic&permission=write`, 200, `allow`},
		"rabbitmq another exchange": {"/rabbitmq/resource", "", formType, `username=ID&resource=exchange&name=amq.direct&permission=write`, 200, `deny`},
		"rabbitmq queue":            {"/rabbitmq/resource", "", formType, `username=ID&resource=queue&name=mqtt-subscription-IDqos1&permission=configure`, 200, `allow`},
		"rabbitmq another's queue":  {"/rabbitmq/resource", "", formType, `username=ID&resource=queue&name=mqtt-subscription-otherqos1&permission=configure`, 200, `deny`},
		"rabbitmq topic":            {"/rabbitmq/topic", "", formType, `username=ID&routing_key=d.ID.t&permission=write`, 200, `allow`},
		"rabbitmq topic of another": {"/rabbitmq/topic", "", formType, `username=ID&routing_key=d.other.t&permission=write`, 200, `deny`},
		"rabbitmq, another path":    {"/rabbitmq/x", "", formType, ``, 404, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			filled := strings.NewReplacer("ID", device, "TOKEN", token)
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/internal/mqtt/auth"+tt.path, strings.NewReader(filled.Replace(tt.body)))
			r.Header.Set("Content-Type", tt.kind)
			r.Header.Set("Vernemq-Hook", tt.hook)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := strings.TrimSpace(w.Body.String()); w.Code != tt.status || !strings.Contains(got, filled.Replace(tt.want)) {
				t.Errorf("answered %d %s", w.Code, got)
			}
		})
	}
}
