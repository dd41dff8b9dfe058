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

// patched returns a twin with one side changed by a merge patch, in a new version, and the merge; a patch that changes nothing returns the
// same twin. What cannot be done returns the problem instead: a sentence's end, such as "must be an object".
func patched(t hearth.Twin, side hearth.TwinSide, patch json.RawMessage, at time.Time) (after hearth.Twin, merged jsonobject.Merged, problem string) {
	if len(patch) > hearth.MaxTwinPatch {
		return t, merged, "is larger than 64 KiB"
	}
	before := t.Reported
	if side == hearth.TwinDesired {
		before = t.Desired
	}
	merged, problem = jsonobject.MergePatch(before, patch, hearth.MaxTwinDepth)
	switch {
	case problem != "" || !merged.Changed:
		return t, merged, problem
	case len(merged.Object) > hearth.MaxTwinSide:
		return t, merged, "makes the " + string(side) + " state larger than 32 KiB"
	case side == hearth.TwinDesired:
		t.Desired, t.DesiredAt = merged.Object, at
		t.DesiredVersion++
	default:
		t.Reported, t.ReportedAt = merged.Object, at
		t.ReportedVersion++
	}
	return t, merged, ""
}
