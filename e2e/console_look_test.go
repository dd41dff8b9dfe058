//go:build clients

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// viewsOf are the addresses of the console's views for an administrator with these objects, and a text that each has when it is complete.
func viewsOf(device, org, webhook, rule, alarm, integration, export string) map[string]string {
	return map[string]string{
		"/":                              "Busiest devices",
		"/devices":                       "1 device",
		"/devices?add=1":                 "Add and get its token",
		"/devices/" + device:             "temperature",
		"/devices/" + device + "/charts": "Readings",
		"/devices/" + device + "/charts?as=increase&by=day": "Increase by the day",
		"/devices/" + device + "/state":                     "Reported",
		"/devices/" + device + "/commands":                  "succeeded",
		"/devices/" + device + "/logs":                      "temperature",
		"/devices/" + device + "/settings":                  "Delete this device",
		"/exports":                                          "completed",
		"/exports/" + export:                                "SHA-256",
		"/exports?new=1":                                    "Compression",
		"/exports?tab=schedules":                            "No schedules",
		"/account":                                          "Time zone",
		"/account/sessions":                                 "this one",
		"/account/api-keys":                                 "No API keys",
		"/account/notifications":                            "Kitchen phone",
		"/import":                                           "The first line names the columns",
		"/compare?devices=" + device:                        "averages by the minute",
		"/notifications":                                    "New sign-in",
		"/organizations":                                    "House",
		"/organizations/" + org:                             "Members",
		"/provisioning":                                     "Lamps of March",
		"/claim":                                            "Upper and lower case",
		"/webhooks":                                         "Pager",
		"/webhooks/" + webhook:                              "webhook.test",
		"/devices/" + device + "/alarms":                    "Too warm",
		"/alarms":                                           "Acknowledge",
		"/alarms/" + alarm:                                  "History",
		"/rules":                                            "is above 20",
		"/rules/" + rule:                                    "Would have fired",
		"/rules/new":                                        "What happens then",
		"/admin/integrations":                               "Cellar broker",
		"/admin/integrations/" + integration:                "Latest failure",
		"/admin/users":                                      "1 in all",
		"/admin/jobs":                                       "Cleanup",
		"/admin/audit":                                      "auth.login",
		"/admin/backups":                                    "hearth backup restore",
		"/admin/server":                                     "Slowest routes",
		"/nothing/here":                                     "There is no such page",
		"/sign-up":                                          "Create the account",
		"/set-up":                                           "Set-up token",
		"/forgot-password":                                  "Send the link",
		"/reset-password":                                   "ask for a new one",
		"/confirm-email":                                    "open the link of the e-mail again",
		"/invitation":                                       "open the link of the e-mail again",
	}
}

// No view has what axe calls serious, is wider than a phone, breaks the policy or calls another host; in light and in dark.
func TestEveryViewIsAccessible(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile("../console/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, "HEARTH_WEBHOOK_ALLOW=127.0.0.1/32")
	ann := s.admin("ann@example.com")
	var org struct {
		ID string `json:"id"`
	}
	ann.do("POST", "/organizations", map[string]any{"name": "House"}, 201).Into(t, &org)
	device := ann.device("A sensor with quite a long name that has to fit")
	ann.do("PATCH", "/devices/"+device, map[string]any{"tags": []string{"kitchen", "ground floor"}}, 200)
	for _, event := range []string{"temperature", "humidity"} {
		ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": event, "value": 21.5}, 201)
		ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": event, "value": 22.5}, 201)
	}
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "door", "value": true}, 201)
	ann.do("PATCH", "/devices/"+device+"/twin/desired", map[string]any{"level": 3}, 200)
	var export struct {
		ID string `json:"id"`
	}
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv", "range": "24h"}, 202).Into(t, &export)
	finishCommand(ann, device)
	var hook, rule, integration struct {
		ID string `json:"id"`
	}
	ann.do("POST", "/rules", map[string]any{
		"name": "Too warm", "severity": "major", "condition": map[string]any{"event": "temperature", "operator": "gt", "value": 20},
		"actions": []any{map[string]any{"command": map[string]any{"name": "cool", "params": map[string]any{"level": 2}}, "on": "raise"}},
	}, 201).Into(t, &rule)
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "temperature", "value": 23.5}, 201)
	var alarms struct {
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	within(t, 10*time.Second, "an alarm is raised", func() string {
		found := ann.do("GET", "/alarms", nil, 200)
		found.Into(t, &alarms)
		if len(alarms.Items) == 0 {
			return string(found.Body)
		}
		return ""
	})
	ann.do("POST", "/webhooks", map[string]any{"name": "Pager", "url": "http://127.0.0.1:9/hooks"}, 201).Into(t, &hook)
	ann.do("POST", "/webhooks/"+hook.ID+"/test", nil, 202)
	ann.do("POST", "/users/me/notification-channels", map[string]any{
		"name": "Kitchen phone", "kind": "slack", "url": "http://127.0.0.1:9/hooks/0123456789abcdef", "types": []string{"alarm"},
	}, 201)
	ann.do("PUT", "/users/me/notification-settings", map[string]any{
		"types": map[string]any{}, "devices": []string{}, "quiet_hours": map[string]any{"start": "22:00", "end": "07:00"},
	}, 200)
	ann.do("POST", "/integrations", map[string]any{
		"name": "Cellar broker", "url": "mqtt://127.0.0.1:9", "dialects": []string{"tasmota", "json"}, "topics": []string{"site/{device}/{event}"}, "time_zone": "Europe/Berlin",
	}, 201).Into(t, &integration)
	ann.do("POST", "/provisioning-keys", map[string]any{"name": "Lamps of March", "device_type": "lamp"}, 201)
	ann.do("POST", "/admin/backups", nil, 202)
	for name, option := range map[string]chromedp.ExecAllocatorOption{
		"light": chromedp.Flag("blink-settings", "preferredColorScheme=1"),
		"dark":  chromedp.Flag("blink-settings", "preferredColorScheme=0"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTab(t, option)
			b.open(s.url + "/sign-in")
			b.reads("Forgot your password?")
			b.look(string(axe), "/sign-in")
			b.fill("email", "ann@example.com", "password", password)
			b.reads("Overview")
			if dark := b.run("String(matchMedia('(prefers-color-scheme: dark)').matches)"); dark != map[string]string{"light": "false", "dark": "true"}[name] {
				t.Fatalf("the dark scheme is %s", dark)
			}
			for address, text := range viewsOf(device, org.ID, hook.ID, rule.ID, alarms.Items[0].ID, integration.ID, export.ID) {
				b.open(s.url + address)
				b.reads(text)
				b.look(string(axe), address)
			}
		})
	}
}

// setupLink returns the link that makes the first administrator.
func (s *server) setupLink() (url, token string) {
	s.t.Helper()
	within(s.t, 10*time.Second, "the set-up link is printed", func() string {
		found := regexp.MustCompile(`(http://\S+/set-up)#(\S+)`).FindStringSubmatch(s.log.String())
		if found == nil {
			return "the log so far: " + s.log.String()
		}
		url, token = found[1], found[2]
		return ""
	})
	return url, token
}

// admin makes the first administrator.
func (s *server) admin(email string) *client {
	s.t.Helper()
	_, token := s.setupLink()
	c := s.anonymous()
	var l login
	c.do("POST", "/auth/setup", map[string]any{"token": token, "name": "Ann", "email": email, "password": password}, 201).Into(s.t, &l)
	c.token = l.AccessToken
	return c
}

// finishCommand has a command that succeeded.
func finishCommand(owner *client, device string) {
	var made, command struct {
		ID    string `json:"id"`
		Token string `json:"token"`
	}
	owner.do("POST", "/devices/"+device+"/tokens", nil, 201).Into(owner.s.t, &made)
	owner.do("POST", "/devices/"+device+"/commands", map[string]any{"name": "restart"}, 202)
	d := &client{s: owner.s, token: made.Token, http: owner.http}
	d.do("GET", "/devices/"+device+"/commands/next?wait=5s", nil, 200).Into(owner.s.t, &command)
	d.do("POST", "/devices/"+device+"/commands/"+command.ID+"/result", map[string]any{"ok": true}, 204)
}

// look checks the view that shows, at a desk and on a phone.
func (b *tab) look(axe, view string) {
	b.t.Helper()
	b.run(axe + "; ''")
	for _, size := range [][2]int64{{1280, 800}, {360, 740}} {
		b.do(chromedp.EmulateViewport(size[0], size[1]))
		if _, err := chromedp.Run(b.ctx, chromedp.PollFunction[string](`async () => {
			for (let frame = 0; frame < 5; frame++) await new Promise(requestAnimationFrame); // in which the view answers to its size
			return 'drawn';
		}`)); err != nil {
			b.t.Fatal(err)
		}
		within(b.t, 5*time.Second, fmt.Sprintf("%s fits a window of %d", view, size[0]), func() string {
			return b.run("(() => { const { scrollWidth, clientWidth } = document.documentElement; return scrollWidth > clientWidth ? 'it is ' + scrollWidth + ' wide' : ''; })()")
		})
		found, err := chromedp.Run(b.ctx, chromedp.PollFunction[string](`async () => {
			const { violations } = await axe.run(document, { resultTypes: ['violations'] });
			return 'done' + violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
				.map(({ id, nodes }) => id + ': ' + nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + ' (' + node.failureSummary + ')').join('\n  ')).join('\n');
		}`))
		if err != nil {
			b.t.Fatal(err)
		}
		if found = strings.TrimPrefix(found, "done"); found != "" {
			b.t.Errorf("%s at %d: %s", view, size[0], found)
		}
	}
	hosts := b.run(`performance.getEntriesByType('resource').map(({ name }) => new URL(name)).filter(({ protocol, origin }) => protocol !== 'data:' && origin !== location.origin).join(' ')`)
	if hosts != "" {
		b.t.Errorf("%s calls %s", view, hosts)
	}
}

// Every address that the console has a view for is among those that are looked at.
func TestEveryViewIsLookedAt(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../console/src/app.tsx")
	if err != nil {
		t.Fatal(err)
	}
	looked := "/sign-in\n"
	for address := range viewsOf("id", "id", "id", "id", "id", "id", "id") {
		path, _, _ := strings.Cut(address, "?")
		looked += path + "\n"
	}
	routes := regexp.MustCompile(`(?m)^  route\('(\S+)',`).FindAllStringSubmatch(string(source), -1)
	for _, route := range routes {
		path := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(route[1], `[^/\n]+`)
		if !regexp.MustCompile(`(?m)^` + path + `$`).MatchString(looked) {
			t.Errorf("%s is not looked at", route[1])
		}
	}
	if len(routes) < 30 {
		t.Errorf("only %d routes: the test lost its targets", len(routes))
	}
}
