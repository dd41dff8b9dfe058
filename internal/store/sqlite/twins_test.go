package sqlite

import (
	"slices"
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
	var plan []string
	err := s.read(t.Context(), "Test", func(r *reader) error {
		rows, err := r.query(`EXPLAIN QUERY PLAN `+setDesiredVersions, "{}")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				return err
			}
			plan = append(plan, detail)
		}
		return rows.Err()
	})
	want := []string{
		"SCAN twin VIRTUAL TABLE INDEX 1:", "SEARCH presence USING INTEGER PRIMARY KEY (rowid=?)", "CORRELATED SCALAR SUBQUERY 1",
		"SEARCH devices USING COVERING INDEX sqlite_autoindex_devices_1 (id=?)",
	}
	if err != nil || !slices.Equal(plan, want) {
		t.Errorf("the plan is %q, %v", plan, err)
	}
}
