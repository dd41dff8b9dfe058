package rest

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// bodyTypes are the structs of a body, with the members that are read into them. A body is parsed once: what describedJSON read is what is
// validated, and what typed sets.
type bodyTypes map[reflect.Type][]bodyMember

type bodyMember struct {
	name  string
	index []int
}

// FromBody is implemented by types of bodies that are set by the value of their schema: nil, a bool, an int64, a float64, a string or a []any
// of these. Types of bytes are set to the text of their value.
type FromBody interface {
	FromBody(value any) error
}

// optional is an Optional.
type optional interface {
	// set notes that the field is there, and returns a pointer to its value, nil if that is null.
	set(null bool) any
	// inner returns a pointer to a value.
	inner() any
}

// add adds a type and those of which it consists. It panics for what no body may have: numbers and texts would be lost.
func (b bodyTypes) add(t reflect.Type) {
	if _, known := b[t]; known {
		return
	}
	switch zero := reflect.New(t).Interface().(type) {
	case FromBody:
		return
	case optional:
		b.add(reflect.TypeOf(zero.inner()).Elem())
		return
	case json.Unmarshaler, encoding.TextUnmarshaler:
		if !isRaw(t) {
			panic(fmt.Sprintf("rest: %v reads itself, and not what was parsed", t))
		}
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64, reflect.String:
	case reflect.Pointer:
		b.add(t.Elem())
	case reflect.Slice:
		if !isRaw(t) {
			b.add(t.Elem())
		}
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("rest: a body cannot hold a %v", t))
		}
		b.add(t.Elem())
	case reflect.Struct:
		b[t] = nil // it may hold itself
		var members []bodyMember
		eachField(t, func(f reflect.StructField) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				return
			}
			if name == "" {
				name = f.Name
			}
			members = append(members, bodyMember{name, f.Index})
			b.add(f.Type)
		})
		b[t] = members
	default:
		panic(fmt.Sprintf("rest: a body cannot hold a %v", t))
	}
}

// isRaw reports whether values of a type are the text of a JSON value.
func isRaw(t reflect.Type) bool { return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 }

// typed sets the fields of a body to what describedJSON read, once that keeps to its schema.
type typed struct {
	types bodyTypes
	body  []byte
	path  *huma.PathBuffer
	// fault is the first value that its type cannot have.
	fault *huma.ErrorDetail
}

// set sets a field to a value of its schema. Null leaves what has no null as it is.
func (s *typed) set(field reflect.Value, value any) {
	switch target := field.Addr().Interface().(type) {
	case optional:
		if inner := target.set(value == nil); inner != nil {
			s.set(reflect.ValueOf(inner).Elem(), value)
		}
		return
	case FromBody:
		s.check(target.FromBody(value))
		return
	}
	if isRaw(field.Type()) {
		field.SetBytes(s.text(value))
		return
	}
	if value == nil {
		switch field.Kind() { //nolint:exhaustive // the others have no null
		case reflect.Pointer, reflect.Slice, reflect.Map:
			field.SetZero()
		}
		return
	}
	switch field.Kind() { //nolint:exhaustive // see bodyTypes.add
	case reflect.Pointer:
		field.Set(reflect.New(field.Type().Elem()))
		s.set(field.Elem(), value)
	case reflect.Struct:
		s.setStruct(field, value)
	case reflect.Slice:
		s.setSlice(field, value)
	case reflect.Map:
		s.setMap(field, value)
	default:
		s.setScalar(field, value)
	}
}

func (s *typed) setStruct(field reflect.Value, value any) {
	members, ok := value.(map[string]any)
	if !ok {
		s.check(errOtherType)
		return
	}
	for _, member := range s.types[field.Type()] {
		if of, given := members[member.name]; given {
			s.path.Push(member.name)
			s.set(field.FieldByIndex(member.index), of)
			s.path.Pop()
		}
	}
}

func (s *typed) setSlice(field reflect.Value, value any) {
	items, ok := value.([]any)
	if !ok {
		s.check(errOtherType)
		return
	}
	field.Set(reflect.MakeSlice(field.Type(), len(items), len(items)))
	for i, item := range items {
		s.path.PushIndex(i)
		s.set(field.Index(i), item)
		s.path.Pop()
	}
}

func (s *typed) setMap(field reflect.Value, value any) {
	members, ok := value.(map[string]any)
	if !ok {
		s.check(errOtherType)
		return
	}
	field.Set(reflect.MakeMapWithSize(field.Type(), len(members)))
	for name, member := range members {
		of := reflect.New(field.Type().Elem()).Elem()
		s.path.Push(name)
		s.set(of, member)
		s.path.Pop()
		field.SetMapIndex(reflect.ValueOf(name).Convert(field.Type().Key()), of)
	}
}

func (s *typed) setScalar(field reflect.Value, value any) {
	switch of := value.(type) {
	case string:
		if field.Kind() == reflect.String {
			field.SetString(of)
			return
		}
	case bool:
		if field.Kind() == reflect.Bool {
			field.SetBool(of)
			return
		}
	case int64:
		switch {
		case field.CanInt() && !field.OverflowInt(of):
			field.SetInt(of)
			return
		case field.CanFloat():
			field.SetFloat(float64(of))
			return
		}
	case float64:
		if field.CanFloat() && !field.OverflowFloat(of) {
			field.SetFloat(of)
			return
		}
	}
	s.check(errOtherType)
}

// text returns the JSON of a value.
func (s *typed) text(value any) []byte {
	if object, ok := value.(openObject); ok {
		for value = range object { // its one key says where its text is
		}
	}
	if of, ok := value.(span); ok {
		return bytes.Clone(bytes.TrimLeft(s.body[of.from:of.to], " \t\r\n:,"))
	}
	if value != nil {
		s.check(errOtherType)
	}
	return []byte("null")
}

var errOtherType = errors.New("is of another type, or out of range")

// check notes the fault of the value at the path. It is named without the value, which the texts of libraries repeat.
func (s *typed) check(err error) {
	if err == nil || s.fault != nil {
		return
	}
	s.fault = &huma.ErrorDetail{Location: s.path.String(), Message: "is not of the documented form"}
	if ours, ok := errors.AsType[*hearth.Error](err); ok {
		s.fault.Message = ours.Message
	} else if errors.Is(err, errOtherType) {
		s.fault.Message = errOtherType.Error()
	}
}

// span is where the text of a value stands in a body, from the end of what is in front of it.
type span struct{ from, to int64 }

// openObject is an object whose schema leaves open what it holds. Its one key is its span: the validation looks at no member of it.
type openObject = map[any]any

// number returns an integer as it is, and what is none, or has more digits, as the nearest float64.
func number(text []byte) (any, error) {
	if len(text) <= len("-9223372036854775808") && !bytes.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && (n != 0 || text[0] == '0') { // there is a -0
			return n, nil
		}
	}
	return strconv.ParseFloat(string(text), 64)
}
