package jsonobject

import (
	"encoding/json"
	"maps"
	"unicode/utf8"
)

// MergePatch returns an object (nil: an empty one) after a merge patch of RFC 7396: members of the patch replace those of the
// object, objects are merged, null removes. changed is false if the patch only says what the object says already, by value. What
// cannot be kept returns the problem instead: a sentence's end, such as "must be an object"; so does a patch of more than levels.
// Names that are there twice are the reader's to refuse: here the last one counts.
func MergePatch(object, patch json.RawMessage, levels int) (merged json.RawMessage, changed bool, problem string) {
	if !utf8.Valid(patch) {
		return nil, false, "must be UTF-8"
	}
	changes := Decode(patch)
	if changes == nil {
		return nil, false, "must be an object"
	}
	if problem := Check(changes, 1, levels); problem != "" {
		return nil, false, problem
	}
	before := Decode(object)
	if before == nil {
		before = map[string]any{}
	}
	if !merge(before, changes) {
		return object, false, ""
	}
	return Encode(before), true, ""
}

// Delta returns the members of a desired state that the reported one lacks or has with another value. Both are as MergePatch returns
// them. Objects are compared member by member, arrays whole, numbers by value: 21 and 21.0 are the same. As a merge patch, the delta
// turns the reported state into one that has no delta.
func Delta(desired, reported json.RawMessage) json.RawMessage {
	switch { // one side is empty for most devices
	case isEmptyObject(desired):
		return json.RawMessage("{}")
	case isEmptyObject(reported):
		return desired
	}
	return Encode(delta(Decode(desired), Decode(reported)))
}

// Differences returns Delta both ways: the members of each state that the other lacks or has with another value.
func Differences(a, b json.RawMessage) (ofA, ofB json.RawMessage) {
	x, y := Decode(a), Decode(b)
	return Encode(delta(x, y)), Encode(delta(y, x))
}

func isEmptyObject(object json.RawMessage) bool { return len(object) == 0 || string(object) == "{}" }

// merge changes target by a patch, and reports whether it did.
func merge(target, patch map[string]any) (changed bool) {
	for name, value := range patch {
		before, had := target[name]
		inner, isObject := value.(map[string]any)
		switch {
		case value == nil:
			changed = changed || had
			delete(target, name)
		case isObject:
			into, ok := before.(map[string]any)
			if !ok {
				into, changed = map[string]any{}, true
				target[name] = into
			}
			changed = merge(into, inner) || changed
		case !had || !sameJSON(before, value):
			target[name], changed = value, true
		}
	}
	return changed
}

// delta returns the desired members that reported lacks or has with another value.
func delta(desired, reported map[string]any) map[string]any {
	missing := map[string]any{}
	for name, want := range desired {
		have, ok := reported[name]
		inner, isObject := want.(map[string]any)
		if innerHave, both := have.(map[string]any); isObject && both {
			if left := delta(inner, innerHave); len(left) > 0 {
				missing[name] = left
			}
		} else if !ok || !sameJSON(want, have) {
			missing[name] = want
		}
	}
	return missing
}

// sameJSON compares decoded values.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, sameJSON)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameJSON(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(a, b)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	digits, exponent := decimal(a)
	otherDigits, otherExponent := decimal(b)
	return digits == otherDigits && exponent == otherExponent
}
