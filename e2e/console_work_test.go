//go:build clients

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"hearth/internal/testserver"
)

// until waits until the script returns "".
func (b *tab) until(what, script string) {
	b.t.Helper()
	within(b.t, 30*time.Second, what, func() string { return b.run(script) })
}

// pick chooses an option of the select box with the label.
func (b *tab) pick(label, value string) {
	b.t.Helper()
	b.until("the choice "+label, fmt.Sprintf(`(() => {
		const of = [...document.querySelectorAll('label')].find((one) => one.innerText.trim() === %q)?.htmlFor;
		const box = document.getElementById(of);
		if (![...(box?.options ?? [])].some((one) => one.value === %[2]q)) return document.body.innerText;
		box.value = %[2]q;
		box.dispatchEvent(new Event('change', { bubbles: true }));
		return '';
	})()`, label, value))
}

// write writes a text into the field with the label.
func (b *tab) write(label, text string) {
	b.t.Helper()
	b.until("the field "+label, fmt.Sprintf(`(() => {
		const field = document.getElementById([...document.querySelectorAll('label')].find((one) => one.innerText === %q)?.htmlFor);
		if (!field) return document.body.innerText;
		field.value = %q;
		field.dispatchEvent(new Event('input', { bubbles: true }));
		return '';
	})()`, label, text))
}

// The link of a claim code outlives signing in: users scan it with a phone that has no session.
func TestTheConsoleClaimsADeviceByItsLink(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, _ := s.signup("ann@example.com")
	s.signup("bob@example.com")
	device := ann.device("Hall lamp")
	b := newTab(t)
	b.signIn(s.url+"/devices/"+device+"/settings", "ann@example.com", password)
	b.press("Make a claim code")
	b.reads("reads the square with a phone")
	link := regexp.MustCompile(`http\S+/claim#\S+`).FindString(b.run(`document.querySelector('.qr').getAttribute('aria-label')`))
	guest := newTab(t)
	guest.signIn(link, "bob@example.com", password)
	guest.until("the code is filled in", `(() => {
		const field = document.querySelector('[name=code]');
		return field && field.value !== '' ? '' : document.body.innerText;
	})()`)
	guest.press("Claim")
	guest.reads("Hall lamp")
	if left := guest.run("location.href"); strings.Contains(left, "#") {
		t.Errorf("the code stays in the address: %s", left)
	}
}

// Every device can be compared and named in a rule, however many there are.
func TestTheConsoleFindsDevicesBeyondTheFirst(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	ids := devicesOf(t, ann)
	ann.do("PATCH", "/devices/"+ids[0], map[string]any{"name": "Aisle"}, 200)
	ann.do("PATCH", "/devices/"+ids[999], map[string]any{"name": "Zenith"}, 200)
	for i, event := range map[int]string{0: "humidity", 999: "temperature"} {
		ann.do("POST", "/devices/"+ids[i]+"/logs", map[string]any{"event": event, "value": 21.5}, 201)
	}
	b := newTab(t)
	b.signIn(s.url+"/compare", "ann@example.com", password)
	b.press("Aisle")
	b.reads("humidity, averages by the minute")
	b.do(chromedp.SendKeys("[type=search]", "zen"))
	b.press("Zenith")
	b.pick("Event", "temperature")
	b.reads("temperature, averages by the minute")
	b.until("both have a line", `(() => {
		const lines = [...document.querySelectorAll('main tbody tr')].map((row) => row.innerText.replace(/\s+/g, ' '));
		return lines.some((line) => line.startsWith('Aisle 0')) && lines.some((line) => line.startsWith('Zenith 1 21.5')) ? '' : lines.join('; ') || 'no lines';
	})()`)

	b.open(s.url + "/devices/" + ids[999] + "/alarms")
	b.press("New rule for this device")
	b.reads("Zenith")
	b.write("Name", "Too warm")
	b.write("Event", "temperature")
	b.write("Value", "20")
	b.press("Save")
	b.reads("Would have fired")
	var rules struct {
		Items []struct {
			Devices json.RawMessage `json:"devices"`
		} `json:"items"`
	}
	ann.do("GET", "/rules", nil, 200).Into(t, &rules)
	if len(rules.Items) != 1 || !strings.Contains(string(rules.Items[0].Devices), ids[999]) {
		t.Errorf("the rules are %+v", rules.Items)
	}
}

// A list that filters empty does not say that nothing is wrong; an alarm comes, is acknowledged and goes without loading again.
func TestTheConsoleFollowsAlarms(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, _ := s.signup("ann@example.com")
	device := ann.device("Freezer")
	for severity, limit := range map[string]int{"minor": -10, "critical": 0} {
		ann.do("POST", "/rules", map[string]any{
			"name": "Over " + severity, "severity": severity, "actions": []any{}, "condition": map[string]any{"event": "temperature", "operator": "gt", "value": limit},
		}, 201)
	}
	b := newTab(t)
	b.signIn(s.url+"/alarms?severity=warning", "ann@example.com", password)
	b.reads("No alarms like this")
	b.pick("Severity", "")
	b.reads("Nothing is wrong")
	b.reads("Any severity")
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "temperature", "value": 5}, 201)
	b.until("the worst is first", `(() => {
		const rows = [...document.querySelectorAll('main .rows > li')].map((row) => row.innerText);
		return rows.length === 2 && rows[0].startsWith('Over critical') ? '' : rows.join('; ') || 'none';
	})()`)
	b.press("Acknowledge")
	b.reads("acknowledged")
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "temperature", "value": -20}, 201)
	b.reads("Nothing is wrong")
}

// A job that fails for good is a dead letter: once its cause is mended, an administrator runs it again.
func TestTheConsoleRetriesADeadJob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	inTheWay := filepath.Join(dir, "files", "exports")
	write(t, filepath.Dir(inTheWay), "exports", "")
	s := serveIn(t, dir)
	ann := s.admin("ann@example.com")
	ann.do("POST", "/exports", map[string]any{"type": "device_report", "format": "csv"}, 202)
	b := newTab(t)
	b.signIn(s.url+"/admin/jobs?queue=export", "ann@example.com", password)
	b.reads("another file is in the way")
	within(t, 2*time.Minute, "the job is dead", func() string {
		return b.run(`[...document.querySelectorAll('main .badge')].some((one) => one.innerText === 'dead') ? '' : document.body.innerText`)
	})
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	b.press("Retry")
	b.until("it is completed", `[...document.querySelectorAll('main .badge')].some((one) => one.innerText === 'completed') ? '' : document.body.innerText`)
	b.open(s.url + "/exports")
	b.press("Device report, CSV")
	b.reads("SHA-256")
}

// What devices report while the stream of events is cut is there afterwards, once.
func TestTheConsoleMissesNothingWhileItIsCut(t *testing.T) {
	t.Parallel()
	s := serve(t)
	wire := testserver.NewWire(t, s.addr)
	ann, _ := s.signup("ann@example.com")
	device := ann.device("Meter")
	start, sent := time.Now().Add(-time.Hour), []string{}
	report := func(n int) {
		for range n {
			i := len(sent)
			sent = append(sent, strconv.Itoa(i))
			ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "count", "value": i, "timestamp": start.Add(time.Duration(i) * time.Second)}, 201)
		}
	}
	b := newTab(t)
	complete := func() {
		t.Helper()
		b.until("every reading is there, once", fmt.Sprintf(`(() => {
			[...document.querySelectorAll('button')].find((one) => one.innerText.startsWith('Show '))?.click();
			const found = [...document.querySelectorAll('main tbody tr')].map((row) => row.innerText.split('\t').pop().trim()).reverse().join(' ');
			return found === %q ? '' : found || document.body.innerText;
		})()`, strings.Join(sent, " ")))
	}
	report(1)
	b.signIn("http://"+wire.Addr()+"/devices/"+device+"/logs", "ann@example.com", password)
	complete()
	report(1)
	complete()
	wire.Cut()
	b.reads("The server cannot be reached")
	report(7)
	wire.Mend()
	report(1)
	complete()

	// A server that starts again and takes readings before the console is back.
	s.stop()
	b.reads("The server cannot be reached")
	s.start()
	ann, _ = s.login("ann@example.com", password)
	report(10)
	complete()
}

// A browser finds what it needs to install the console, and its files open it without the server.
func TestTheConsoleIsInstallable(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.signup("ann@example.com")
	var manifest struct {
		Name     string `json:"name"`
		StartURL string `json:"start_url"`
		Display  string `json:"display"`
		Icons    []struct{ Src, Sizes, Type string }
	}
	get := func(path string) *http.Response {
		answer, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	if err := json.NewDecoder(get("/manifest.webmanifest").Body).Decode(&manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Name == "" || manifest.StartURL != "/" || manifest.Display != "standalone" || len(manifest.Icons) < 2 {
		t.Errorf("the manifest is %+v", manifest)
	}
	for _, icon := range manifest.Icons {
		if answer := get(icon.Src); answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != icon.Type {
			t.Errorf("%s is %d, %s", icon.Src, answer.StatusCode, answer.Header.Get("Content-Type"))
		}
	}
	b := newTab(t)
	b.signIn(s.url+"/alarms", "ann@example.com", password)
	b.reads("Nothing is wrong")
	b.until("the service worker has the page", `String(navigator.serviceWorker.controller !== null) === 'true' ? '' : 'there is none'`)
	b.open(s.url + "/alarms") // its files go through the service worker now, which keeps them
	b.reads("Nothing is wrong")
	s.stop()
	b.open(s.url + "/alarms")
	b.reads("The server cannot be reached")
	b.reads("Alarms")
}

// The keyboard alone reaches what a phone shows, and its focus is never on nothing.
func TestTheConsoleWorksByKeyboard(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_WEBHOOK_ALLOW=127.0.0.1/32")
	s.signup("ann@example.com")
	b := newTab(t)
	b.do(chromedp.EmulateViewport(360, 740))
	b.signIn(s.url+"/webhooks", "ann@example.com", password)
	b.focused("Webhooks")
	b.do(chromedp.KeyEvent(kb.Tab))
	b.focused("New webhook")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.focused("name")
	b.do(chromedp.KeyEvent("Pager"), chromedp.KeyEvent(kb.Tab))
	b.focused("url")
	b.do(chromedp.KeyEvent("http://127.0.0.1:9/hook"), chromedp.KeyEvent(kb.Enter))
	b.reads("It is shown only now")
	b.focused("Copy")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.focused("New webhook")

	b.run(`document.querySelector('[aria-controls=navigation]').focus(); ''`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.focused("hearth")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.focused("Menu")

	b.open(s.url + "/rules/new")
	b.reads("What happens then")
	b.focused("New rule") // once the view is drawn, which has the focus on its heading
	b.run(`document.querySelector('[aria-label="Remove action 1"]').focus(); ''`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.focused("Add")
}
