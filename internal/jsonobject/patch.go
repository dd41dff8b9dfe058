package jsonobject

import (
	"encoding/json"
	"maps"
	"unicode/utf8"
)

// Merged is an object after a merge patch.
type Merged struct {
	Object json.RawMessage
	// Changed is false if the patch only says what the object says already, by value.
	Changed bool

	before, after map[string]any // the members that differ
}

// Differences returns the members of the object before and after the patch that the other lacks or has with another value: what Delta returns,
// both ways.
func (m Merged) Differences() (before, after json.RawMessage) {
	return Encode(m.before), Encode(m.after)
}

// MergePatch returns an object (nil: an empty one) after a merge patch of RFC 7396: members of the patch replace those of the
// object, objects are merged, null removes. What cannot be kept returns the problem instead: a sentence's end, such as "must be an
// object"; so does a patch of more than levels. Names that are there twice are the reader's to refuse: here the last one counts.
func MergePatch(object, patch json.RawMessage, levels int) (merged Merged, problem string) {
	if !utf8.Valid(patch) {
		return merged, "must be UTF-8"
	}
	changes := Decode(patch)
	if changes == nil {
		return merged, "must be an object"
	}
	if problem := Check(changes, 1, levels); problem != "" {
		return merged, problem
	}
	members := Decode(object)
	if members == nil {
		members = map[string]any{}
	}
	merged.before, merged.after = map[string]any{}, map[string]any{}
	merge(members, changes, merged.before, merged.after)
	if merged.Changed = len(merged.before) > 0 || len(merged.after) > 0; merged.Changed {
		merged.Object = Encode(members)
	} else {
		merged.Object = object
	}
	return merged, ""
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

func isEmptyObject(object json.RawMessage) bool { return len(object) == 0 || string(object) == "{}" }

// merge changes target by a patch, and adds the members that differ to those before and after.
func merge(target, patch, before, after map[string]any) {
	for name, value := range patch {
		had, there := target[name]
		inner, isObject := value.(map[string]any)
		into, wasObject := had.(map[string]any)
		switch {
		case value == nil:
			if there {
				before[name] = had
				delete(target, name)
			}
		case isObject && wasObject:
			innerBefore, innerAfter := map[string]any{}, map[string]any{}
			merge(into, inner, innerBefore, innerAfter)
			if len(innerBefore) > 0 {
				before[name] = innerBefore
			}
			if len(innerAfter) > 0 {
				after[name] = innerAfter
			}
		case there && !isObject && sameJSON(had, value):
		default:
			if isObject {
				made := map[string]any{}
				merge(made, inner, map[string]any{}, map[string]any{})
				value = made
			}
			if there {
				before[name] = had
			}
			target[name], after[name] = value, value
		}
	}
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
