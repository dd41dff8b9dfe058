package notify_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"hearth"
	"hearth/internal/core/notify"
	"hearth/internal/queue"
)

// receiver is a server that channels send to; it answers status, 200 if that is 0.
type receiver struct {
	url    string
	status int
	got    []received
}

type received struct {
	path   string
	header http.Header
	body   string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		r.got = append(r.got, received{request.URL.Path, request.Header, string(body)}) // one request at a time
		if r.status != 0 {
			w.WriteHeader(r.status)
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// channel makes a channel of ann's; change may change it.
func (d *desk) channel(kind hearth.ChannelKind, url string, change ...func(*notify.NewChannel)) notify.IssuedChannel {
	d.Helper()
	n := notify.NewChannel{Name: "Phone", Kind: kind, URL: url, Types: hearth.NotificationTypes(), Enabled: true}
	for _, do := range change {
		do(&n)
	}
	c, err := d.CreateChannel(d.Context(), d.ann, n, nil)
	if err != nil {
		d.Fatal(err)
	}
	return c
}

// raise notifies ann of an alarm.
func (d *desk) raise(severity hearth.Severity) {
	d.Helper()
	d.alarm.Severity = severity
	notice := hearth.AlarmNotice{AlarmID: "a", What: hearth.AlarmEntryRaised, Users: []string{"ann"}}
	if err := d.do(notify.AlarmKind, notice); err != nil {
		d.Fatal(err)
	}
}

// work runs the jobs of digests that are due, with those that they cause, and returns the errors of those that failed. E-mails stay.
func (d *desk) work() (failed []error) {
	d.Helper()
	for {
		now := time.UnixMilli(d.now.Load())
		jobs := slices.DeleteFunc(d.emails(), func(j hearth.OutboxJob) bool {
			return j.Kind != notify.ChannelKind && j.Kind != notify.EmailDigestKind || j.RunAt.After(now)
		})
		if len(jobs) == 0 {
			return failed
		}
		for _, job := range jobs {
			if err := d.attempt(job, 1); err != nil {
				failed = append(failed, err)
			}
		}
	}
}

// attempt runs a job from the outbox, which it leaves.
func (d *desk) attempt(job hearth.OutboxJob, attempt int) error {
	d.Helper()
	if err := d.store.DeleteOutbox(d.Context(), []string{job.ID}); err != nil {
		d.Fatal(err)
	}
	for _, k := range d.Kinds() {
		if k.Name == job.Kind {
			one := queue.FromOutbox(job)
			one.Attempt = attempt
			return k.Handler(d.Context(), &queue.Task{Job: one})
		}
	}
	d.Fatalf("no handler for %s", job.Kind)
	return nil
}

// waiting returns the jobs of a kind in the outbox.
func (d *desk) waiting(kind string) []hearth.OutboxJob {
	d.Helper()
	return slices.DeleteFunc(d.emails(), func(j hearth.OutboxJob) bool { return j.Kind != kind })
}

func (d *desk) after(span time.Duration) { d.now.Add(span.Milliseconds()) }

func TestEachKindOfChannelIsSentItsOwnForm(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.alarm.RuleName, d.alarm.DeviceName = "Too <hot> & *dry*", "lamp_1"
	hook := d.channel(hearth.ChannelWebhook, r.url+"/hook?key=s3cret")
	d.channel(hearth.ChannelNtfy, r.url+"/base/my-topic", func(n *notify.NewChannel) { n.Token = "tk_1" })
	d.channel(hearth.ChannelSlack, r.url+"/slack")
	d.channel(hearth.ChannelTeams, r.url+"/teams")
	d.raise(hearth.SeverityCritical)
	if failed := d.work(); len(failed) > 0 || len(r.got) != 4 {
		t.Fatalf("received %+v, failed %v", r.got, failed)
	}
	for _, got := range r.got {
		var body map[string]any
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %s, %v", got.path, got.body, err)
		}
		switch got.path {
		case "/hook":
			verifier, err := standardwebhooks.NewWebhook(hook.Shown)
			if err == nil {
				err = verifier.VerifyIgnoringTimestamp([]byte(got.body), got.header)
			}
			data, _ := body["data"].(map[string]any)
			all, _ := data["notifications"].([]any)
			one, _ := all[0].(map[string]any)
			if err != nil || body["type"] != "notification" || data["more"] != 0.0 || one["type"] != "alarm" || one["severity"] != "critical" ||
				one["url"] != "https://h.example/alarms/a" || one["title"] != "Too <hot> & *dry*: lamp_1" {
				t.Errorf("the webhook: %s, %v", got.body, err)
			}
		case "/base/":
			if body["topic"] != "my-topic" || body["priority"] != 5.0 || body["title"] != "Too <hot> & *dry*: lamp_1" ||
				body["click"] != "https://h.example/alarms/a" || got.header.Get("Authorization") != "Bearer tk_1" {
				t.Errorf("ntfy: %s %v", got.body, got.header)
			}
		case "/slack":
			const want = "*Too &lt;hot&gt; &amp; ∗dry∗: lamp_1*\nThe alarm is critical (above 30 for 1m).\n<https://h.example/alarms/a|Open in hearth>"
			if body["text"] != want {
				t.Errorf("Slack: %s", got.body)
			}
		case "/teams":
			for _, part := range []string{
				`"type":"message"`, `"contentType":"application/vnd.microsoft.card.adaptive"`, `"type":"AdaptiveCard"`, `\\*dry\\*`,
				`"url":"https://h.example/alarms/a"`, `"color":"Attention"`,
			} {
				if !strings.Contains(got.body, part) {
					t.Errorf("Teams has no %s: %s", part, got.body)
				}
			}
		default:
			t.Errorf("a request for %s", got.path)
		}
	}
}

func TestAChannelIsSentWhatItsUserChose(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.channel(hearth.ChannelSlack, r.url, func(n *notify.NewChannel) {
		n.Types, n.MinSeverity = []hearth.NotificationType{hearth.NotifyAlarm}, hearth.SeverityMajor
	})
	d.channel(hearth.ChannelSlack, r.url, func(n *notify.NewChannel) { n.Enabled = false })
	d.raise(hearth.SeverityMinor)
	if err := d.do(notify.ExportKind, notify.ExportNotice{ExportID: "e", UserID: "ann", Status: "completed"}); err != nil {
		t.Fatal(err)
	}
	if failed := d.work(); len(failed) > 0 || len(r.got) != 0 {
		t.Errorf("received %+v, failed %v", r.got, failed)
	}
	d.raise(hearth.SeverityMajor)
	if failed := d.work(); len(failed) > 0 || len(r.got) != 1 {
		t.Errorf("received %+v, failed %v", r.got, failed)
	}
}

func TestADigestIsOneMessageForEachPause(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.channel(hearth.ChannelSlack, r.url, func(n *notify.NewChannel) { n.DigestMinutes = 10 })
	for range 5 {
		d.raise(hearth.SeverityCritical)
		d.work()
		d.after(time.Minute)
	}
	if len(r.got) != 1 {
		t.Fatalf("received %+v", r.got)
	}
	d.after(5*time.Minute - time.Millisecond)
	if d.work(); len(r.got) != 1 {
		t.Errorf("before the end of the pause: %+v", r.got)
	}
	d.after(time.Millisecond)
	if d.work(); len(r.got) != 2 || strings.Count(r.got[1].body, "Hot: lamp") != 4 {
		t.Errorf("after it: %+v", r.got)
	}
	d.after(time.Hour)
	if d.work(); len(r.got) != 2 {
		t.Errorf("with nothing new: %+v", r.got)
	}
}

func TestQuietHoursHoldAllButWhatIsUrgent(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.channel(hearth.ChannelSlack, r.url)
	settings := hearth.DefaultNotificationSettings()
	settings.Quiet = &hearth.QuietHours{Start: 22 * 60, End: 7 * 60}
	if _, err := d.SetSettings(t.Context(), d.ann, settings); err != nil {
		t.Fatal(err)
	}
	d.now.Store(time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC).UnixMilli())
	d.raise(hearth.SeverityMajor)
	d.raise(hearth.SeverityMinor)
	d.raise(hearth.SeverityCritical)
	d.alarm.State = hearth.AlarmCleared
	if err := d.do(notify.AlarmKind, hearth.AlarmNotice{AlarmID: "a", What: hearth.AlarmEntryCleared, Users: []string{"ann"}}); err != nil {
		t.Fatal(err)
	}
	if err := d.do(notify.SecurityKind, hearth.SecurityNotice{UserID: "ann", What: hearth.NoticeReused, At: time.UnixMilli(d.now.Load())}); err != nil {
		t.Fatal(err)
	}
	d.work()
	if len(r.got) != 1 || !strings.Contains(r.got[0].body, "critical") || !strings.Contains(r.got[0].body, "sessions was ended") ||
		strings.Contains(r.got[0].body, "major") {
		t.Errorf("in the night: %+v", r.got)
	}
	if emails := d.waiting(notify.EmailKind); len(emails) != 2 {
		t.Errorf("%d e-mails in the night", len(emails))
	}
	if told := d.told(); len(told) != 5 {
		t.Errorf("in the app: %+v", told)
	}
	d.now.Store(time.Date(2026, 3, 2, 6, 59, 59, 0, time.UTC).UnixMilli())
	if d.work(); len(r.got) != 1 {
		t.Errorf("before the morning: %+v", r.got)
	}
	d.after(time.Second)
	d.work()
	if len(r.got) != 2 || !strings.Contains(r.got[1].body, "major") || !strings.Contains(r.got[1].body, "minor") || !strings.Contains(r.got[1].body, "ended") {
		t.Errorf("in the morning: %+v", r.got)
	}
	if got := fmt.Sprint(d.emailKinds()); got != "[alarm_raised digest refresh_reused]" {
		t.Errorf("by e-mail: %s", got)
	}
}

// emailKinds returns the kinds of the e-mails, sorted.
func (d *desk) emailKinds() (kinds []string) {
	d.Helper()
	for _, job := range d.waiting(notify.EmailKind) {
		e, err := d.Email(d.Context(), job.Payload)
		if err != nil {
			d.Fatal(err)
		}
		kinds = append(kinds, e.Email.Kind())
	}
	slices.Sort(kinds)
	return kinds
}

func TestEmailsWaitForTheirPauseAndOneAloneIsItself(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	settings := hearth.DefaultNotificationSettings()
	settings.EmailDigest = 15
	if _, err := d.SetSettings(t.Context(), d.ann, settings); err != nil {
		t.Fatal(err)
	}
	d.raise(hearth.SeverityMajor)
	d.raise(hearth.SeverityMajor)
	if err := d.do(notify.ExportKind, notify.ExportNotice{ExportID: "e", UserID: "ann", Status: "completed", ForceMail: true}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(d.emailKinds()); got != "[alarm_raised export_ready]" {
		t.Errorf("at once: %s", got)
	}
	d.after(15 * time.Minute)
	d.work()
	if got := fmt.Sprint(d.emailKinds()); got != "[alarm_raised alarm_raised export_ready]" {
		t.Errorf("after the pause: %s", got)
	}
	for range 3 {
		d.raise(hearth.SeverityMajor)
	}
	d.after(15 * time.Minute)
	d.work()
	if got := fmt.Sprint(d.emailKinds()); got != "[alarm_raised alarm_raised digest export_ready]" {
		t.Errorf("after the next: %s", got)
	}
}

func TestAMessageIsAttemptedAgainWithTheSameIDAndItems(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	c := d.channel(hearth.ChannelWebhook, r.url)
	r.status = http.StatusServiceUnavailable
	d.raise(hearth.SeverityMajor)
	job := d.waiting(notify.ChannelKind)[0]
	if err := d.attempt(job, 1); err == nil || !strings.Contains(err.Error(), "answered 503") || strings.Contains(err.Error(), r.url) {
		t.Fatalf("the first attempt: %v", err)
	}
	if c, err := d.Channel(t.Context(), d.ann, c.ID); err != nil || c.FailingSince.IsZero() || c.LastError != "the receiver answered 503" {
		t.Errorf("the channel is %+v, %v", c, err)
	}
	d.raise(hearth.SeverityMinor)
	if jobs := d.waiting(notify.ChannelKind); len(jobs) != 0 {
		t.Errorf("another job while one is under way: %+v", jobs)
	}
	r.status = 0
	if err := d.attempt(job, 2); err != nil {
		t.Fatal(err)
	}
	d.work()
	id := func(i int) string { return r.got[i].header.Get("Webhook-Id") }
	if len(r.got) != 3 || id(0) != id(1) || id(1) == id(2) || strings.Contains(r.got[1].body, "minor") || !strings.Contains(r.got[2].body, "minor") {
		t.Errorf("received %+v", r.got)
	}
	if c, err := d.Channel(t.Context(), d.ann, c.ID); err != nil || !c.FailingSince.IsZero() || c.LastError != "" {
		t.Errorf("the channel is %+v, %v", c, err)
	}
	if err := d.attempt(job, 3); err != nil || len(r.got) != 3 {
		t.Errorf("a job that has done its work: %v, %d requests", err, len(r.got))
	}
}

func TestWhatFailsToTheEndIsDropped(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.channel(hearth.ChannelSlack, r.url)
	r.status = http.StatusBadGateway
	d.raise(hearth.SeverityMajor)
	if err := d.attempt(d.waiting(notify.ChannelKind)[0], 20); err != nil {
		t.Fatal(err)
	}
	r.status = 0
	d.raise(hearth.SeverityMinor)
	if d.work(); len(r.got) != 2 || strings.Contains(r.got[1].body, "major") {
		t.Errorf("received %+v", r.got)
	}
}

func TestAChannelWhoseReceiverIsGoneIsDisabled(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*desk, *receiver){
		hearth.WebhookGone: func(d *desk, r *receiver) {
			r.status = http.StatusGone
			d.raise(hearth.SeverityMajor)
			d.work()
		},
		hearth.WebhookFailing: func(d *desk, r *receiver) {
			r.status = http.StatusNotFound
			d.raise(hearth.SeverityMajor)
			job := d.waiting(notify.ChannelKind)[0]
			_ = d.attempt(job, 1)
			d.after(7 * 24 * time.Hour)
			_ = d.attempt(job, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, r := newDesk(t), newReceiver(t)
			c := d.channel(hearth.ChannelSlack, r.url)
			damage(d, r)
			after, err := d.Channel(t.Context(), d.ann, c.ID)
			if err != nil || after.Enabled || after.DisabledReason != name {
				t.Errorf("the channel is %+v, %v", after, err)
			}
			jobs := d.waiting(notify.WebhookKind)
			if len(jobs) != 1 || d.attempt(jobs[0], 1) != nil {
				t.Fatalf("the jobs are %+v", jobs)
			}
			told := slices.DeleteFunc(d.told(), func(n hearth.Notification) bool { return n.Type != hearth.NotifyWebhookDisabled })
			if len(told) != 1 || told[0].Data["channel_id"] != c.ID || !strings.Contains(told[0].Title, "notification channel Phone") {
				t.Errorf("told %+v", told)
			}
		})
	}
}

func TestALostJobIsMadeAgain(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.channel(hearth.ChannelSlack, r.url)
	d.raise(hearth.SeverityMajor)
	lost := d.waiting(notify.ChannelKind)
	if err := d.store.DeleteOutbox(t.Context(), []string{lost[0].ID}); err != nil {
		t.Fatal(err)
	}
	d.after(5 * time.Minute)
	if n, err := d.ResumeDigests(t.Context()); n != 0 || err != nil {
		t.Errorf("too early: %d, %v", n, err)
	}
	d.after(time.Second)
	if n, err := d.ResumeDigests(t.Context()); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if d.work(); len(r.got) != 1 {
		t.Errorf("received %+v", r.got)
	}
	if err := d.attempt(lost[0], 1); err != nil || len(r.got) != 1 {
		t.Errorf("the lost one after all: %v, %d requests", err, len(r.got))
	}
	d.raise(hearth.SeverityMajor)
	if err := d.store.DeleteOutbox(t.Context(), []string{d.waiting(notify.ChannelKind)[0].ID}); err != nil {
		t.Fatal(err)
	}
	d.after(25 * time.Hour)
	for want := 1; want >= 0; want-- {
		if n, err := d.ResumeDigests(t.Context()); n != want || err != nil {
			t.Errorf("a day later: %d, %v", n, err)
		}
	}
	if d.work(); len(r.got) != 1 {
		t.Errorf("what is old is sent: %+v", r.got)
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	d.channel(hearth.ChannelTeams, r.url, func(n *notify.NewChannel) { n.DigestMinutes = 60 })
	d.alarm.RuleName = strings.Repeat("ü", 200)
	d.raise(hearth.SeverityMajor)
	d.work()
	d.raise(hearth.SeverityCritical)
	for range hearth.MaxDigestItems + 10 {
		d.raise(hearth.SeverityInfo)
	}
	d.after(time.Hour)
	d.work()
	if len(r.got) != 2 || len(r.got[1].body) > 28_000 || !strings.Contains(r.got[1].body, "critical") || !strings.Contains(r.got[1].body, " more") {
		t.Errorf("received %d messages, the last of %d bytes", len(r.got), len(r.got[len(r.got)-1].body))
	}
}

func TestATestReturnsWhatTheReceiverAnswered(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	c := d.channel(hearth.ChannelSlack, r.url, func(n *notify.NewChannel) { n.Enabled = false })
	got, err := d.TestChannel(t.Context(), d.ann, c.ID)
	if err != nil || got.Status != 200 || got.Error != "" || !strings.Contains(r.got[0].body, "Test of Phone") {
		t.Errorf("%+v, %v, %+v", got, err, r.got)
	}
	r.status = http.StatusForbidden
	if got, err := d.TestChannel(t.Context(), d.ann, c.ID); err != nil || got.Status != 403 || got.Error != "the receiver answered 403" {
		t.Errorf("%+v, %v", got, err)
	}
	for caller, want := range map[*hearth.Caller]hearth.Code{
		{UserID: "bob", Role: hearth.RoleAdmin}: hearth.CodeNotFound, {DeviceID: lamp}: hearth.CodeForbidden,
	} {
		if _, err := d.TestChannel(t.Context(), *caller, c.ID); hearth.ErrorCode(err) != want {
			t.Errorf("%+v: %v", caller, err)
		}
	}
	if len(r.got) != 2 {
		t.Errorf("%d requests", len(r.got))
	}
}

func TestTheSecretOfAChannelIsRotated(t *testing.T) {
	t.Parallel()
	d, r := newDesk(t), newReceiver(t)
	c := d.channel(hearth.ChannelWebhook, r.url+"/hook")
	secrets := map[string]string{"first": c.Shown}
	rotate := func(name string) {
		t.Helper()
		issued, err := d.RotateChannel(t.Context(), d.ann, c.ID)
		if err != nil || issued.Version != c.Version+int64(len(secrets)) {
			t.Fatalf("%+v, %v", issued, err)
		}
		secrets[name] = issued.Shown
	}
	// signs makes sure that the next request is signed with these secrets alone. The library looks at no clock.
	signs := func(when string, want ...string) {
		t.Helper()
		if _, err := d.TestChannel(t.Context(), d.ann, c.ID); err != nil {
			t.Fatal(err)
		}
		got := r.got[len(r.got)-1]
		for name, secret := range secrets {
			hook, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if ok := hook.VerifyIgnoringTimestamp([]byte(got.body), got.header) == nil; ok != slices.Contains(want, name) {
				t.Errorf("%s: the %s secret verifies: %t", when, name, ok)
			}
		}
	}
	signs("at first", "first")
	rotate("second")
	signs("rotated", "first", "second")
	rotate("third")
	signs("rotated again", "second", "third")
	url := r.url + "/other"
	if _, err := d.UpdateChannel(t.Context(), d.ann, c.ID, notify.ChannelChange{URL: &url}, nil); err != nil {
		t.Fatal(err)
	}
	d.after(hearth.RotationTTL - time.Minute)
	signs("just before the end, at another URL", "second", "third")
	d.after(time.Minute)
	signs("after a day", "third")
	slack := d.channel(hearth.ChannelSlack, r.url)
	if _, err := d.RotateChannel(t.Context(), d.ann, slack.ID); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("one without a secret: %v", err)
	}
	if _, err := d.RotateChannel(t.Context(), hearth.Caller{UserID: "bob", Role: hearth.RoleAdmin}, c.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("that of another user: %v", err)
	}
}

func TestTheURLOfAChannelIsSealedAndNotShown(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const url = "https://hooks.slack.com/services/T00000000/B00000000/abcdefghWXYZ"
	c := d.channel(hearth.ChannelSlack, url)
	stored, err := d.store.Channel(t.Context(), c.ID)
	if err != nil || strings.Contains(fmt.Sprintf("%s %+v", stored.Secret, stored), "abcdefgh") || c.Address != "https://hooks.slack.com/…WXYZ" {
		t.Errorf("stored is %+v, %v", stored, err)
	}
	next := "http://127.0.0.1:9/another-secret-abcd"
	if _, err := d.UpdateChannel(t.Context(), d.ann, c.ID, notify.ChannelChange{URL: &next}, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := d.store.Audit(t.Context(), hearth.AuditFilter{}, hearth.Page{})
	if err != nil || len(entries.Items) < 2 {
		t.Fatalf("%+v, %v", entries, err)
	}
	text := fmt.Sprintf("%+v", entries.Items)
	if strings.Contains(text, "abcdefgh") || strings.Contains(text, "another-secret") || !strings.Contains(text, "https://hooks.slack.com/…WXYZ") {
		t.Errorf("the audit says %s", text)
	}
	foreign := stored
	foreign.ID, foreign.Secret = "0195b000-0000-7000-8000-000000000009", []byte("sealed by a key that is gone")
	if err := d.store.CreateChannel(t.Context(), foreign, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if changed, lost, err := d.ResealChannels(t.Context()); changed != 0 || lost != 1 || err != nil {
		t.Errorf("%d sealed anew, %d lost, %v", changed, lost, err)
	}
}

func TestChannelsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, change := range map[string]func(*notify.NewChannel){
		"body.url":            func(n *notify.NewChannel) { n.URL = "http://10.0.0.1/" },
		"body.name":           func(n *notify.NewChannel) { n.Name = " " },
		"body.kind":           func(n *notify.NewChannel) { n.Kind = "pager" },
		"body.types":          func(n *notify.NewChannel) { n.Types = []hearth.NotificationType{"doorbell"} },
		"body.min_severity":   func(n *notify.NewChannel) { n.MinSeverity = "bad" },
		"body.digest_minutes": func(n *notify.NewChannel) { n.DigestMinutes = 1441 },
		"body.token":          func(n *notify.NewChannel) { n.Token = "tk_1" },
	} {
		n := notify.NewChannel{Name: "n", Kind: hearth.ChannelSlack, URL: "https://example.com/x"}
		change(&n)
		_, err := d.CreateChannel(t.Context(), d.ann, n, nil)
		if hearth.ErrorCode(err) != hearth.CodeValidationFailed || !strings.Contains(fmt.Sprintf("%+v", err), name) {
			t.Errorf("%s: %+v", name, err)
		}
	}
	for url, want := range map[string]bool{
		"https://ntfy.sh/my-topic": true, "https://ntfy.sh/": false, "https://ntfy.sh": false, "https://ntfy.sh/a/b_1": true, "https://ntfy.sh/a?x=1": false,
		"https://ntfy.sh/" + strings.Repeat("x", 65): false, "https://ntfy.sh/a%2Fb": true, "https://ntfy.sh/ä": false,
	} {
		n := notify.NewChannel{Name: "n", Kind: hearth.ChannelNtfy, URL: url, Token: "tk_" + strings.Repeat("x", 100)}
		if _, err := d.CreateChannel(t.Context(), d.ann, n, nil); (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
}
