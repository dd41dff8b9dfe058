package api

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

var problemType = typeOf[Problem]()

// Time is a time on the wire: RFC 3339, UTC, milliseconds.
type Time time.Time

const timeFormat = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the contract's form.
func (t Time) MarshalJSON() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, `"`+timeFormat+`"`), nil
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

// Schema says so to the OpenAPI.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Examples: []any{"2026-03-01T12:00:00.000Z"}}
}

// timeOf returns the wire form of Unix milliseconds.
func timeOf(ms int64) Time { return Time(time.UnixMilli(ms)) }

// wireTime returns the wire form of a time, nil (null) for the zero time.
func wireTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	wire := Time(t)
	return &wire
}

// text returns nil (null) for "".
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Optional is a field that a client may leave out, set to null, or set to a value.
type Optional[T any] struct {
	// Set tells that the field is there; Null that it is null.
	Set   bool
	Null  bool
	Value T
}

// UnmarshalJSON notes that the field is there.
func (o *Optional[T]) UnmarshalJSON(data []byte) error {
	o.Set = true
	if bytes.Equal(data, []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(data, &o.Value)
}

// Has reports whether a value was given.
func (o Optional[T]) Has() bool { return o.Set && !o.Null }

// Or returns the value, or other if none was given.
func (o Optional[T]) Or(other T) T {
	if o.Has() {
		return o.Value
	}
	return other
}

// Schema is T's, or null.
func (Optional[T]) Schema(r huma.Registry) *huma.Schema {
	schema := *huma.SchemaFromType(r, typeOf[T]())
	schema.Nullable = true
	return &schema
}

type bodyOf[T any] struct {
	Body T
}

// created is the answer of an operation with a Location.
type created[T any] struct {
	Location string `header:"Location" doc:"The path of what was created."`
	Body     T
}

func newCreated[T any](path string, body T) *created[T] {
	return &created[T]{Location: BasePath + path, Body: body}
}

// PageParams are the query parameters of every list. It is exported because huma passes over embedded types that are not.
type PageParams struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Items on a page."`
	Cursor string `query:"cursor" maxLength:"4096" doc:"next_cursor of the page before."`
	Fields string `query:"fields" maxLength:"1024" doc:"Only these fields of each item, separated by commas." example:"id,name"`
	Count  bool   `query:"count" doc:"Adds the total number of items."`
}

// page turns the parameters into the store's; sort is the list's order, already checked.
func (p PageParams) page(sort string) (hearth.Page, error) {
	cursor, err := hearth.ParseCursor(p.Cursor, sort)
	return hearth.Page{Limit: p.Limit, Sort: sort, Cursor: cursor, Count: p.Count}, err
}

// List is one page on the wire.
type List[T any] struct {
	Items      []T     `json:"items" nullable:"false"`
	NextCursor *string `json:"next_cursor" doc:"Where the next page starts; null on the last page."`
	Total      *int64  `json:"total,omitempty" doc:"The number of items on all pages, with count=true."`

	fields []string
}

// MarshalJSON leaves out the fields that were not asked for.
func (l List[T]) MarshalJSON() ([]byte, error) {
	type plain struct {
		Items      any     `json:"items"`
		NextCursor *string `json:"next_cursor"`
		Total      *int64  `json:"total,omitempty"`
	}
	out := plain{NextCursor: l.NextCursor, Total: l.Total, Items: l.Items}
	if l.fields != nil {
		items := make([]json.RawMessage, len(l.Items))
		for i, item := range l.Items {
			picked, err := pick(item, l.fields)
			if err != nil {
				return nil, err
			}
			items[i] = picked
		}
		out.Items = items
	}
	return json.Marshal(out)
}

// pick encodes the named fields of item, in the order of its type.
func pick(item any, fields []string) (json.RawMessage, error) {
	data, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for _, name := range fields {
		if value, ok := all[name]; ok {
			if out.Len() > 1 {
				out.WriteByte(',')
			}
			out.WriteString(`"` + name + `":`)
			out.Write(value)
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// wireList makes a page of a store's list. fields is the query's; an unknown name is refused.
func wireList[S, T any](list hearth.List[S], fields string, wire func(S) T) (List[T], error) {
	out := List[T]{Items: make([]T, len(list.Items)), NextCursor: text(list.Next.String())}
	for i, item := range list.Items {
		out.Items[i] = wire(item)
	}
	if list.Total >= 0 {
		out.Total = &list.Total
	}
	var err error
	out.fields, err = parseFields(fields, typeOf[T]())
	return out, err
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
