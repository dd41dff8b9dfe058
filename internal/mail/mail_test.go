package mail_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth/internal/mail"
)

var update = flag.Bool("update", false, "write the golden files anew")

// emails returns one of each.
func emails() []mail.Email {
	at := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	later := at.Add(time.Hour)
	const url = "https://hearth.example.com/go?to=here&x=1"
	raised := mail.AlarmRaised{Rule: "Too <hot>", Device: "Boiler <1>", Severity: "critical", Value: "91.5", Threshold: "above 90", At: at, URL: url}
	limit := 90.0
	chart := mail.Chart{Name: "temperature", From: at.Add(-time.Hour), To: at, Threshold: &limit}
	for i := range int64(61) {
		chart.Points = append(chart.Points, mail.ChartPoint{At: i * 60_000, Value: 85 + 6.5*math.Sin(float64(i)/38)})
	}
	raised.Charts = []mail.Chart{chart}
	const agent = "Firefox on Linux"
	return []mail.Email{
		mail.PasswordReset{URL: url, ExpiresAt: later},
		mail.EmailConfirmation{URL: url, ExpiresAt: later},
		mail.Invitation{Inviter: "Ada Lovelace", Organization: "Engines & Co", Role: "member", URL: url, ExpiresAt: later},
		mail.NewSignIn{At: at, UserAgent: agent, IP: "192.0.2.7", URL: url},
		mail.RefreshReused{At: at, UserAgent: agent, IP: "2001:db8::7", URL: url},
		mail.PasswordChanged{At: at, IP: "192.0.2.7", URL: url},
		mail.EmailChanged{At: at, IP: "192.0.2.7", URL: url},
		mail.AccountLocked{Until: later, IP: "192.0.2.7", URL: url},
		mail.ExportReady{FileName: "logs-2026-02.csv.gz", Records: 1234567, Bytes: 45_678_901, URL: url, ExpiresAt: later},
		mail.ExportFailed{What: "logs", Reason: "The disk is full.", URL: url},
		mail.DeviceOffline{Device: "Boiler <1>", LastSeen: at, URL: url},
		mail.DeviceOnline{Device: "Boiler <1>", At: at, URL: url},
		raised,
		mail.AlarmCleared{AlarmRaised: raised, ClearedAt: later},
		mail.WebhookDisabled{Webhook: "Pager <1>", Why: "Every attempt of a week failed.", At: at, URL: url},
		mail.Digest{Items: []mail.DigestItem{
			{Title: "Too <hot>: Boiler", Body: "The alarm is major; the value is 91.5.", At: at}, {Title: "Lamp is offline", Body: "The device has stopped reporting.", At: later},
		}, More: 3, URL: url},
		mail.ScheduledExport{Schedule: "weekly", What: "the usage report", From: at.AddDate(0, 0, -7), To: at, FileName: "usage.csv",
			Records: 168, Bytes: 999, URL: url, ExpiresAt: later},
	}
}

func writer(t *testing.T) *mail.Writer {
	t.Helper()
	w, err := mail.NewWriter("https://hearth.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestEmailsReadAsTheirGoldenFiles(t *testing.T) {
	t.Parallel()
	w := writer(t)
	for _, email := range emails() {
		m, err := w.Message("id", mail.Envelope{To: mail.Address{Name: "Grace", Email: "grace@example.com"}, Email: email})
		if err != nil {
			t.Fatalf("%s: %v", email.Kind(), err)
		}
		if _, err := m.Prepare(); err != nil {
			t.Errorf("%s cannot be sent: %v", email.Kind(), err)
		}
		for name, got := range map[string]string{email.Kind() + ".txt": "Subject: " + m.Subject + "\n\n" + m.Text, email.Kind() + ".html": m.HTML} {
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got; -update writes it anew):\n%s", name, diff)
			}
		}
	}
}

func TestLettersSurviveTheQueue(t *testing.T) {
	t.Parallel()
	for _, email := range emails() {
		in := mail.Envelope{To: mail.Address{Name: "Grace", Email: "grace@example.com"}, Email: email}
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out mail.Envelope
		if err := json.Unmarshal(data, &out); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(in, out); diff != "" {
			t.Errorf("%s (-in +out):\n%s", email.Kind(), diff)
		}
	}
	var out mail.Envelope
	if err := json.Unmarshal([]byte(`{"to":{"email":"a@b.c"},"kind":"other","letter":{}}`), &out); err == nil {
		t.Error("an e-mail of an unknown kind was read")
	}
	if _, err := json.Marshal(mail.Envelope{}); err == nil {
		t.Error("an envelope without an e-mail was written")
	}
}

func TestNamesCannotBreakOutOfTheirPlace(t *testing.T) {
	t.Parallel()
	evil := "Boiler\r\nBcc: victim@example.com\r\n\r\n<script>alert(1)</script>\u2028x\x00y"
	m, err := writer(t).Message("id", mail.Envelope{To: mail.Address{Name: evil, Email: "grace@example.com"},
		Email: mail.DeviceOffline{Device: evil, URL: "https://hearth.example.com/d"}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Prepare(); err != nil {
		t.Fatal(err)
	}
	const flat = "Boiler Bcc: victim@example.com <script>alert(1)</script> x y"
	const unlinked = "Boiler Bcc: victim @ example. com <script>alert(1)</script> x y"
	if m.Subject != unlinked+" is offline" || m.To.Name != flat {
		t.Errorf("the subject is %q, the name %q", m.Subject, m.To.Name)
	}
	if strings.Contains(m.HTML, "<script>") {
		t.Error("a name is markup")
	}
	for line := range strings.Lines(m.Text) {
		if strings.HasPrefix(line, "Bcc:") || strings.HasPrefix(line, "<script>") {
			t.Errorf("a name has a line of its own: %q", line)
		}
	}
}

func TestALinkThatIsNoWebAddressIsRefused(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "javascript:alert(1)", "//x", "ftp://x/y", "https://", "https://x\r\ny"} {
		_, err := writer(t).Message("id", mail.Envelope{To: mail.Address{Email: "a@example.com"}, Email: mail.PasswordReset{URL: url}})
		if !mail.IsRejected(err) {
			t.Errorf("%q: %v", url, err)
		}
		if _, err := mail.NewWriter(url); err == nil {
			t.Errorf("%q is taken as the public URL", url)
		}
	}
}

func TestWrongAddressesAreRefusedForGood(t *testing.T) {
	t.Parallel()
	message := mail.Message{ID: "a-1_B", Subject: "s", Text: "t", To: mail.Address{Email: "a@example.com"}}
	if _, err := message.Prepare(); err != nil {
		t.Fatalf("a good message: %v", err)
	}
	for _, email := range []string{"", "a", "a@", "@b", "a@b\r\nRCPT TO:<x@y>", "A <a@example.com>", "a@example.com, b@example.com", "<a@example.com>",
		`"a b"@example.com`, "a@example.com (x)", "a b@example.com", "a@example.com\x00", strings.Repeat("a", 250) + "@example.com"} {
		bad := message
		bad.To.Email = email
		if _, err := bad.Prepare(); !mail.IsRejected(err) {
			t.Errorf("%q: %v", email, err)
		}
	}
	for name, spoil := range map[string]func(*mail.Message){
		"no ID": func(m *mail.Message) { m.ID = "" }, "an ID with a bracket": func(m *mail.Message) { m.ID = "a>b" },
		"no subject": func(m *mail.Message) { m.Subject = "\r\n" }, "no text": func(m *mail.Message) { m.Text = "" },
	} {
		bad := message
		spoil(&bad)
		if _, err := bad.Prepare(); !mail.IsRejected(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLineCutsLongTextAtACharacter(t *testing.T) {
	t.Parallel()
	if got := mail.Line(strings.Repeat("ä", 300)); len([]rune(got)) != mail.MaxLine || !strings.HasSuffix(got, "ä…") {
		t.Errorf("got %q", got)
	}
	if got := mail.Line("  a \t b\u200e\xff "); got != "a b" {
		t.Errorf("got %q", got)
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]mail.Address{
		"hearth <no-reply@example.com>": {Name: "hearth", Email: "no-reply@example.com"},
		"no-reply@example.com":          {Email: "no-reply@example.com"},
		`"A, B" <a@example.com>`:        {Name: "A, B", Email: "a@example.com"},
	} {
		if got, err := mail.ParseAddress(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	if _, err := mail.ParseAddress("nobody"); err == nil {
		t.Error("it was taken")
	}
}

func TestChartsOfSeveralEventsAreOnePicture(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	charts := []mail.Chart{
		{Name: "temperature", From: at.Add(-time.Hour), To: at, Points: []mail.ChartPoint{{0, 20}, {3_600_000, 31}}},
		{Name: "door", From: at.Add(-48 * time.Hour), To: at, Points: []mail.ChartPoint{{0, 1}, {3_600_000, 0}}, Silence: true},
	}
	m, err := writer(t).Message("id", mail.Envelope{To: mail.Address{Email: "a@example.com"},
		Email: mail.AlarmRaised{Rule: "r", Device: "d", At: at, Values: "temperature 31, door false", URL: "https://hearth.example.com/a", Charts: charts}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"temperature from 11:30 to 1 March 2026, 12:30 UTC: lowest 20, highest 31.\n",
		"door from 27 February 2026, 12:30 UTC to 1 March 2026, 12:30 UTC: lowest 0, highest 1; the last reading is of 27 February 2026, 13:30 UTC.\n",
		"Values: temperature 31, door false\n",
	} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the text lacks %q:\n%s", want, m.Text)
		}
	}
	if strings.Count(m.HTML, "<img") != 1 || !strings.Contains(m.HTML, `width="520"`) {
		t.Errorf("the page: %s", m.HTML)
	}
	picture, err := png.Decode(bytes.NewReader(m.Picture))
	if err != nil || picture.Bounds().Dx() != 1040 || picture.Bounds().Dy() != 400 {
		t.Fatalf("%v, %v", picture.Bounds(), err)
	}
	// The first line goes on to the right edge; the second stops near the left one.
	drawn := func(area image.Rectangle) bool {
		for y := area.Min.Y; y < area.Max.Y; y++ {
			for x := area.Min.X; x < area.Max.X; x++ {
				if color.NRGBAModel.Convert(picture.At(x, y)) == (color.NRGBA{0xd9, 0x73, 0x0d, 0xff}) {
					return true
				}
			}
		}
		return false
	}
	for area, want := range map[image.Rectangle]bool{
		image.Rect(0, 0, 100, 200): true, image.Rect(900, 0, 1040, 200): true, image.Rect(0, 200, 100, 400): true, image.Rect(100, 200, 1040, 400): false,
	} {
		if drawn(area) != want {
			t.Errorf("in %v a line is drawn: %t", area, !want)
		}
	}
}

func TestAnAlarmHasAPictureOfItsLastHour(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	limit := -15.0
	for name, chart := range map[string]*mail.Chart{
		"a line":          {Points: []mail.ChartPoint{{0, -18}, {1_800_000, -16}, {3_600_000, -12.5}}, Threshold: &limit},
		"one point":       {Points: []mail.ChartPoint{{3_600_000, -15}}, Threshold: &limit},
		"one value":       {Points: []mail.ChartPoint{{0, 1}, {3_600_000, 1}}},
		"huge values":     {Points: []mail.ChartPoint{{0, -1e300}, {3_600_000, 1e300}}},
		"outside of time": {Points: []mail.ChartPoint{{-5, 1}, {1 << 60, 2}}},
	} {
		chart.Name, chart.From, chart.To = "temperature", at.Add(-time.Hour), at
		m, err := writer(t).Message("id", mail.Envelope{To: mail.Address{Email: "a@example.com"},
			Email: mail.AlarmRaised{Rule: "r", Device: "d", At: at, URL: "https://hearth.example.com/a", Charts: []mail.Chart{*chart}}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		picture, err := png.Decode(bytes.NewReader(m.Picture))
		if err != nil || picture.Bounds().Dx() != 1040 || len(m.Picture) > 20_000 || !strings.Contains(m.HTML, `src="cid:chart@hearth"`) {
			t.Fatalf("%s: %d bytes, %v", name, len(m.Picture), err)
		}
		colours := map[color.Color]int{}
		for y := range picture.Bounds().Dy() {
			for x := range picture.Bounds().Dx() {
				colours[color.NRGBAModel.Convert(picture.At(x, y))]++
			}
		}
		line, dashes := colours[color.NRGBA{0xd9, 0x73, 0x0d, 0xff}], colours[color.NRGBA{0xd6, 0x45, 0x32, 0xff}]
		if line < 25 || (dashes > 0) != (chart.Threshold != nil) {
			t.Errorf("%s: %d points of the line, %d of the threshold", name, line, dashes)
		}
	}
}
