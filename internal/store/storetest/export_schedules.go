package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// ExportScheduleStore is what the suite of schedules of exports is about.
type ExportScheduleStore interface {
	hearth.ExportScheduleStore
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
}

// ExportSchedules is the suite for schedules of exports. open returns an empty store; it is called once a test, in parallel.
func ExportSchedules(t *testing.T, open func(t *testing.T) ExportScheduleStore) {
	for name, test := range map[string]func(*testing.T, ExportScheduleStore){
		"gives back what was stored":                       scheduleRoundTrip,
		"lists newest first, page by page, by person":      schedulePages,
		"updates in one atomic step, with what goes along": scheduleUpdates,
		"bounds the schedules of a person":                 scheduleBound,
		"finds what is due":                                scheduleDue,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// scheduled returns a schedule; n makes ids and times that ascend.
func scheduled(n int) hearth.ExportSchedule {
	return hearth.ExportSchedule{
		ID: fmt.Sprintf("0195b000-0000-7000-9000-%012d", n), UserID: "ann", Recurrence: hearth.Recurrence{Every: hearth.Daily},
		Type: hearth.ExportLogs, Format: hearth.FormatCSV, Compression: hearth.CompressNone,
		CreatedAt: epoch.Add(time.Duration(n) * time.Second), UpdatedAt: epoch,
	}
}

func createSchedule(t *testing.T, s ExportScheduleStore, schedule hearth.ExportSchedule) {
	t.Helper()
	if err := s.CreateExportSchedule(t.Context(), schedule, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func scheduleRoundTrip(t *testing.T, s ExportScheduleStore) {
	full := scheduled(1)
	full.Name, full.Enabled = "Müller's week", true
	full.Recurrence = hearth.Recurrence{Every: hearth.Weekly, Minute: 1439, Weekday: time.Saturday, Day: 31, TimeZone: "Europe/Berlin"}
	full.Type, full.Format, full.Compression = hearth.ExportUsage, hearth.FormatParquet, hearth.CompressZstd
	full.Filters = hearth.ExportFilters{DeviceIDs: []string{"a", "b"}, Events: []string{"x"}, IncludeInactive: true}
	full.CSV = &hearth.ExportCSV{Separator: ";", Decimal: ",", BOM: true, TimeZone: "Europe/Berlin"}
	full.NextAt, full.LastAt, full.LastExport = epoch.Add(time.Hour), epoch, "e"
	full.Failure = &hearth.ExportFailure{Code: hearth.CodeConflict, Message: "too many"}
	for _, want := range []hearth.ExportSchedule{scheduled(0), full} {
		createSchedule(t, s, want)
		got, err := s.ExportSchedule(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if err := s.DeleteExportSchedule(t.Context(), full.ID, hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
	if _, err := s.ExportSchedule(t.Context(), full.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a deleted schedule: %v", err)
	}
	err := s.DeleteExportSchedule(t.Context(), full.ID, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}})
	if hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("deleting it again: %v", err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
}

func schedulePages(t *testing.T, s ExportScheduleStore) {
	for n := range 5 {
		schedule := scheduled(n)
		schedule.CreatedAt = epoch.Add(time.Duration(n/2) * time.Second) // pairs of the same time
		if n == 3 {
			schedule.UserID, schedule.OnlyOrg = "bob", "team"
		}
		createSchedule(t, s, schedule)
	}
	for user, order := range map[string][]int{"": {4, 3, 2, 1, 0}, "ann": {4, 2, 1, 0}, "bob": {3}, "eve": nil} {
		var want, got []string
		for _, n := range order {
			want = append(want, scheduled(n).ID)
		}
		page := hearth.Page{Limit: 2, Count: true}
		for {
			list, err := s.ExportSchedules(t.Context(), user, "", page)
			if err != nil {
				t.Fatal(err)
			}
			if list.Total != int64(len(want)) {
				t.Errorf("%q: a total of %d", user, list.Total)
			}
			for _, schedule := range list.Items {
				got = append(got, schedule.ID)
			}
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", user, diff)
		}
	}
	for user, count := range map[string]int{"ann": 0, "bob": 1} {
		list, err := s.ExportSchedules(t.Context(), user, "team", hearth.Page{})
		if err != nil || len(list.Items) != count {
			t.Errorf("by keys of the team, %s's are %v, %v", user, list.Items, err)
		}
	}
}

func scheduleUpdates(t *testing.T, s ExportScheduleStore) {
	createSchedule(t, s, scheduled(1))
	refused := errors.New("refused")
	_, err := s.UpdateExportSchedule(t.Context(), scheduled(1).ID, func(e hearth.ExportSchedule) (hearth.ExportSchedule, error) {
		e.Name = "another"
		return e, refused
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}})
	if !errors.Is(err, refused) {
		t.Errorf("a refused update: %v", err)
	}
	want := scheduled(1)
	want.Name, want.Enabled, want.NextAt = "mine", true, epoch.Add(time.Hour)
	got, err := s.UpdateExportSchedule(t.Context(), want.ID, func(e hearth.ExportSchedule) (hearth.ExportSchedule, error) {
		if diff := cmp.Diff(scheduled(1), e); diff != "" {
			t.Errorf("before the update (-want +got):\n%s", diff)
		}
		return want, nil
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(2)}})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	stored, err := s.ExportSchedule(t.Context(), want.ID)
	if diff := cmp.Diff(want, stored); err != nil || diff != "" {
		t.Errorf("stored: %v (-want +got):\n%s", err, diff)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 1 || jobs[0].ID != outboxJob(2).ID {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
	_, err = s.UpdateExportSchedule(t.Context(), "nobody's", func(e hearth.ExportSchedule) (hearth.ExportSchedule, error) { return e, nil }, hearth.SideEffects{})
	if hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("an unknown one: %v", err)
	}
}

func scheduleBound(t *testing.T, s ExportScheduleStore) {
	for n := range hearth.MaxExportSchedules {
		createSchedule(t, s, scheduled(n))
	}
	next := scheduled(hearth.MaxExportSchedules)
	if err := s.CreateExportSchedule(t.Context(), next, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("one too many: %v", err)
	}
	another := scheduled(hearth.MaxExportSchedules + 1)
	another.UserID = "bob"
	createSchedule(t, s, another)
	if err := s.DeleteExportSchedule(t.Context(), scheduled(0).ID, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	createSchedule(t, s, next)
}

func scheduleDue(t *testing.T, s ExportScheduleStore) {
	for n := range 6 {
		schedule := scheduled(n)
		if n > 0 { // the first is not enabled
			schedule.Enabled, schedule.NextAt = true, epoch.Add(time.Duration(6-n)*time.Hour)
		}
		createSchedule(t, s, schedule)
	}
	var got []string
	after := ""
	for {
		due, err := s.DueExportSchedules(t.Context(), epoch.Add(3*time.Hour), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 0 {
			break
		}
		for _, schedule := range due {
			got, after = append(got, schedule.ID), schedule.ID
		}
	}
	if diff := cmp.Diff([]string{scheduled(3).ID, scheduled(4).ID, scheduled(5).ID}, got); diff != "" {
		t.Errorf("due (-want +got):\n%s", diff)
	}
}
