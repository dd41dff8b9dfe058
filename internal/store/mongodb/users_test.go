package mongodb

import (
	"testing"

	"hearth"
)

// TestASearchTakesAnyText: patterns, operators and bytes that are no text match what they are, or nothing.
func TestASearchTakesAnyText(t *testing.T) {
	t.Parallel()
	s := openTest(t, atNoon)
	for name, id := range map[string]string{"plain": "a", `.* [x] (\d+) {"$ne": null}`: "b", "Straße": "c"} {
		u := person(id, hearth.RoleUser)
		u.Name = name
		if err := s.CreateUser(t.Context(), u, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		".*": "b", "[X]": "b", `\D+`: "b", `{"$ne": null}`: "b", "PLAIN": "a", "straße": "c", "STRASSE": "c", "\x00": "", "a\x00": "", "\xff": "", `\E`: "", "(": "b",
	} {
		list, err := s.Users(t.Context(), hearth.UserFilter{Query: query}, hearth.Page{})
		got := ""
		for _, u := range list.Items {
			got += u.ID
		}
		if err != nil || got != want {
			t.Errorf("%q finds %q, %v; want %q", query, got, err, want)
		}
	}
}
