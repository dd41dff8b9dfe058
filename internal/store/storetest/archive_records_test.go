package storetest

import (
	"reflect"
	"strings"
	"testing"
)

// A field that no generated record sets is a field whose loss no test would see.
func TestEverythingSetsEveryField(t *testing.T) {
	t.Parallel()
	// These are not carried: what they say is elsewhere.
	derived := map[string]bool{
		"ArchivePart.Members.Name": true, "ArchivePart.Members.Email": true, "ArchivePart.Audit.Changes": true,
	}
	set := map[string]bool{}
	var all []string
	for _, part := range Everything(9) {
		visit(reflect.ValueOf(part), "ArchivePart", func(path string, zero bool) {
			if _, known := set[path]; !known {
				all = append(all, path)
			}
			set[path] = set[path] || !zero
		})
	}
	for _, path := range all {
		if !set[path] && !derived[path] {
			t.Errorf("%s is never set", path)
		}
	}
}

// visit tells of every field below v.
func visit(v reflect.Value, path string, tell func(path string, zero bool)) {
	switch {
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			visit(v.Index(i), path, tell)
		}
	case v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct:
		tell(path, v.IsNil())
		if !v.IsNil() {
			visit(v.Elem(), path, tell)
		}
	case v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().PkgPath(), "hearth"):
		for i := range v.NumField() {
			name := path + "." + v.Type().Field(i).Name
			if f := v.Field(i); f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
				tell(name, f.Len() == 0)
			}
			visit(v.Field(i), name, tell)
		}
	default:
		tell(path, v.IsZero())
	}
}
