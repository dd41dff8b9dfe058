package record

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Filter is a list of conditions that all must hold; an empty one picks every record.
type Filter []Condition

// Op is how a condition compares.
type Op int

// The comparisons. OpIn wants []any, OpContains a text; OpBeyond compares the fields in turn with the values, as OpGt or OpLt of a row.
const (
	OpEq Op = iota
	OpNe
	OpGt
	OpGte
	OpLt
	OpLte
	OpIn
	OpContains
	OpBeyond
)

// Condition is one condition of a Filter.
type Condition struct {
	Op    Op
	Field string
	// Value is as Field.Get returns it.
	Value any
	// Beyond belongs to OpBeyond.
	Beyond *Beyond
}

// Beyond is the place behind which a page of a list begins.
type Beyond struct {
	Fields []string
	Values []any
	Desc   bool
}

// plain returns a value as a store keeps it.
func plain(value any) any {
	switch v := value.(type) {
	case nil, string, int64, bool, []byte:
		return v
	case time.Time:
		if v.IsZero() {
			return int64(0)
		}
		return v.UnixMilli()
	}
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Int:
		return v.Int()
	default:
		panic(fmt.Sprintf("record: %T cannot be compared with", value))
	}
}

// Eq picks records whose field is value.
func Eq(field string, value any) Condition {
	return Condition{Op: OpEq, Field: field, Value: plain(value)}
}

// Ne picks records whose field is not value.
func Ne(field string, value any) Condition {
	return Condition{Op: OpNe, Field: field, Value: plain(value)}
}

// Gt picks records whose field is greater.
func Gt(field string, value any) Condition {
	return Condition{Op: OpGt, Field: field, Value: plain(value)}
}

// Gte picks records whose field is greater or the same.
func Gte(field string, value any) Condition {
	return Condition{Op: OpGte, Field: field, Value: plain(value)}
}

// Lt picks records whose field is less.
func Lt(field string, value any) Condition {
	return Condition{Op: OpLt, Field: field, Value: plain(value)}
}

// Lte picks records whose field is less or the same.
func Lte(field string, value any) Condition {
	return Condition{Op: OpLte, Field: field, Value: plain(value)}
}

// In picks records whose field is one of the values.
func In[T any](field string, values ...T) Condition {
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = plain(v)
	}
	return Condition{Op: OpIn, Field: field, Value: list}
}

// given leaves out conditions with an empty text: a filter's fields that were not set.
func given(conditions ...Condition) (filter Filter) {
	for _, c := range conditions {
		if c.Value != "" {
			filter = append(filter, c)
		}
	}
	return filter
}

// picks reports whether a filter of Eq and In picks the record.
func (f Filter) picks(s *Schema, record any) bool {
	for _, c := range f {
		value := s.Field(c.Field).Get(record)
		if c.Op == OpEq && value != c.Value {
			return false
		}
		if values, ok := c.Value.([]any); c.Op == OpIn && (!ok || !slices.Contains(values, value)) {
			return false
		}
	}
	return true
}

// Counts reports whether a limit counts the record.
func (s *Schema) Counts(record any) bool { return s.Limit != nil && s.Limit.While.picks(s, record) }
