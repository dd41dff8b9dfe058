package rest

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"

	"hearth/internal/newid"
)

// Ids are read in either case. They are written in lower case, as they are stored, before anything looks at them.

// params returns the names of the parameters in the operation's path.
func (op Operation) params() (names []string) {
	for part := range strings.SplitSeq(op.Path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// lowerIDs writes the ids in the path, which has these parameters, and in the query in lower case.
func lowerIDs(params []string, r *http.Request) {
	for _, name := range params {
		id := r.PathValue(name)
		if lower := newid.Canonical(id); lower != id {
			r.SetPathValue(name, lower)
		}
	}
	if !strings.ContainsAny(r.URL.RawQuery, "ABCDEF") {
		return
	}
	pairs := strings.Split(r.URL.RawQuery, "&")
	for i, pair := range pairs {
		if name, value, _ := strings.Cut(pair, "="); namesIDs(name) {
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
		ids[i] = newid.Canonical(id)
	}
	return strings.Join(ids, separator)
}

// namesIDs reports whether a parameter or a member of a body holds an id, or a list of ids. Recipients may be users' ids.
func namesIDs(name string) bool {
	switch name {
	case "id", "ids", "notify":
		return true
	}
	return strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids")
}

// hasUpperID reports whether a string in the JSON is a UUID with upper-case letters.
func hasUpperID(body []byte) bool {
	const length = 36
	for {
		quote := bytes.IndexByte(body, '"')
		if quote < 0 || len(body) < quote+length+2 {
			return false
		}
		body = body[quote+1:]
		if body[8] != '-' || body[length] != '"' {
			continue
		}
		if id := string(body[:length]); newid.Canonical(id) != id {
			return true
		}
	}
}

// lowerBodyIDs writes the ids in a decoded body in lower case: the strings of members that name ids, in structs. Maps and raw JSON, such as
// metadata, are the client's own. inside says that v is, or is part of, such a member.
func lowerBodyIDs(v reflect.Value, inside bool) {
	switch v.Kind() {
	case reflect.String:
		if inside {
			v.SetString(newid.Canonical(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			lowerBodyIDs(v.Elem(), inside)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				lowerBodyIDs(v.Index(i), inside)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				lowerBodyIDs(v.Field(i), inside || namesIDs(name))
			}
		}
	}
}
