package mail_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hearth/internal/mail"
)

// Whatever users and devices call things, the one link of an e-mail is the server's own.
func TestNamesInEmailsAreNoLinks(t *testing.T) {
	t.Parallel()
	const hostile = "Win https://evil.example/a www.evil.example evil。example ann@evil.example\r\nBcc: x\u202e.com"
	linked := regexp.MustCompile(`(?i)://|www\.\S|[\pL\pN][.。．｡․]\pL|\pL@`)
	for _, email := range emails() {
		value := reflect.New(reflect.TypeOf(email)).Elem()
		value.Set(reflect.ValueOf(email))
		fill(value, hostile)
		const own = "https://hearth.example.com"
		m, err := writer(t).Message("id", mail.Envelope{To: mail.Address{Name: hostile, Email: "ann@example.com"}, Email: value.Interface().(mail.Email)})
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"subject": m.Subject, "text": m.Text} {
			for _, ours := range []string{own + "/go?to=here&x=1", own, "hearth.example.com", "logs-2026-02.csv.gz", "usage.csv"} {
				text = strings.ReplaceAll(text, ours, "")
			}
			if found := linked.FindString(text); found != "" || strings.ContainsAny(text, "\r\u202e") {
				t.Errorf("the %s of %s has %q: %s", name, email.Kind(), found, text)
			}
		}
	}
	for name, want := range map[string]string{
		"Boiler 1.5": "Boiler 1.5", "St. Ann": "St. Ann", "v1.2.3": "v1.2.3", "evil.example/x": "evil. example/x", "a.b.c": "a. b. c", "…": "…",
	} {
		if got := mail.Name(name); got != want {
			t.Errorf("%q becomes %q", name, got)
		}
	}
}

// fill sets every text but those that are the server's own.
func fill(v reflect.Value, text string) {
	for i := range v.NumField() {
		field := v.Field(i)
		own := slices.Contains([]string{"URL", "FileName", "IP", "Severity", "Noun", "Role"}, v.Type().Field(i).Name)
		switch {
		case field.Kind() == reflect.String && !own:
			field.SetString(text)
		case field.Type() == reflect.TypeFor[mail.AlarmRaised]():
			fill(field, text)
		case field.Kind() == reflect.Slice:
			for j := range field.Len() {
				fill(field.Index(j), text)
			}
		}
	}
}
