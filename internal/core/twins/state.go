package twins

import (
	"encoding/json"
	"time"

	"hearth"
	"hearth/internal/jsonobject"
)

// viewOf returns a twin with its delta.
func viewOf(t hearth.Twin) hearth.TwinView {
	return hearth.TwinView{Twin: t, Delta: jsonobject.Delta(t.Desired, t.Reported)}
}

// patched returns a twin with one side changed by a merge patch, in a new version; a patch that changes nothing returns the same
// twin. What cannot be done returns the problem instead: a sentence's end, such as "must be an object".
func patched(t hearth.Twin, side hearth.TwinSide, patch json.RawMessage, at time.Time) (after hearth.Twin, problem string) {
	if len(patch) > hearth.MaxTwinPatch {
		return t, "is larger than 64 KiB"
	}
	before := t.Reported
	if side == hearth.TwinDesired {
		before = t.Desired
	}
	merged, changed, problem := jsonobject.MergePatch(before, patch, hearth.MaxTwinDepth)
	switch {
	case problem != "":
		return t, problem
	case !changed:
		return t, ""
	case len(merged) > hearth.MaxTwinSide:
		return t, "makes the " + string(side) + " state larger than 32 KiB"
	case side == hearth.TwinDesired:
		t.Desired, t.DesiredAt = merged, at
		t.DesiredVersion++
	default:
		t.Reported, t.ReportedAt = merged, at
		t.ReportedVersion++
	}
	return t, ""
}
