package api

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"

	"github.com/google/uuid"
)

// lowerIDs writes ids in the path and in the query in lower case, as they are stored: they are read in either case.
func lowerIDs(op operation, r *http.Request) {
	for part := range strings.SplitSeq(op.Path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			if id := r.PathValue(name); isUpperID(id) {
				r.SetPathValue(name, lowerID(id))
			}
		}
	}
	if !strings.ContainsAny(r.URL.RawQuery, "ABCDEF") {
		return
	}
	pairs := strings.Split(r.URL.RawQuery, "&")
	for i, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if namesIDs(name) {
			pairs[i] = name + "=" + lowerList(value)
		}
	}
	r.URL.RawQuery = strings.Join(pairs, "&")
}

// lowerList writes the ids of a list in lower case; its commas may be escaped.
func lowerList(list string) string {
	const comma = "%2C"
	separator := ","
	if strings.Contains(list, comma) {
		separator = comma
	}
	ids := strings.Split(list, separator)
	for i, id := range ids {
		ids[i] = lowerID(id)
	}
	return strings.Join(ids, separator)
}

// isUpperID reports whether text is a UUID with upper-case letters.
func isUpperID(text string) bool {
	return len(text) == 36 && strings.ContainsAny(text, "ABCDEF") && uuid.Validate(text) == nil
}

// lowerID returns an id as it is stored: a UUID in lower case; another text as it is.
func lowerID(id string) string {
	if isUpperID(id) {
		return strings.ToLower(id)
	}
	return id
}

// namesIDs reports whether a parameter or a member of a body of that name holds an id or several.
func namesIDs(name string) bool {
	return name == "id" || name == "ids" || strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids")
}

// hasUpperID reports whether a string of a JSON text is a UUID with upper-case letters.
func hasUpperID(body []byte) bool {
	const length = 36
	for at := bytes.IndexByte(body, '"'); at >= 0 && at+length+1 < len(body); {
		if body[at+length+1] == '"' && isUpperID(string(body[at+1:at+1+length])) {
			return true
		}
		next := bytes.IndexByte(body[at+1:], '"')
		if next < 0 {
			return false
		}
		at += 1 + next
	}
	return false
}

// lowerIDsOf writes the ids in what was read from a body in lower case: the members whose names say that they hold ids, at any depth of
// structs and lists. What users name themselves, such as metadata, stays. isID says that v is of such a member.
func lowerIDsOf(v reflect.Value, isID bool) {
	switch v.Kind() {
	case reflect.String:
		if isID {
			v.SetString(lowerID(v.String()))
		}
	case reflect.Slice:
		if kind := v.Type().Elem().Kind(); kind != reflect.String && kind != reflect.Struct {
			return
		}
		for i := range v.Len() {
			lowerIDsOf(v.Index(i), isID)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.IsExported() {
				lowerIDsOf(v.Field(i), namesIDs(name) || name == "" && isID) // an Optional's value has no name
			}
		}
	}
}
