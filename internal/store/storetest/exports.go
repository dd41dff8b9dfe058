package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// ExportStore is what the suite of exports is about.
type ExportStore interface {
	hearth.ExportStore
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
}

// Exports is the suite for exports. open returns an empty store; it is called once a test, in parallel.
func Exports(t *testing.T, open func(t *testing.T) ExportStore) {
	for name, test := range map[string]func(*testing.T, ExportStore){
		"gives back what was stored":                       exportRoundTrip,
		"lists newest first, filtered, page by page":       exportPages,
		"updates in one atomic step, with what goes along": exportUpdates,
		"counts every one of parallel updates":             exportParallelUpdates,
		"bounds the open exports of a person":              exportBound,
		"finds what expired and what is open":              exportSweeps,
		"sums up":                                          exportFigures,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// order returns an export; n makes ids and times that ascend.
func order(n int) hearth.Export {
	return hearth.Export{
		ID: fmt.Sprintf("0195b000-0000-7000-8000-%012d", n), UserID: "ann", Type: hearth.ExportLogs, Format: hearth.FormatCSV,
		Compression: hearth.CompressNone, Status: hearth.ExportQueued, CreatedAt: epoch.Add(time.Duration(n) * time.Second),
	}
}

func createExport(t *testing.T, s ExportStore, e hearth.Export) {
	t.Helper()
	if err := s.CreateExport(t.Context(), e, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func exportRoundTrip(t *testing.T, s ExportStore) {
	full := order(1)
	full.Type, full.Format, full.Compression, full.Status = hearth.ExportUsage, hearth.FormatParquet, hearth.CompressZstd, hearth.ExportCompleted
	full.From, full.To = time.UnixMilli(0).UTC(), epoch
	full.CSV = &hearth.ExportCSV{Separator: ";", Decimal: ",", BOM: true, TimeZone: "Europe/Berlin"}
	full.Filters = hearth.ExportFilters{DeviceIDs: []string{"a", "b"}, Events: []string{"x"}, IncludeInactive: true}
	full.Reach = hearth.Reach{Scopes: []hearth.Scope{"org:o", "user:ann"}}
	full.Notify, full.Progress = true, hearth.ExportProgress{Step: "writing", Processed: 3, Total: 9}
	full.Result = &hearth.ExportResult{FileName: "f", Size: 5, SHA256: "ab", Records: 9, Downloads: 2}
	full.Job, full.Run, full.File, full.Schedule = "j", "r", "k", "s"
	full.StartedAt, full.CompletedAt, full.ExpiresAt = epoch, epoch.Add(time.Minute), epoch.Add(time.Hour)
	failed := order(2)
	failed.Status, failed.Reach = hearth.ExportFailed, hearth.Reach{All: true}
	failed.Failure = &hearth.ExportFailure{Code: hearth.CodeStorageFull, Message: "the disk is full"}
	for _, want := range []hearth.Export{order(0), full, failed} {
		createExport(t, s, want)
		got, err := s.Export(t.Context(), want.ID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if err := s.DeleteExport(t.Context(), full.ID, hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Export(t.Context(), full.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a deleted export: %v", err)
	}
	if err := s.DeleteExport(t.Context(), full.ID, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("deleting it again: %v", err)
	}
}

func exportPages(t *testing.T, s ExportStore) {
	for n := range 7 {
		e := order(n)
		e.CreatedAt = epoch.Add(time.Duration(n/2) * time.Second) // pairs of the same time
		if n == 3 {
			e.UserID = "bob"
		}
		if n == 4 {
			e.Status = hearth.ExportCancelled
		}
		if n < 2 {
			e.OnlyOrg = "team"
		}
		createExport(t, s, e)
	}
	for name, tt := range map[string]struct {
		filter hearth.ExportFilter
		want   []int
	}{
		"all":       {hearth.ExportFilter{}, []int{6, 5, 4, 3, 2, 1, 0}},
		"of ann":    {hearth.ExportFilter{UserID: "ann"}, []int{6, 5, 4, 2, 1, 0}},
		"cancelled": {hearth.ExportFilter{UserID: "ann", Status: hearth.ExportCancelled, Type: hearth.ExportLogs}, []int{4}},
		"by keys":   {hearth.ExportFilter{UserID: "ann", OnlyOrg: "team"}, []int{1, 0}},
		"reports":   {hearth.ExportFilter{Type: hearth.ExportUsage}, nil},
	} {
		var want, got []string
		for _, n := range tt.want {
			want = append(want, order(n).ID)
		}
		page := hearth.Page{Limit: 2, Count: true}
		for {
			list, err := s.Exports(t.Context(), tt.filter, page)
			if err != nil {
				t.Fatal(err)
			}
			if list.Total != int64(len(want)) {
				t.Errorf("%s: a total of %d", name, list.Total)
			}
			for _, e := range list.Items {
				got = append(got, e.ID)
			}
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func exportUpdates(t *testing.T, s ExportStore) {
	createExport(t, s, order(1))
	refused := errors.New("refused")
	_, err := s.UpdateExport(t.Context(), order(1).ID, func(e hearth.Export) (hearth.Export, error) {
		e.Status = hearth.ExportFailed
		return e, refused
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}})
	if !errors.Is(err, refused) {
		t.Errorf("a refused update: %v", err)
	}
	want := order(1)
	want.Status, want.Run, want.StartedAt = hearth.ExportRunning, "r", epoch
	got, err := s.UpdateExport(t.Context(), want.ID, func(e hearth.Export) (hearth.Export, error) {
		if diff := cmp.Diff(order(1), e); diff != "" {
			t.Errorf("before the update (-want +got):\n%s", diff)
		}
		return want, nil
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(2)}})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	stored, err := s.Export(t.Context(), want.ID)
	if diff := cmp.Diff(want, stored); err != nil || diff != "" {
		t.Errorf("stored: %v (-want +got):\n%s", err, diff)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 1 || jobs[0].ID != outboxJob(2).ID {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
	_, err = s.UpdateExport(t.Context(), "nobody's", func(e hearth.Export) (hearth.Export, error) { return e, nil }, hearth.SideEffects{})
	if hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("an unknown one: %v", err)
	}
}

func exportParallelUpdates(t *testing.T, s ExportStore) {
	createExport(t, s, order(1))
	var updates sync.WaitGroup
	for range 50 {
		updates.Go(func() {
			_, err := s.UpdateExport(t.Context(), order(1).ID, func(e hearth.Export) (hearth.Export, error) {
				e.Progress.Processed++
				return e, nil
			}, hearth.SideEffects{})
			if err != nil {
				t.Error(err)
			}
		})
	}
	updates.Wait()
	if e, err := s.Export(t.Context(), order(1).ID); err != nil || e.Progress.Processed != 50 {
		t.Errorf("%d of 50 updates, %v", e.Progress.Processed, err)
	}
}

func exportBound(t *testing.T, s ExportStore) {
	for n := range hearth.MaxOpenExports {
		createExport(t, s, order(n))
	}
	next := order(hearth.MaxOpenExports)
	if err := s.CreateExport(t.Context(), next, hearth.SideEffects{}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("one too many: %v", err)
	}
	_, err := s.UpdateExport(t.Context(), order(0).ID, func(e hearth.Export) (hearth.Export, error) {
		e.Status = hearth.ExportCancelled
		return e, nil
	}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	createExport(t, s, next)
}

func exportSweeps(t *testing.T, s ExportStore) {
	for n := range 6 {
		e := order(n)
		if n >= 3 {
			e.Status, e.ExpiresAt = hearth.ExportCompleted, epoch.Add(time.Duration(10-n)*time.Hour)
		}
		createExport(t, s, e)
	}
	ids := func(exports []hearth.Export, err error) (ids []string) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range exports {
			ids = append(ids, e.ID)
		}
		return ids
	}
	expired := ids(s.ExpiredExports(t.Context(), epoch.Add(6*time.Hour), 10))
	if diff := cmp.Diff([]string{order(5).ID, order(4).ID}, expired); diff != "" {
		t.Errorf("expired (-want +got):\n%s", diff)
	}
	open := ids(s.OpenExports(t.Context(), order(2).CreatedAt, "", 1))
	open = append(open, ids(s.OpenExports(t.Context(), order(2).CreatedAt, open[0], 10))...)
	if diff := cmp.Diff([]string{order(0).ID, order(1).ID}, open); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
}

func exportFigures(t *testing.T, s ExportStore) {
	empty, err := s.ExportFigures(t.Context(), hearth.ExportFilter{UserID: "ann"})
	if diff := cmp.Diff(hearth.ExportFigures{ByStatus: map[hearth.ExportStatus]int64{}}, empty); err != nil || diff != "" {
		t.Errorf("of nothing: %v (-want +got):\n%s", err, diff)
	}
	for n := range 4 {
		e := order(n)
		if n > 0 {
			e.Status, e.Result = hearth.ExportCompleted, &hearth.ExportResult{Size: int64(n)}
		}
		if n == 3 {
			e.UserID, e.OnlyOrg = "bob", "team"
		}
		createExport(t, s, e)
	}
	got, err := s.ExportFigures(t.Context(), hearth.ExportFilter{UserID: "ann", OnlyOrg: "team"})
	if err != nil || len(got.ByStatus) != 0 {
		t.Errorf("of ann's keys of the team: %v, %v", got, err)
	}
	for user, want := range map[string]hearth.ExportFigures{
		"ann": {ByStatus: map[hearth.ExportStatus]int64{hearth.ExportQueued: 1, hearth.ExportCompleted: 2}, Bytes: 3, OldestAt: order(0).CreatedAt},
		"bob": {ByStatus: map[hearth.ExportStatus]int64{hearth.ExportCompleted: 1}, Bytes: 3, OldestAt: order(3).CreatedAt},
		"":    {ByStatus: map[hearth.ExportStatus]int64{hearth.ExportQueued: 1, hearth.ExportCompleted: 3}, Bytes: 6, OldestAt: order(0).CreatedAt},
	} {
		got, err := s.ExportFigures(t.Context(), hearth.ExportFilter{UserID: user})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("of %q: %v (-want +got):\n%s", user, err, diff)
		}
	}
}
