package sqlite

import (
	"fmt"
	"strings"
	"testing"

	"hearth"
	"hearth/internal/store/record"
	"hearth/internal/store/storetest"
)

func TestDevices(t *testing.T) {
	t.Parallel()
	storetest.Devices(t, func(t *testing.T) hearth.DeviceStore { return openTest(t) })
}

func TestDevicePagesAreServedByIndexes(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for sort, indexes := range map[string][2]string{
		"name":            {"devices_scope_name (scope=?", "devices_name"},
		"-name":           {"devices_scope_name (scope=?", "devices_name"},
		"created_at":      {"devices_scope_created (scope=?", "devices_created"},
		"-created_at":     {"devices_scope_created (scope=?", "devices_created"},
		"last_active_at":  {"(scope=?", ""},
		"-last_active_at": {"(scope=?", ""},
	} {
		order, err := record.DeviceOrderOf(sort)
		if err != nil {
			t.Fatal(err)
		}
		for i, index := range indexes {
			all := i == 1
			for _, cursor := range []bool{false, true} {
				plan := explain(t, s, devicesPage(order, all, false, cursor), pageArguments...)
				if !strings.Contains(plan, index) {
					t.Errorf("sort %s, all %v, cursor %v: not by %s:\n%s", sort, all, cursor, index, plan)
				}
				byTime := order.By == "last_active_at"
				if !byTime && (strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN p")) {
					t.Errorf("sort %s, all %v, cursor %v: rows are sorted:\n%s", sort, all, cursor, plan)
				}
			}
		}
	}
}

func TestSerialsAreFoundByIndexes(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for _, sort := range []string{"name", "-created_at", "last_active_at"} {
		order, err := record.DeviceOrderOf(sort)
		if err != nil {
			t.Fatal(err)
		}
		for index, all := range map[string]bool{"devices_scope_serial (scope=? AND serial=?)": false, "devices_serial (serial=?)": true} {
			if plan := explain(t, s, devicesPage(order, all, true, false), pageArguments...); !strings.Contains(plan, index) {
				t.Errorf("sort %s, all %v: not by %s:\n%s", sort, all, index, plan)
			}
		}
	}
}

// pageArguments are those of a page of devices.
var pageArguments = []any{"user:u1", int64(1), "x", "", "", "", "", "", int64(0), "", 51} // never written to

// explain returns the plan of a statement, a line a step.
func explain(t *testing.T, s *Store, statement string, arguments ...any) string {
	t.Helper()
	var plan strings.Builder
	err := s.read(t.Context(), "Explain", func(r *reader) error {
		rows, err := r.conn.QueryContext(r.ctx, "EXPLAIN QUERY PLAN "+statement, arguments...)
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
			fmt.Fprintln(&plan, detail)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
