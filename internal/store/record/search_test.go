package record

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"hearth"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":               "",
		"Kitchen LAMP 1": "kitchen lamp 1",
		"Café":           "cafe",
		"Cafe\u0301":     "cafe",
		"STRAẞE straße":  "strasse strasse",
		"ΟΔΌΣ ς":         "οδοσ σ",
		"\u1112\u1161":   "하",
		"\u0301":         "",
		"a\nB":           "a\nb",
	} {
		if got := Fold(text); got != want {
			t.Errorf("Fold(%q) is %q, want %q", text, got, want)
		}
	}
}

// FuzzFold covers that what is folded stays as it is when it is folded again, and that case and composition make no difference.
func FuzzFold(f *testing.F) {
	f.Add("Café Straße İ ﬃ")
	f.Add("\xff\u0345ŉ")
	f.Fuzz(func(t *testing.T, text string) {
		folded := Fold(text)
		for _, same := range []string{folded, strings.ToUpper(folded), norm.NFC.String(text), norm.NFD.String(text)} {
			if utf8.ValidString(text) && Fold(same) != folded {
				t.Errorf("%q folds to %q, and %q to %q", text, folded, same, Fold(same))
			}
		}
	})
}

func TestMatchesSearchesEveryField(t *testing.T) {
	t.Parallel()
	u := user(hearth.User{Name: "Zoë", Email: "z@example.com"})
	got, _ := users.Field(searchField).Get(&u).(string)
	for _, query := range []string{"ZOE", "z@EXAMPLE"} {
		if c := Matches(query); c.Op != OpContains || c.Field != searchField || !strings.Contains(got, c.Value.(string)) {
			t.Errorf("%+v does not find %q", c, got)
		}
	}
}
