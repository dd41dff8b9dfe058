package hearth

import (
	"context"
	"encoding/json"
	"maps"
	"time"
	"unicode/utf8"
)

// Limits of a twin. Each side is a JSON object; it is the first of its levels.
const (
	MaxTwinSide  = 32 << 10 // bytes of JSON without spaces
	MaxTwinDepth = 8
	MaxTwinPatch = 64 << 10 // bytes of JSON
)

// TwinSide is one half of a twin.
type TwinSide string

// The sides: what a device should be, and what it says it is.
const (
	TwinDesired  TwinSide = "desired"
	TwinReported TwinSide = "reported"
)

// Twin is the state of a device. The zero Twin with a DeviceID is that of a device for which nothing was ever set.
type Twin struct {
	DeviceID string
	// Desired and Reported are objects as MergePatch returns them; nil is an empty one. No member outside of an array is null.
	Desired  json.RawMessage
	Reported json.RawMessage
	// The versions count the changes of each side from 0; the times are those of the last change.
	DesiredVersion  int64
	ReportedVersion int64
	DesiredAt       time.Time
	ReportedAt      time.Time
}

// TwinView is a twin with its delta.
type TwinView struct {
	Twin
	Delta json.RawMessage
}

// View returns the twin with its delta.
func (t Twin) View() TwinView { return TwinView{t, Delta(t.Desired, t.Reported)} }

// Version returns the version of a side.
func (t Twin) Version(side TwinSide) int64 {
	if side == TwinDesired {
		return t.DesiredVersion
	}
	return t.ReportedVersion
}

// State returns a side.
func (t Twin) State(side TwinSide) json.RawMessage {
	if side == TwinDesired {
		return t.Desired
	}
	return t.Reported
}

// Patch returns the twin with one side changed by a merge patch, in a new version; a patch that changes nothing returns the same
// twin. What cannot be done returns the problem instead: a sentence's end, such as "must be an object".
func (t Twin) Patch(side TwinSide, patch json.RawMessage, at time.Time) (after Twin, problem string) {
	merged, changed, problem := MergePatch(t.State(side), patch)
	switch {
	case problem != "":
		return t, problem
	case !changed:
		return t, ""
	case len(merged) > MaxTwinSide:
		return t, "makes the " + string(side) + " state larger than 32 KiB"
	case side == TwinDesired:
		t.Desired, t.DesiredAt = merged, at
		t.DesiredVersion++
	default:
		t.Reported, t.ReportedAt = merged, at
		t.ReportedVersion++
	}
	return t, ""
}

// TwinUpdate is the change of one twin by TwinStore.UpdateTwins.
type TwinUpdate struct {
	DeviceID string
	// Change returns the twin as it is to be, or an error, with which nothing of it is written. It may be called more than once.
	Change func(Twin) (Twin, []AuditEntry, error)

	// After is the twin as it is then. Err is the error of Change, or CodeNotFound if the device is gone.
	After Twin
	Err   error
}

// TwinStore keeps twins. A twin goes with its device. Errors are of the codes named here, or CodeUnavailable and
// CodeStorageFull.
type TwinStore interface {
	// Twin returns a device's twin; CodeNotFound if the device is gone.
	Twin(ctx context.Context, deviceID string) (Twin, error)
	// UpdateTwins reads, changes and writes twins in one atomic step, with the audit entries of their changes, and keeps the desired
	// versions with the devices. Each has its own result; no two are of one device. A twin whose versions stay is not written.
	UpdateTwins(ctx context.Context, updates ...*TwinUpdate) error
}

// MergePatch returns an object (nil: an empty one) after a merge patch of RFC 7396: members of the patch replace those of the
// object, objects are merged, null removes. The result has sorted names and no spaces; numbers keep their digits. changed is
// false if the patch only says what the object says already, by value. What cannot be kept returns the problem instead: a
// sentence's end, such as "must be an object". Names that are there twice are the reader's to refuse: here the last one counts.
func MergePatch(object, patch json.RawMessage) (merged json.RawMessage, changed bool, problem string) {
	switch {
	case len(patch) > MaxTwinPatch:
		return nil, false, "is larger than 64 KiB"
	case !utf8.Valid(patch):
		return nil, false, "must be UTF-8"
	}
	changes := decodeObject(patch)
	if changes == nil {
		return nil, false, "must be an object"
	}
	if problem := checkJSON(changes, 1, MaxTwinDepth); problem != "" {
		return nil, false, problem
	}
	before := decodeObject(object)
	if before == nil {
		before = map[string]any{}
	}
	if !merge(before, changes) {
		return object, false, ""
	}
	return encodeObject(before), true, ""
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
	return encodeObject(delta(decodeObject(desired), decodeObject(reported)))
}

// Differences returns Delta both ways: the members of each state that the other lacks or has with another value.
func Differences(a, b json.RawMessage) (ofA, ofB json.RawMessage) {
	x, y := decodeObject(a), decodeObject(b)
	return encodeObject(delta(x, y)), encodeObject(delta(y, x))
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
