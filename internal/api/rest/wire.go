package rest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

var problemType = typeOf[Problem]()

// Time is a time on the wire: RFC 3339, UTC, milliseconds.
type Time time.Time

// TimeFormat is the layout of a Time.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the contract's form.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.Append(make([]byte, 0, len(TimeFormat)+2)), nil
}

// Append appends the contract's form: what AppendFormat returns, in a third of the time.
func (t Time) Append(out []byte) []byte {
	at := time.Time(t).UTC()
	year, month, day := at.Date()
	if year < 0 || year > 9999 {
		return at.AppendFormat(out, `"`+TimeFormat+`"`)
	}
	hour, minute, second := at.Clock()
	out = append(out, '"')
	out = appendDigits(out, year, 4)
	out = appendDigits(append(out, '-'), int(month), 2)
	out = appendDigits(append(out, '-'), day, 2)
	out = appendDigits(append(out, 'T'), hour, 2)
	out = appendDigits(append(out, ':'), minute, 2)
	out = appendDigits(append(out, ':'), second, 2)
	out = appendDigits(append(out, '.'), at.Nanosecond()/int(time.Millisecond), 3)
	return append(out, 'Z', '"')
}

// appendDigits appends so many digits of n.
func appendDigits(out []byte, n, digits int) []byte {
	out = append(out, "0000"[:digits]...)
	for i := len(out) - 1; n > 0; i-- {
		out[i] = byte('0' + n%10)
		n /= 10
	}
	return out
}

// UnmarshalJSON reads RFC 3339 with any offset.
func (t *Time) UnmarshalJSON(data []byte) error {
	var parsed time.Time
	if err := parsed.UnmarshalJSON(data); err != nil {
		return err
	}
	*t = Time(hearth.Millis(parsed))
	return nil
}

// FromBody reads RFC 3339 with any offset.
func (t *Time) FromBody(value any) error {
	text, ok := value.(string)
	if !ok {
		return errOtherType
	}
	var parsed time.Time
	if err := parsed.UnmarshalText([]byte(text)); err != nil {
		return err
	}
	*t = Time(hearth.Millis(parsed))
	return nil
}

// Schema says so to the OpenAPI.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-03-01T12:00:00.000Z"}}
}

// TimeOfMillis returns the wire form of Unix milliseconds.
func TimeOfMillis(ms int64) Time { return Time(time.UnixMilli(ms)) }

// TimeOrNull returns the wire form of a time, nil (null) for the zero time.
func TimeOrNull(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	wire := Time(t)
	return &wire
}

// TextOrNull returns nil (null) for "".
func TextOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Optional is a field that a client may leave out, set to null, or set to a value.
type Optional[T any] struct {
	// Set is true if the field is there, Null if it is null.
	Set   bool
	Null  bool
	Value T
}

// set implements optional.
func (o *Optional[T]) set(null bool) any {
	if o.Set, o.Null = true, null; null {
		return nil
	}
	return &o.Value
}

// inner implements optional.
func (o *Optional[T]) inner() any { return &o.Value }

// Has reports whether a value was given.
func (o Optional[T]) Has() bool { return o.Set && !o.Null }

// Or returns the value, or other if none was given.
func (o Optional[T]) Or(other T) T {
	if o.Has() {
		return o.Value
	}
	return other
}

// PatchOf returns the value of a field that is there, null's if it is null, and nil if it is not.
func PatchOf[T any](field Optional[T], null T) *T {
	if !field.Set {
		return nil
	}
	value := field.Or(null)
	return &value
}

// RequiredOf returns the value of a field that is there, and nil if it is not. Null is one of the problems: the field, name in the body, cannot
// be cleared.
func RequiredOf[T any](field Optional[T], name string, problems *[]hearth.FieldError) *T {
	if field.Null {
		*problems = append(*problems, NotNull(name))
	}
	return PatchOf(field, *new(T))
}

// NotNull refuses null for a field of the body.
func NotNull(name string) hearth.FieldError {
	return hearth.FieldError{Location: "body." + name, Message: "must not be null"}
}

// InvalidIf refuses a request that has problems; nil if there are none.
func InvalidIf(problems []hearth.FieldError) error {
	if len(problems) == 0 {
		return nil
	}
	return hearth.Invalid(problems...)
}

// Schema is T's, or null.
func (Optional[T]) Schema(r huma.Registry) *huma.Schema {
	schema := *huma.SchemaFromType(r, typeOf[T]())
	schema.Nullable = schema.Type != "" // without a type everything is allowed
	return &schema
}

// ShortTexts are ids, tags or names of events.
type ShortTexts []string

// Schema says how long they are.
func (ShortTexts) Schema(huma.Registry) *huma.Schema {
	most := 64
	text := &huma.Schema{Type: huma.TypeString, MaxLength: &most}
	text.PrecomputeMessages()
	return &huma.Schema{Type: huma.TypeArray, Items: text}
}

// Body is the input or output of an operation that has a body alone.
type Body[T any] struct {
	Body T
}

// Created is the answer of an operation with a Location.
type Created[T any] struct {
	Location string `header:"Location" doc:"The path of what was created."`
	Body     T
}

// NewCreated returns the answer with what was created, at a path below BasePath.
func NewCreated[T any](path string, body T) *Created[T] {
	return &Created[T]{Location: BasePath + path, Body: body}
}

// PageParams are the query parameters of every list. It is exported because huma passes over embedded types that are not.
type PageParams struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page."`
	Cursor string `query:"cursor" maxLength:"4096" doc:"next_cursor of the page before."`
	Fields string `query:"fields" maxLength:"1024" doc:"Only these fields of each item, separated by commas." example:"id,name"`
	Count  bool   `query:"count" doc:"Adds the total number of items."`
}

// Page turns the parameters into the store's; sort is the list's order, already checked.
func (p PageParams) Page(sort string) (hearth.Page, error) {
	cursor, err := hearth.ParseCursor(p.Cursor, sort)
	return hearth.Page{Limit: p.Limit, Sort: sort, Cursor: cursor, Count: p.Count}, err
}

// List is one page on the wire. It is encoded by appendJSON.
type List[T any] struct {
	Items      []T     `json:"items" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"Where the next page starts; null on the last page."`
	Total      *int64  `json:"total,omitempty" doc:"The number of items on all pages, with count=true."`

	// fields are those that were asked for; nil is all.
	fields []string
	// appendItem, if it is set, appends an item by its index, in place of an encoder of Items.
	appendItem func(out []byte, i int) []byte
	length     int
}

// jsonAppender encodes itself: encoding/json would check and copy what a MarshalJSON returns once more.
type jsonAppender interface {
	appendJSON(out []byte) ([]byte, error)
}

func (l List[T]) appendJSON(out []byte) ([]byte, error) {
	out = append(out, `{"items":[`...)
	if l.appendItem != nil {
		for i := range l.length {
			if i > 0 {
				out = append(out, ',')
			}
			out = l.appendItem(out, i)
		}
	} else {
		var item bytes.Buffer
		encoder := newEncoder(&item)
		for i := range l.Items {
			item.Reset()
			if err := encoder.Encode(&l.Items[i]); err != nil {
				return nil, err
			}
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = appendFields(out, bytes.TrimSuffix(item.Bytes(), []byte("\n")), l.fields); err != nil {
				return nil, err
			}
		}
	}
	out = append(out, `],"next_cursor":`...)
	if l.NextCursor == nil {
		out = append(out, "null"...)
	} else {
		out = strconv.AppendQuote(out, *l.NextCursor) // of ASCII letters and digits
	}
	if l.Total != nil {
		out = strconv.AppendInt(append(out, `,"total":`...), *l.Total, 10)
	}
	return append(out, '}'), nil
}

// appendFields appends the named fields of an object, in the order of names; all of it if names is nil.
func appendFields(out, object []byte, names []string) ([]byte, error) {
	if names == nil {
		return append(out, object...), nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		return nil, err
	}
	separator := byte('{')
	for _, name := range names {
		if value, ok := all[name]; ok {
			out = append(append(append(out, separator, '"'), name...), '"', ':')
			out, separator = append(out, value...), ','
		}
	}
	if separator == '{' {
		out = append(out, '{')
	}
	return append(out, '}'), nil
}

// ListOf makes a page of a store's list. fields is the query's; an unknown name is refused.
func ListOf[S, T any](list hearth.List[S], fields string, wire func(S) T) (List[T], error) {
	out := newList[T](list.Next.String(), list.Total)
	var err error
	if out.fields, err = parseFields(fields, typeOf[T]()); err != nil {
		return out, err
	}
	out.Items = make([]T, len(list.Items))
	for i, item := range list.Items {
		out.Items[i] = wire(item)
	}
	return out, nil
}

// ListAppendedBy makes a page of n items, of which appendItem appends the JSON.
func ListAppendedBy[T any](next string, total int64, n int, appendItem func(out []byte, i int) []byte) List[T] {
	out := newList[T](next, total)
	out.appendItem, out.length = appendItem, n
	return out
}

// newList makes a page without its items.
func newList[T any](next string, total int64) (out List[T]) {
	out.NextCursor = TextOrNull(next)
	if total >= 0 {
		out.Total = &total
	}
	return out
}

// parseFields reads the query's fields: names of t's JSON fields. Nil means all.
func parseFields(query string, t reflect.Type) ([]string, error) {
	if query == "" {
		return nil, nil
	}
	var known []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			known = append(known, name)
		}
	}
	wanted := strings.Split(query, ",")
	for _, name := range wanted {
		if !slices.Contains(known, name) {
			return nil, hearth.Invalid(hearth.FieldError{
				Location: "query.fields", Message: "must be of " + strings.Join(known, ", "),
			})
		}
	}
	return slices.DeleteFunc(known, func(name string) bool { return !slices.Contains(wanted, name) }), nil
}
