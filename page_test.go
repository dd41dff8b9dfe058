package hearth

import "testing"

func TestACursorIsReadOnlyAsItWasMade(t *testing.T) {
	t.Parallel()
	made := Cursor{Sort: "name", Key: "kitchen", ID: "0192c3a4"}
	if got, err := ParseCursor(made.String(), "name"); err != nil || got != made {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, tt := range map[string]struct{ text, sort string }{
		"another order":     {made.String(), "-name"},
		"no base64":         {"!!!", "name"},
		"no JSON":           {"aGVsbG8", "name"},
		"padded":            {made.String() + "=", "name"},
		"an unknown field":  {"eyJ4IjoxLCJzIjoibmFtZSJ9", "name"},
		"an endless cursor": {string(make([]byte, maxCursor+1)), "name"},
	} {
		if _, err := ParseCursor(tt.text, tt.sort); ErrorCode(err) != CodeValidationFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(Cursor{Sort: "name", Key: "kitchen", ID: "0192c3a4"}.String(), "name")
	f.Add("eyJzIjoibmFtZSJ9", "name")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, text, sort string) {
		c, err := ParseCursor(text, sort)
		switch {
		case err != nil && ErrorCode(err) != CodeValidationFailed:
			t.Errorf("%q: %v", text, err)
		case err == nil && c.String() != text:
			t.Errorf("%q reads as %+v, which is %q", text, c, c.String())
		}
	})
}
