//go:build clients

package e2e

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// letterLink waits for the letter with the subject and returns the link in it.
func (s *server) letterLink(subject string) string {
	s.t.Helper()
	var link string
	within(s.t, 30*time.Second, "the letter "+subject, func() string {
		files, err := filepath.Glob(filepath.Join(s.dir, "mail", "*.eml"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, file := range files {
			if found, text := readLetter(s.t, file); strings.HasPrefix(found, subject) {
				link = regexp.MustCompile(`(?m):\r?\n(http://\S+)`).FindStringSubmatch(text)[1]
				return ""
			}
		}
		return "it is not there"
	})
	return link
}

// readLetter returns the subject and the plain text of a letter.
func readLetter(t *testing.T, file string) (subject, text string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	letter, err := mail.ReadMessage(f)
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(letter.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	part, err := multipart.NewReader(letter.Body, params["boundary"]).NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(quotedprintable.NewReader(part))
	if err != nil {
		t.Fatal(err)
	}
	return letter.Header.Get("Subject"), string(plain)
}

// tab is one of Chromium's.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func newTab(t *testing.T, options ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	all := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en-US"), chromedp.WSURLReadTimeout(time.Minute))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(all, options...)...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(allocator)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as the context of its first step
		t.Fatal(err)
	}
	return &tab{t, ctx}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 30*time.Second)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		page, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		b.t.Fatalf("%v; the page says: %s", err, page)
	}
}

// another is another tab of the same browser.
func (b *tab) another() *tab {
	b.t.Helper()
	ctx, quit := chromedp.NewContext(b.ctx)
	b.t.Cleanup(quit)
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatal(err)
	}
	return &tab{b.t, ctx}
}

// open shows an address anew, whatever the tab shows.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(address))
}

// fill fills in the fields, by name and value in turn, over what they hold, and sends their form. Where a dialog is open, it is the form
// of the dialog.
func (b *tab) fill(fields ...string) {
	b.t.Helper()
	form := b.run(`document.querySelector('dialog[open]') ? 'dialog[open] form' : 'form'`)
	for pair := range slices.Chunk(fields, 2) {
		field := form + ` [name="` + pair[0] + `"]`
		b.do(chromedp.WaitVisible(field))
		b.run(fmt.Sprintf(`document.querySelector(%q).select(); ''`, field))
		b.do(chromedp.SendKeys(field, pair[1]))
	}
	b.do(chromedp.Click(form + " button[type=submit]"))
}

// press clicks the button or link with the text.
func (b *tab) press(text string) {
	b.t.Helper()
	within(b.t, 30*time.Second, "the button "+text, func() string {
		return b.run(fmt.Sprintf(`(() => {
			const all = [...(document.querySelector('dialog[open]') ?? document).querySelectorAll('button, a')];
			const found = all.find((one) => [one.innerText.trim(), one.getAttribute('aria-label')].includes(%q) && !one.disabled);
			if (!found) return document.body?.innerText || 'nothing yet';
			found.click();
			return '';
		})()`, text))
	})
}

// reads waits until the page says so, in the case of its source.
func (b *tab) reads(text string) {
	b.t.Helper()
	within(b.t, 30*time.Second, "the page says "+text, func() string {
		page := b.run("document.body?.innerText ?? ''")
		if strings.Contains(page, text) {
			return ""
		}
		return "it says " + page
	})
}

// focused waits until a field, by its name, or a button, link or heading, by its label or text, has the focus.
func (b *tab) focused(name string) {
	b.t.Helper()
	within(b.t, 30*time.Second, "the focus is on "+name, func() string {
		if at := b.run(`(() => {
			const on = document.activeElement;
			return on.name || on.getAttribute('aria-label') || on.innerText.trim() || on.outerHTML;
		})()`); at != name {
			return "it is on " + at
		}
		return ""
	})
}

func (b *tab) run(script string) string {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return got
}

// signIn signs in at the address of a view, which shows then.
func (b *tab) signIn(address, email, password string) {
	b.t.Helper()
	b.open(address)
	b.reads("Forgot your password?")
	b.fill("email", email, "password", password)
}

// Whoever follows the link of an e-mail gets where it says.
func TestThePagesThatLettersLeadTo(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	b := newTab(t)

	s.anonymous().do("POST", "/auth/password-reset", map[string]any{"email": "ann@example.com"}, 202)
	b.open(s.letterLink("Reset your password"))
	b.fill("new_password", "password")
	b.reads("New password is one of the most common")
	const another = "another long sentence"
	b.fill("new_password", another)
	b.reads("Your password is changed")
	if left := b.run("location.href"); strings.Contains(left, "#") {
		t.Errorf("the token stays in the address: %s", left)
	}
	ann, _ = s.login("ann@example.com", another)

	// What a device is called is a text.
	const name = `<img src=x onerror="document.title='forged'">`
	device := ann.device(name)
	b.signIn(s.url+"/devices/"+device, "ann@example.com", "a wrong password")
	b.reads("the password is wrong")
	b.fill("password", another)
	b.reads(name)

	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "x", "value": 1}, 201)
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv", "notify": true}, 202)
	b.signIn(s.letterLink("Your export is ready"), "ann@example.com", another) // another origin: the server's public address
	b.reads("SHA-256")
	if file := b.download(); !strings.Contains(file, device) {
		t.Errorf("the file is %q", file)
	}
	b.open(s.url + "/account/sessions")
	b.reads("this one")
	const rows = "String(document.querySelectorAll('main li').length)"
	before := b.run(rows)
	b.press("End")
	within(t, 30*time.Second, "one session less", func() string {
		if b.run(rows) < before {
			return ""
		}
		return b.run("document.body.innerText")
	})

	var org struct {
		ID string `json:"id"`
	}
	ann, _ = s.login("ann@example.com", another)
	ann.do("POST", "/organizations", map[string]any{"name": "House"}, 201).Into(t, &org)
	ann.do("POST", "/organizations/"+org.ID+"/invitations", map[string]any{"email": "bob@example.com", "role": "viewer"}, 201)
	guest := newTab(t)
	guest.open(s.letterLink("Ann invites you"))
	guest.reads("Sign in with the e-mail that was invited")
	guest.press("I have no account yet")
	guest.fill("name", "Bob", "email", "bob@example.com", "password", another)
	guest.reads("Overview")
	if members := string(ann.do("GET", "/organizations/"+org.ID+"/members", nil, 200).Body); !strings.Contains(members, "bob@example.com") {
		t.Errorf("the members are %s", members)
	}
}

// download presses Download and returns the file. A file chooser cannot be answered here: the way of the browsers that have none.
func (b *tab) download() string {
	b.t.Helper()
	b.run(`window.showSaveFilePicker = undefined; URL.createObjectURL = (file) => { window.fetched = file.text(); return '#'; }; ''`)
	b.press("Download")
	within(b.t, 30*time.Second, "the file is fetched", func() string {
		if b.run("String('fetched' in window)") == "true" {
			return ""
		}
		return b.run("document.body.innerText")
	})
	file, err := chromedp.Run(b.ctx, chromedp.PollFunction[string]("() => window.fetched"))
	if err != nil {
		b.t.Fatal(err)
	}
	return file
}

// From an empty server to a device that is watched, switched, judged by a rule and exported, on a phone alone but for the device itself.
func TestTheFirstFiveMinutes(t *testing.T) {
	t.Parallel()
	s := serve(t)
	b := newTab(t)
	b.do(chromedp.EmulateViewport(360, 740))
	link, token := s.setupLink()
	b.open(s.url)
	b.reads("This server has no administrator yet.")
	b.focused("email")
	b.open(link + "#" + token)
	b.focused("name")
	b.fill("name", "Ann", "email", "ann@example.com", "password", password)
	b.reads("Add your first device")
	b.press("Add a device")
	b.fill("name", "Kitchen plug", "type", "plug")
	b.reads("Waiting for the first reading")
	b.press("MQTT")
	b.reads("MQTT is off on this server")
	token = regexp.MustCompile(`hd_[\w-]+`).FindString(b.run("document.querySelector('dialog[open]').innerText"))
	device := &client{s: s, token: token, http: s.anonymous().http}
	var me struct {
		ID string `json:"id"`
	}
	device.do("GET", "/devices/me", nil, 200).Into(t, &me)
	device.do("POST", "/devices/"+me.ID+"/logs", map[string]any{"event": "power", "value": 12.5}, 201)
	b.reads("It works.")
	b.press("Open the device")
	b.reads("12.5")
	b.run("history.back(); ''")
	b.reads("1 device")
	if open := b.run("document.querySelector('dialog')?.innerText ?? ''"); open != "" {
		t.Errorf("back from the device, a dialog is open: %s", open)
	}
	b.run("history.forward(); ''")
	b.reads("12.5")

	// A reading is on the screen within a second.
	device.do("POST", "/devices/"+me.ID+"/logs", map[string]any{"event": "power", "value": 77.25}, 201)
	stored := time.Now()
	b.reads("77.25")
	if late := time.Since(stored); late > time.Second {
		t.Errorf("the reading shows after %s", late)
	}

	b.press("Commands")
	b.fill("name", "switch", "params", `{"on":true}`)
	var command struct {
		ID string `json:"id"`
	}
	device.do("GET", "/devices/"+me.ID+"/commands/next?wait=30s", nil, 200).Into(t, &command)
	b.reads("sent")
	device.do("POST", "/devices/"+me.ID+"/commands/"+command.ID+"/ack", nil, 204)
	b.reads("delivered")
	device.do("POST", "/devices/"+me.ID+"/commands/"+command.ID+"/result", map[string]any{"ok": true, "result": "is on"}, 204)
	b.reads("succeeded")

	b.press("Menu")
	b.press("Rules")
	b.press("New rule")
	b.write("Name", "Too much power")
	b.write("Event", "power")
	b.write("Value", "100")
	b.write("For minutes", "0")
	b.press("Save")
	b.reads("Would have fired")
	device.do("POST", "/devices/"+me.ID+"/logs", map[string]any{"event": "power", "value": 230}, 201)
	b.reads("Too much power on Kitchen plug")

	b.press("Menu")
	b.press("Exports")
	b.press("New export")
	b.press("Start")
	b.reads("completed")
	if file := b.download(); !strings.Contains(file, "77.25") {
		t.Errorf("the file is %q", file)
	}
}

// Several tabs are one session; where it ends in the middle of a form, the form waits for the user to sign in again.
func TestASessionOfSeveralTabs(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_ACCESS_TTL=60s")
	ann, _ := s.signup("ann@example.com")
	device := ann.device("Lamp")
	first := newTab(t)
	first.signIn(s.url+"/devices/"+device, "ann@example.com", password)
	first.reads("Lamp")
	second := first.another()
	second.open(s.url + "/devices")
	second.reads("1 device")

	// Both renew the session at once and over again: it goes on.
	for range 3 {
		for _, tab := range []*tab{first, second, first.another()} {
			tab.open(s.url + "/devices/" + device)
			tab.reads("Lamp")
		}
	}

	first.open(s.url + "/devices/" + device + "/settings")
	first.reads("General")
	first.do(chromedp.WaitVisible(`[name="name"]`))
	first.run(`document.querySelector('[name="name"]').select(); ''`)
	first.do(chromedp.SendKeys(`[name="name"]`, "Reading lamp"))
	ann, _ = s.login("ann@example.com", password)
	ann.do("POST", "/auth/logout-all", nil, 200)
	// Whether or not the stream's end was faster: the form is sent in the session that has ended.
	first.run(`[...document.querySelectorAll('button')].find((one) => one.innerText.trim() === 'Save').click(); ''`)
	first.reads("Your session has ended")
	first.fill("password", password)
	within(t, 30*time.Second, "the form is sent after all", func() string {
		ann, _ = s.login("ann@example.com", password)
		if got := string(ann.do("GET", "/devices/"+device, nil, 200).Body); !strings.Contains(got, "Reading lamp") {
			return got
		}
		return ""
	})
	second.reads("Devices")
}

// While the server is gone the console says so and keeps what it shows; it goes on by itself, live events too.
func TestTheConsoleOutlivesARestart(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, _ := s.signup("ann@example.com")
	device := ann.device("Lamp")
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "power", "value": 1.5}, 201)
	b := newTab(t)
	b.signIn(s.url+"/devices/"+device, "ann@example.com", password)
	b.reads("1.5")
	s.stop()
	b.reads("The server cannot be reached")
	b.reads("1.5")
	s.start()
	ann, _ = s.login("ann@example.com", password)
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "power", "value": 2.75}, 201)
	b.reads("2.75")
	if page := b.run("document.body.innerText"); strings.Contains(page, "cannot be reached") {
		t.Errorf("the page says %s", page)
	}
}
