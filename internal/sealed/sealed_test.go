package sealed_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"hearth"
	"hearth/internal/sealed"
)

// keys is a Sealer whose values begin with the number of their key; only 1 and 2 are not lost.
type keys struct{}

func (keys) Seal(plain []byte) ([]byte, error) { return append([]byte("2"), plain...), nil }
func (keys) Current(sealed []byte) bool        { return sealed[0] == '2' }
func (keys) Open(sealed []byte) ([]byte, error) {
	if sealed[0] != '1' && sealed[0] != '2' {
		return nil, errors.New("the key is lost")
	}
	return sealed[1:], nil
}

type object struct {
	id       string
	old, new []byte
}

func TestEveryFieldIsSealedAnewAndALostOneCounted(t *testing.T) {
	t.Parallel()
	stored := map[string]object{
		"a": {"a", []byte("1x"), []byte("1y")}, "b": {"b", nil, []byte("2z")}, "c": {"c", []byte("0?"), []byte("1w")}, "e": {"e", []byte("0?"), nil},
	}
	writes := 0
	objects := sealed.Stored[object]{
		List: func(_ context.Context, page hearth.Page) (list hearth.List[object], err error) {
			if page.Cursor.IsZero() { // "gone" is deleted after it was listed
				return hearth.List[object]{Items: []object{stored["a"], {id: "gone"}, stored["b"]}, Next: hearth.Cursor{ID: "b"}}, nil
			}
			return hearth.List[object]{Items: []object{stored["c"], stored["e"]}}, nil
		},
		Update: func(_ context.Context, id string, change func(object) (object, error), _ hearth.SideEffects) (object, error) {
			before, found := stored[id]
			if !found {
				return before, hearth.NotFound("object")
			}
			after, err := change(before)
			if err == nil {
				writes, stored[id] = writes+1, after
			}
			return after, err
		},
		ID:     func(o object) string { return o.id },
		Fields: func(o *object) []*[]byte { return []*[]byte{&o.old, &o.new} },
	}
	if changed, lost, err := objects.Reseal(t.Context(), keys{}); changed != 3 || lost != 2 || writes != 2 || err != nil {
		t.Errorf("%d changed, %d lost in %d writes, %v", changed, lost, writes, err)
	}
	if a, c := stored["a"], stored["c"]; !bytes.Equal(a.old, []byte("2x")) || !bytes.Equal(a.new, []byte("2y")) ||
		!bytes.Equal(c.old, []byte("0?")) || !bytes.Equal(c.new, []byte("2w")) {
		t.Errorf("stored are %q and %q", a, c)
	}
	if changed, lost, err := objects.Reseal(t.Context(), sealed.OrPlain(nil)); changed != 0 || lost != 0 || err != nil {
		t.Errorf("without keys: %d changed, %d lost, %v", changed, lost, err)
	}
}
