package hearth

import (
	"encoding/base64"
	"encoding/json"
)

// The bounds of a list's page.
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// Page asks for one page of a list.
type Page struct {
	// Limit is 1 to MaxLimit; 0 means DefaultLimit.
	Limit int
	// Sort is a field of the list's documented ones, with "-" in front for descending; "" is the list's default.
	Sort string
	// Cursor is where the page starts; the zero Cursor is the beginning.
	Cursor Cursor
	// Count asks for the total as well.
	Count bool
}

// Size returns the number of items of the page: Limit or its default.
func (p Page) Size() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaxLimit)
}

// List is one page of a list.
type List[T any] struct {
	Items []T
	// Next is where the next page starts; the zero Cursor after the last page.
	Next Cursor
	// Total is the number of items on all pages, if it was asked for; else -1.
	Total int64
}

// Cursor is a place between two items of a list, by the last item's sort key and identity, so that it holds its place
// when items are inserted or removed. Clients see it as an opaque string.
type Cursor struct {
	// Sort is the order that the cursor belongs to.
	Sort string `json:"s,omitempty"`
	// Key is the last item's value of the sort field, in an encoding of the store's.
	Key string `json:"k,omitempty"`
	// ID is the last item's identity, which breaks ties.
	ID string `json:"i,omitempty"`
}

// maxCursor bounds a cursor's length in bytes: a name of 200 characters, escaped, fits.
const maxCursor = 4096

// IsZero reports whether c is the beginning (or, as a List's Next, the end).
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String returns the opaque form; "" for the zero Cursor.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	data, err := json.Marshal(c)
	if err != nil {
		panic("hearth: a cursor of strings always encodes: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// BadCursor refuses a cursor of another list.
func BadCursor() *Error {
	return Invalid(FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
}

// ParseCursor reads the opaque form. It refuses (CodeValidationFailed, at query.cursor) what String did not make and a
// cursor of another sort order.
func ParseCursor(text, sort string) (Cursor, error) {
	if text == "" {
		return Cursor{}, nil
	}
	invalid := BadCursor()
	if len(text) > maxCursor {
		return Cursor{}, invalid
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Cursor{}, invalid
	}
	var c Cursor
	if err := json.Unmarshal(data, &c); err != nil || c.IsZero() || c.Sort != sort || c.String() != text {
		return Cursor{}, invalid
	}
	return c, nil
}
