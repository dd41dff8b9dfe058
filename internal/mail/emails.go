package mail

import (
	"cmp"
	"fmt"
	"strconv"
	"time"
)

// Email is the content of an e-mail. The e-mails are the types of this file; each is JSON, so that it can wait in the queue.
type Email interface {
	// Kind is the e-mail's stable name, in jobs and testdata.
	Kind() string
	// page returns what the e-mail says.
	page() page
}

// PasswordReset carries the link with which a forgotten password is replaced.
type PasswordReset struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// EmailConfirmation carries the link by which an account gets the e-mail that it goes to.
type EmailConfirmation struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Invitation invites to an organization.
type Invitation struct {
	Inviter      string    `json:"inviter"`
	Organization string    `json:"organization"`
	Role         string    `json:"role"`
	URL          string    `json:"url"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// NewSignIn reports a sign-in from a device that was not seen before.
type NewSignIn struct {
	At        time.Time `json:"at"`
	UserAgent string    `json:"user_agent,omitempty"`
	IP        string    `json:"ip,omitempty"`
	URL       string    `json:"url"`
}

// RefreshReused says that a spent refresh token was used again, and the session ended.
type RefreshReused struct {
	At        time.Time `json:"at"`
	UserAgent string    `json:"user_agent,omitempty"`
	IP        string    `json:"ip,omitempty"`
	URL       string    `json:"url"`
}

// PasswordChanged says that the password was changed.
type PasswordChanged struct {
	At  time.Time `json:"at"`
	IP  string    `json:"ip,omitempty"`
	URL string    `json:"url"`
}

// EmailChanged goes to the old address and says that the account has a new one.
type EmailChanged struct {
	At  time.Time `json:"at"`
	IP  string    `json:"ip,omitempty"`
	URL string    `json:"url"`
}

// AccountLocked says that wrong passwords locked the account for a while.
type AccountLocked struct {
	Until time.Time `json:"until"`
	IP    string    `json:"ip,omitempty"`
	URL   string    `json:"url"`
}

// ExportReady says that a file can be fetched.
type ExportReady struct {
	FileName  string    `json:"file_name"`
	Records   int64     `json:"records"`
	Bytes     int64     `json:"bytes"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// ExportFailed says that a file could not be made.
type ExportFailed struct {
	// What is the export's type as users know it, such as "logs".
	What string `json:"what"`
	// Reason is a sentence for the user.
	Reason string `json:"reason"`
	URL    string `json:"url"`
}

// DeviceOffline says that a device stopped reporting.
type DeviceOffline struct {
	Device string `json:"device"`
	// LastSeen is zero for a device that was never seen.
	LastSeen time.Time `json:"last_seen,omitzero"`
	URL      string    `json:"url"`
}

// DeviceOnline says that a device is back.
type DeviceOnline struct {
	Device string    `json:"device"`
	At     time.Time `json:"at"`
	URL    string    `json:"url"`
}

// AlarmRaised says that an alarm was raised.
type AlarmRaised struct {
	Rule     string `json:"rule"`
	Device   string `json:"device"`
	Severity string `json:"severity"`
	// Value is what raised it; "" where nothing was read. Values are, of an expression, the latest ones of the events that it names.
	Value  string `json:"value,omitempty"`
	Values string `json:"values,omitempty"`
	// Threshold is what was met, such as "above -15 for 5m".
	Threshold string    `json:"threshold,omitempty"`
	At        time.Time `json:"at"`
	URL       string    `json:"url"`
	// Charts show how the values went; none are without points, and there are at most MaxCharts.
	Charts []Chart `json:"charts,omitempty"`
}

// AlarmCleared says that an alarm has ended.
type AlarmCleared struct {
	AlarmRaised
	ClearedAt time.Time `json:"cleared_at"`
}

// WebhookDisabled says that the server disabled a webhook or notification channel.
type WebhookDisabled struct {
	// Noun is "webhook", which it is also if it is empty, or "notification channel".
	Noun    string    `json:"noun,omitempty"`
	Webhook string    `json:"webhook"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
	URL     string    `json:"url"`
}

// Digest lists notifications that waited.
type Digest struct {
	Items []DigestItem `json:"items"`
	// More is how many further ones there were.
	More int    `json:"more,omitempty"`
	URL  string `json:"url"`
}

// DigestItem is a notification of a Digest.
type DigestItem struct {
	Title string    `json:"title"`
	Body  string    `json:"body"`
	At    time.Time `json:"at"`
}

// ScheduledExport carries the link to an export that is made by a schedule.
type ScheduledExport struct {
	// Schedule is daily, weekly or monthly.
	Schedule  string    `json:"schedule"`
	What      string    `json:"what"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	FileName  string    `json:"file_name"`
	Records   int64     `json:"records"`
	Bytes     int64     `json:"bytes"`
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Kind implements Email.
func (PasswordReset) Kind() string { return "password_reset" }

// Kind implements Email.
func (EmailConfirmation) Kind() string { return "email_confirmation" }

// Kind implements Email.
func (Invitation) Kind() string { return "invitation" }

// Kind implements Email.
func (NewSignIn) Kind() string { return "new_sign_in" }

// Kind implements Email.
func (RefreshReused) Kind() string { return "refresh_reused" }

// Kind implements Email.
func (PasswordChanged) Kind() string { return "password_changed" }

// Kind implements Email.
func (EmailChanged) Kind() string { return "email_changed" }

// Kind implements Email.
func (AccountLocked) Kind() string { return "account_locked" }

// Kind implements Email.
func (ExportReady) Kind() string { return "export_ready" }

// Kind implements Email.
func (ExportFailed) Kind() string { return "export_failed" }

// Kind implements Email.
func (DeviceOffline) Kind() string { return "device_offline" }

// Kind implements Email.
func (WebhookDisabled) Kind() string { return "webhook_disabled" }

// Kind implements Email.
func (Digest) Kind() string { return "digest" }

// Kind implements Email.
func (DeviceOnline) Kind() string { return "device_online" }

// Kind implements Email.
func (AlarmRaised) Kind() string { return "alarm_raised" }

// Kind implements Email.
func (AlarmCleared) Kind() string { return "alarm_cleared" }

// Kind implements Email.
func (ScheduledExport) Kind() string { return "scheduled_export" }

// page is what the layouts show, top to bottom.
type page struct {
	Subject string
	Title   string
	Lines   []string
	Facts   []fact
	Button  string
	URL     string
	// Charts stand below the facts.
	Charts []Chart
	// Note stands below the button, in small print.
	Note string
	// Alarm colours the title.
	Alarm bool
}

// fact is one line of a table.
type fact struct{ Name, Value string }

func (l PasswordReset) page() page {
	return page{
		Subject: "Reset your password",
		Title:   "Reset your password",
		Lines:   []string{"A new password was requested for your account, most likely by you.", "The link works once, until " + when(l.ExpiresAt) + ". All your open sessions end when you set the new password."},
		Button:  "Choose a new password", URL: l.URL,
		Note: "If it was not you, do nothing: your password stays as it is.",
	}
}

func (l EmailConfirmation) page() page {
	return page{
		Subject: "Confirm your e-mail address",
		Title:   "Confirm your e-mail address",
		Lines:   []string{"An account is to have this e-mail address, most likely yours.", "The link works once, until " + when(l.ExpiresAt) + ". Until then the account keeps the address of before."},
		Button:  "Confirm the address", URL: l.URL,
		Note: "If it was not you, do nothing: no account gets your address.",
	}
}

func (l Invitation) page() page {
	return page{
		Subject: fmt.Sprintf("%s invites you to %s", Name(l.Inviter), Name(l.Organization)),
		Title:   "You are invited to " + Name(l.Organization),
		Lines:   []string{fmt.Sprintf("%s would like you to join the organization %s.", Name(l.Inviter), Name(l.Organization))},
		Facts:   []fact{{"Your role", l.Role}, {"Valid until", when(l.ExpiresAt)}},
		Button:  "Accept the invitation", URL: l.URL,
		Note: "If you do not know who invites you, do nothing: no one is notified.",
	}
}

func (l NewSignIn) page() page {
	return page{
		Subject: "New sign-in to your account",
		Title:   "New sign-in to your account",
		Lines:   []string{"Your account was used from a device that we have not seen before."},
		Facts:   place(l.At, l.UserAgent, l.IP),
		Button:  "Review your sessions", URL: l.URL,
		Note: "If it was you, there is nothing to do. If not, end that session and change your password.",
	}
}

func (l RefreshReused) page() page {
	return page{
		Subject: "We ended one of your sessions",
		Title:   "We ended one of your sessions", Alarm: true,
		Lines: []string{"A key of that session was used a second time. That happens when it was copied, so the session was ended everywhere and you have to sign in again there.",
			"If this comes as a surprise, change your password."},
		Facts:  place(l.At, l.UserAgent, l.IP),
		Button: "Review your sessions", URL: l.URL,
	}
}

func (l PasswordChanged) page() page {
	return page{
		Subject: "Your password was changed",
		Title:   "Your password was changed",
		Lines:   []string{"The password of your account is a new one now. Your other sessions have ended."},
		Facts:   place(l.At, "", l.IP),
		Button:  "It was not me", URL: l.URL,
		Note: "If it was you, there is nothing to do.",
	}
}

func (l EmailChanged) page() page {
	return page{
		Subject: "Your e-mail address was changed",
		Title:   "Your e-mail address was changed", Alarm: true,
		Lines:  []string{"Your account has another e-mail address now. This is the last message to this one."},
		Facts:  place(l.At, "", l.IP),
		Button: "See your account", URL: l.URL,
		Note: "If it was not you, contact an administrator: links for a new password go to the other address now.",
	}
}

func (l AccountLocked) page() page {
	return page{
		Subject: "Your account is locked for a while",
		Title:   "Your account is locked for a while", Alarm: true,
		Lines:  []string{"A wrong password was entered for your account several times. To keep it safe, sign-in is blocked until the time below. Open sessions stay open."},
		Facts:  withIP([]fact{{"Locked until", when(l.Until)}}, l.IP),
		Button: "Reset your password", URL: l.URL,
		Note: "If it was you, wait, or reset your password.",
	}
}

func (l ExportReady) page() page {
	return page{
		Subject: "Your export is ready: " + l.FileName,
		Title:   "Your export is ready",
		Lines:   []string{"The file is made and waits for you. You need to be signed in to fetch it."},
		Facts:   file(l.FileName, l.Records, l.Bytes, l.ExpiresAt),
		Button:  "Fetch the file", URL: l.URL,
	}
}

func (l ExportFailed) page() page {
	return page{
		Subject: fmt.Sprintf("Your export of %s failed", Name(l.What)),
		Title:   "Your export failed", Alarm: true,
		Lines:  []string{fmt.Sprintf("The export of %s could not be made.", Name(l.What))},
		Facts:  []fact{{"Reason", Name(l.Reason)}},
		Button: "See your exports", URL: l.URL,
	}
}

func (l DeviceOffline) page() page {
	seen := "never"
	if !l.LastSeen.IsZero() {
		seen = when(l.LastSeen)
	}
	return page{
		Subject: Name(l.Device) + " is offline",
		Title:   Name(l.Device) + " is offline", Alarm: true,
		Lines:  []string{"The device has stopped reporting."},
		Facts:  []fact{{"Last seen", seen}},
		Button: "See the device", URL: l.URL,
		Note: "You asked for notifications about this device.",
	}
}

func (l DeviceOnline) page() page {
	return page{
		Subject: Name(l.Device) + " is back online",
		Title:   Name(l.Device) + " is back online",
		Lines:   []string{"The device reports again."},
		Facts:   []fact{{"Since", when(l.At)}},
		Button:  "See the device", URL: l.URL,
		Note: "You asked for notifications about this device.",
	}
}

func (l AlarmRaised) page() page {
	p := page{
		Subject: fmt.Sprintf("%s: %s", Name(l.Rule), Name(l.Device)), Title: Name(l.Rule), Alarm: true,
		Lines: []string{"An alarm was raised for the device " + Name(l.Device) + "."},
		Facts: []fact{{"Severity", l.Severity}, {"Since", when(l.At)}}, Button: "Show the alarm", URL: l.URL,
	}
	p.Facts = l.addValue(p.Facts)
	p.Charts = l.Charts
	return p
}

// addValue adds the value and the threshold to facts.
func (l AlarmRaised) addValue(facts []fact) []fact {
	if l.Value != "" {
		facts = append(facts, fact{"Value", Name(l.Value)})
	}
	if l.Values != "" {
		facts = append(facts, fact{"Values", Name(l.Values)})
	}
	if l.Threshold != "" {
		facts = append(facts, fact{"Threshold", Name(l.Threshold)})
	}
	return facts
}

func (l AlarmCleared) page() page {
	p := l.AlarmRaised.page()
	p.Subject, p.Title, p.Alarm = "Cleared: "+p.Subject, Name(l.Rule)+" has ended", false
	p.Lines = []string{"The alarm of the device " + Name(l.Device) + " was cleared."}
	p.Facts = l.addValue([]fact{{"Severity", l.Severity}, {"Since", when(l.At)}, {"Until", when(l.ClearedAt)}})
	return p
}

func (l WebhookDisabled) page() page {
	noun := cmp.Or(l.Noun, "webhook")
	return page{
		Subject: "The " + noun + " " + Name(l.Webhook) + " was disabled",
		Title:   "The " + noun + " " + Name(l.Webhook) + " was disabled", Alarm: true,
		Lines:  []string{Name(l.Why), "It is sent nothing until you enable it."},
		Facts:  []fact{{"When", when(l.At)}},
		Button: "See the " + noun, URL: l.URL,
	}
}

func (l Digest) page() page {
	p := page{
		Subject: fmt.Sprintf("%d notifications", len(l.Items)+l.More), Title: fmt.Sprintf("%d notifications", len(l.Items)+l.More),
		Button: "See your notifications", URL: l.URL,
		Note: "They waited for your quiet hours to end, or for the pause between two e-mails. You can change both in your settings.",
	}
	if len(l.Items) > 0 && len(l.Items)+l.More > 1 {
		p.Subject = fmt.Sprintf("%s, and %d more", Name(l.Items[0].Title), len(l.Items)+l.More-1)
	}
	for _, item := range l.Items {
		p.Facts = append(p.Facts, fact{item.At.UTC().Format("2 Jan, 15:04 UTC"), Name(item.Title) + " · " + Name(item.Body)})
	}
	if l.More > 0 {
		p.Facts = append(p.Facts, fact{"…", fmt.Sprintf("and %d more", l.More)})
	}
	return p
}

func (l ScheduledExport) page() page {
	return page{
		Subject: fmt.Sprintf("Your %s export of %s", Name(l.Schedule), Name(l.What)),
		Title:   fmt.Sprintf("Your %s export of %s", Name(l.Schedule), Name(l.What)),
		Lines:   []string{fmt.Sprintf("It covers %s to %s. You need to be signed in to fetch it.", when(l.From), when(l.To))},
		Facts:   file(l.FileName, l.Records, l.Bytes, l.ExpiresAt),
		Button:  "Fetch the file", URL: l.URL,
		Note: "You get this because you made a schedule. You can end it where your exports are.",
	}
}

func place(at time.Time, agent, ip string) []fact {
	facts := []fact{{"When", when(at)}}
	if agent != "" {
		facts = append(facts, fact{"Device", Name(agent)})
	}
	return withIP(facts, ip)
}

func withIP(facts []fact, ip string) []fact {
	if ip != "" {
		facts = append(facts, fact{"Address", ip})
	}
	return facts
}

func file(name string, records, bytes int64, expires time.Time) []fact {
	return []fact{{"File", name}, {"Records", strconv.FormatInt(records, 10)}, {"Size", size(bytes)}, {"Kept until", when(expires)}}
}

func when(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// size writes bytes in the largest unit that leaves at least 1, with one decimal.
func size(bytes int64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	value, units := float64(bytes)/1000, []string{"kB", "MB", "GB", "TB"}
	i := 0
	for ; value >= 999.95 && i < len(units)-1; i++ {
		value /= 1000
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}
