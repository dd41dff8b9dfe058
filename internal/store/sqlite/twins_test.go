package sqlite

import (
	"strings"
	"testing"

	"hearth/internal/store/storetest"
)

func TestTwins(t *testing.T) {
	t.Parallel()
	storetest.Twins(t, func(t *testing.T) storetest.TwinStore { return openTest(t) })
}

// Each device of a step is looked up: nothing walks over them all.
func TestDesiredVersionsAreSetByKeys(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	plan := strings.TrimSpace(explain(t, s, setDesiredVersions, "{}"))
	want := []string{
		"SCAN twin VIRTUAL TABLE INDEX 1:", "SEARCH presence USING INTEGER PRIMARY KEY (rowid=?)", "CORRELATED SCALAR SUBQUERY 1",
		"SEARCH devices USING COVERING INDEX sqlite_autoindex_devices_1 (id=?)",
	}
	if plan != strings.Join(want, "\n") {
		t.Errorf("the plan is %q", plan)
	}
}
