package app_test

import (
	"bytes"
	"context"
	"io"
	"mime/quotedprintable"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/core/account"
	"hearth/internal/mailer"
	"hearth/internal/observe"
	"hearth/internal/queue"
)

const annsMail = "ann@example.com"

// server is a running program with a user in it.
type server struct {
	t   *testing.T
	app *app.Program
	url string
}

// newHouse runs a program; change may change its options.
func newServer(t *testing.T, cfg *config.Config, change ...func(*app.Settings)) *server {
	t.Helper()
	cfg.PublicURL, cfg.RateLimits = "https://hearth.example/", nil
	a := app.NewProgram(t, cfg, change...)
	h := &server{t: t, app: a}
	apitest.RunUntilEnd(t, func(ctx context.Context, ready func()) error {
		return a.Run(ctx, func(url string) { h.url = url; ready() })
	})
	a.CreateUser(t, account.NewUser{Name: "Ann", Email: annsMail, Password: apitest.Password, Role: hearth.RoleAdmin})
	return h
}

// call returns the status of a call with a token and a JSON body; the answer goes into out, if that is not nil.
func (h *server) call(method, path, token, body string, out any) int {
	h.t.Helper()
	var sent any
	if body != "" {
		sent = body
	}
	answer := (&apitest.Client{URL: h.url, Token: token}).Ask(h.t, method, path, sent)
	if out != nil {
		answer.Into(h.t, out)
	}
	return answer.Status
}

// logIn returns an access token of Ann's; "" if she is not let in.
func (h *server) logIn(password string) string {
	h.t.Helper()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	h.call(http.MethodPost, "/auth/login", "", `{"email":"`+annsMail+`","password":"`+password+`"}`, &tokens)
	return tokens.AccessToken
}

// askForReset asks for a new password and returns the job that mails it.
func (h *server) askForReset() string {
	h.t.Helper()
	if status := h.call(http.MethodPost, "/auth/password-reset", "", `{"email":"`+annsMail+`"}`, nil); status != http.StatusAccepted {
		h.t.Fatalf("asking for a reset is %d", status)
	}
	return h.job("mail.password_reset")
}

// job waits for a job of that kind and returns its id.
func (h *server) job(kind string) string {
	h.t.Helper()
	changed, stop := h.app.Queue().Watch()
	defer stop()
	deadline := time.After(30 * time.Second)
	for {
		page, err := h.app.Queue().List(h.t.Context(), queue.Filter{Kind: kind})
		if err == nil && len(page.Jobs) > 0 {
			return page.Jobs[0].ID
		}
		select {
		case <-changed:
		case <-deadline:
			h.t.Fatalf("there is no job: %v", err)
		}
	}
}

// tokenIn finds the token of a reset in a message.
func tokenIn(t *testing.T, message []byte) string {
	t.Helper()
	return linked(t, message, "reset-password")
}

// linked finds the token in a message's link to that path.
func linked(t *testing.T, message []byte, path string) string {
	t.Helper()
	text, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(message)))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`https://hearth\.example/` + path + `#([A-Za-z0-9_-]{43})\b`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("there is no link in\n%s", text)
	}
	return string(found[1])
}

func (h *server) confirm(token string) int {
	h.t.Helper()
	return h.call(http.MethodPost, "/auth/password-reset/confirm", "", `{"token":"`+token+`","new_password":"quite another secret"}`, nil)
}

func TestAForgottenPasswordIsReplacedByTheLinkInTheMail(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	h := newServer(t, cfg)
	await(t, h.app, h.askForReset(), inState(queue.Completed))
	files, err := filepath.Glob(filepath.Join(cfg.DataDir, "mail", "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files are %v, %v", files, err)
	}
	message, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	token := tokenIn(t, message)
	for i, want := range []int{http.StatusNoContent, http.StatusUnprocessableEntity} {
		if status := h.confirm(token); status != want {
			t.Errorf("use %d of the token is %d; want %d", i+1, status, want)
		}
	}
	if h.logIn(apitest.Password) != "" || h.logIn("quite another secret") == "" {
		t.Error("the new password is not the one that counts")
	}
}

func TestALetterIsTriedUntilTheServerTakesIt(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	h := newServer(t, cfg, func(s *app.Settings) { s.MailTimeout = time.Second })
	server.become(&smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "later"}, nil)
	id := h.askForReset()
	job := await(t, h.app, id, func(j queue.Job) bool { return j.State == queue.Retrying && j.Attempt == 1 })
	if !strings.Contains(job.LastError, "451") {
		t.Errorf("after a 451 the error is %q", job.LastError)
	}

	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	server.become(nil, hang)
	h.retry(id)
	job = await(t, h.app, id, func(j queue.Job) bool { return j.State == queue.Retrying && j.Attempt == 2 })
	if !strings.Contains(job.LastError, "does not answer") {
		t.Errorf("while the server hangs the error is %q", job.LastError)
	}

	server.become(nil, nil)
	h.retry(id)
	await(t, h.app, id, inState(queue.Completed))
	letters := server.letters()
	if len(letters) != 1 || letters[0].to != annsMail {
		t.Fatalf("the server took %+v", letters)
	}
	if status := h.confirm(tokenIn(t, []byte(letters[0].data))); status != http.StatusNoContent {
		t.Errorf("confirming is %d", status)
	}
}

// retry makes a waiting job due.
func (h *server) retry(id string) {
	h.t.Helper()
	if err := h.app.Queue().Retry(h.t.Context(), id); err != nil {
		h.t.Fatal(err)
	}
}

func TestALetterThatTheServerRefusesForGoodIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	server := startMailServer(t)
	cfg := apitest.Config(t)
	cfg.SMTPURL = server.url
	h := newServer(t, cfg)
	server.become(&smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "never"}, nil)
	job := await(t, h.app, h.askForReset(), inState(queue.Dead))
	if job.Attempt != 1 || !strings.Contains(job.LastError, "554") {
		t.Errorf("the job is %+v", job)
	}
	if text := metricsOf(t, h.app); !strings.Contains(text, `hearth_job_runs_total{kind="mail.password_reset",outcome="dead",queue="notification"} 1`) {
		t.Error("the dead letter is not counted")
	}
}

func TestALetterThatNoServerTakesEndsAsADeadOne(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.SMTPURL = "smtp://127.0.0.1:1?tls=none" // nobody listens
	h := newServer(t, cfg)
	id := h.askForReset()
	for attempt := 1; attempt < mailer.MaxAttempts; attempt++ {
		await(t, h.app, id, func(j queue.Job) bool { return j.State == queue.Retrying && j.Attempt == attempt })
		h.retry(id)
	}
	job := await(t, h.app, id, inState(queue.Dead))
	if job.Attempt != mailer.MaxAttempts {
		t.Errorf("it is dead after %d tries", job.Attempt)
	}
	report := h.app.Health().Report(t.Context())
	if got := report.Dependencies["mail"].State; got != observe.StateDown || report.Status != observe.StatusDegraded {
		t.Errorf("the mail is %s and the service %s; want down and degraded", got, report.Status)
	}
}

func TestAnInvitationComesByMailAndLetsInOnce(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	h := newServer(t, cfg)
	token := h.logIn(apitest.Password)
	var org struct{ ID string }
	if status := h.call(http.MethodPost, "/organizations", token, `{"name":"Team"}`, &org); status != http.StatusCreated {
		t.Fatalf("making an organization is %d", status)
	}
	if status := h.call(http.MethodPost, "/organizations/"+org.ID+"/invitations", token, `{"email":"`+annsMail+`","role":"viewer"}`, nil); status != http.StatusCreated {
		t.Fatalf("inviting is %d", status)
	}
	await(t, h.app, h.job("mail.invitation"), inState(queue.Completed))
	files, err := filepath.Glob(filepath.Join(cfg.DataDir, "mail", "*.eml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files are %v, %v", files, err)
	}
	message, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	body := `{"token":"` + linked(t, message, "invitation") + `"}`
	for i, want := range []int{http.StatusOK, http.StatusUnprocessableEntity} {
		if status := h.call(http.MethodPost, "/invitations/accept", token, body, nil); status != want {
			t.Errorf("use %d of the token is %d; want %d", i+1, status, want)
		}
	}
}
