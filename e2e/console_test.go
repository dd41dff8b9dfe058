//go:build clients

package e2e

import (
	"context"
	"encoding/json"
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

func newTab(t *testing.T) *tab {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))...)
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

// open shows an address anew, whatever the tab shows.
func (b *tab) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(address))
}

// fill fills the fields in, by name and value in turn, and sends the form.
func (b *tab) fill(fields ...string) {
	b.t.Helper()
	for pair := range slices.Chunk(fields, 2) {
		b.do(chromedp.SendKeys(`input[name="`+pair[0]+`"]`, pair[1], chromedp.NodeVisible))
	}
	b.do(chromedp.Click("form button"))
}

// reads waits until the page says so.
func (b *tab) reads(text string) {
	b.t.Helper()
	within(b.t, 30*time.Second, "the page says "+text, func() string {
		page := b.run("document.body.innerText")
		if strings.Contains(page, text) {
			return ""
		}
		return "it says " + page
	})
}

func (b *tab) run(script string) string {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](script))
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

// Whoever follows the link of a letter gets where it says.
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
	b.run(`document.querySelector('input[name="new_password"]').value = ''`)
	b.fill("new_password", another)
	b.reads("Your password is changed")
	if left := b.run("location.href"); strings.Contains(left, "#") {
		t.Errorf("the token stays in the address: %s", left)
	}
	ann, _ = s.login("ann@example.com", another)

	// What a device is called is a text.
	const name = `<img src=x onerror="document.title='forged'">`
	device := ann.device(name)
	b.open(s.url + "/devices/" + device)
	b.fill("email", "ann@example.com", "password", "a wrong password")
	b.reads("the password is wrong")
	b.run(`document.querySelector('input[name="password"]').value = ''`)
	b.fill("password", another)
	b.reads(name)

	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "x", "value": 1}, 201)
	ann.do("POST", "/exports", map[string]any{"type": "logs", "format": "csv", "notify": true}, 202)
	b.open(s.letterLink("Your export is ready"))
	b.fill("email", "ann@example.com", "password", another)
	b.reads("Fetch the file")
	// A file chooser cannot be answered here: the way of the browsers that have none, as far as the file.
	b.run(`window.showSaveFilePicker = undefined; URL.createObjectURL = (file) => { window.fetched = file.text(); return '#'; }; ''`)
	b.do(chromedp.Click("main button"))
	var export struct {
		Items []struct {
			Result struct {
				Size int `json:"file_size"`
			} `json:"result"`
		} `json:"items"`
	}
	ann.do("GET", "/exports", nil, 200).into(t, &export)
	within(t, 30*time.Second, "the file is fetched", func() string {
		if b.run("String('fetched' in window)") == "true" {
			return ""
		}
		return b.run("document.body.innerText")
	})
	file, err := chromedp.Run(b.ctx, chromedp.PollFunction[string]("() => window.fetched"))
	if err != nil || len(file) != export.Items[0].Result.Size || !strings.Contains(file, device) {
		t.Errorf("the file is %q, %v; want %d bytes", file, err, export.Items[0].Result.Size)
	}

	var org struct {
		ID string `json:"id"`
	}
	ann.do("POST", "/organizations", map[string]any{"name": "House"}, 201).into(t, &org)
	ann.do("POST", "/organizations/"+org.ID+"/invitations", map[string]any{"email": "bob@example.com", "role": "viewer"}, 201)
	b.open(s.letterLink("Ann invites you"))
	b.reads("Sign in with the e-mail that was invited")
	b.do(chromedp.Click("main a"))
	b.fill("name", "Bob", "email", "bob@example.com", "password", another)
	b.reads("You are a member now")
	if members := string(ann.do("GET", "/organizations/"+org.ID+"/members", nil, 200).body); !strings.Contains(members, "bob@example.com") {
		t.Errorf("the members are %s", members)
	}

	b.open(s.url + "/account/sessions")
	b.fill("email", "ann@example.com", "password", another)
	b.reads("this one")
	rows := func() int {
		var n int
		if err := json.Unmarshal([]byte(b.run("String(document.querySelectorAll('li').length)")), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rows()
	b.do(chromedp.Click("li button"))
	within(t, 30*time.Second, "one session less", func() string {
		if rows() == before-1 {
			return ""
		}
		return b.run("document.body.innerText")
	})
}
