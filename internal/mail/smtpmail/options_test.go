package smtpmail_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/mail"
	"hearth/internal/mail/smtpmail"
)

func TestURLsAreReadAndWrongOnesNamedWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	good := map[string]smtpmail.Options{
		"smtp://mail.example.com":                  {Host: "mail.example.com", Port: 587, TLS: smtpmail.StartTLS},
		"smtp://u%40x:p%3Aw@mail.example.com:2525": {Host: "mail.example.com", Port: 2525, TLS: smtpmail.StartTLS, Username: "u@x", Password: "p:w"},
		"smtp://mail.example.com?tls=implicit":     {Host: "mail.example.com", Port: 465, TLS: smtpmail.Implicit},
		"smtps://mail.example.com":                 {Host: "mail.example.com", Port: 465, TLS: smtpmail.Implicit},
		"smtp://localhost:1025?tls=none":           {Host: "localhost", Port: 1025, TLS: smtpmail.None},
		"smtp://u:p@127.0.0.1?tls=none":            {Host: "127.0.0.1", Port: 25, TLS: smtpmail.None, Username: "u", Password: "p"},
		"smtp://[2001:db8::1]:587?tls=starttls":    {Host: "2001:db8::1", Port: 587, TLS: smtpmail.StartTLS},
	}
	for raw, want := range good {
		got, err := smtpmail.ParseURL(raw)
		if err != nil || got.Host != want.Host || got.Port != want.Port || got.TLS != want.TLS || got.Username != want.Username || got.Password != want.Password {
			t.Errorf("%s: %+v, error %v", raw, got, err)
		}
	}
	for _, bad := range []string{
		"", "mail.example.com:25", "http://u:s3cret@h", "smtp://", "smtp://u:s3cret@h?tls=yes", "smtp://u:s3cret@h?tsl=none", "smtp://u:s3cret@h?tls=none",
		"smtp://u@h", "smtp://u:s3cret@h:0", "smtp://u:s3cret@h:99999", "smtp://u:s3cret@h/path", "smtps://u:s3cret@h?tls=none", "smtp://u:s3cret@h?tls=",
		"smtp://u:s3cret@h\x7f",
	} {
		if _, err := smtpmail.ParseURL(bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWithoutAServerMessagesAreFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	clock := func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC) }
	files, err := smtpmail.NewFiles(smtpmail.FilesOptions{Dir: dir, From: mail.Address{Name: "hearth", Email: "no-reply@example.com"}, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second attempt of the same message is the same file
		if err := files.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "20260301T120000.005Z-0192-abc.eml" {
		t.Fatalf("the directory has %v, error %v", entries, err)
	}
	path := filepath.Join(dir, entries[0].Name())
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file is %v, error %v", info, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkContent(t, string(data))
	bad := message()
	bad.ID = "../../x"
	if err := files.Send(t.Context(), bad); !mail.IsRejected(err) {
		t.Errorf("an ID that leaves the directory: %v", err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := files.Send(t.Context(), message()); hearth.ErrorCode(err) != hearth.CodeUnavailable {
		t.Errorf("after closing: %v", err)
	}
}

func TestAPictureIsSentInline(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	files, err := smtpmail.NewFiles(smtpmail.FilesOptions{Dir: dir, From: mail.Address{Email: "no-reply@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	m := message()
	m.HTML, m.Picture = `<img src="cid:chart@hearth">`, []byte("\x89PNG")
	if err := files.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(names) != 1 {
		t.Fatalf("the files are %v, %v", names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"multipart/related", "Content-Id: <chart@hearth>", `Content-Disposition: inline; filename="chart.png"`, "Content-Type: image/png", "iVBORw==",
	} {
		if !strings.Contains(strings.ReplaceAll(string(text), "Content-ID", "Content-Id"), part) {
			t.Errorf("there is no %q in\n%s", part, text)
		}
	}
}
