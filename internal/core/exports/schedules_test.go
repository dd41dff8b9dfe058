package exports_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/exports"
)

// plan is a schedule at 06:00 UTC each day.
func plan() exports.Plan {
	return exports.Plan{
		Recurrence: hearth.Recurrence{Every: hearth.Daily, Minute: 360}, Type: hearth.ExportLogs, Format: hearth.FormatCSV, Enabled: true,
	}
}

func (b *bench) plan(change func(*exports.Plan)) hearth.ExportSchedule {
	b.Helper()
	p := plan()
	if change != nil {
		change(&p)
	}
	schedule, err := b.service.CreateSchedule(b.Context(), b.ann, p, nil)
	if err != nil {
		b.Fatal(err)
	}
	return schedule
}

func (b *bench) schedule(id string) hearth.ExportSchedule {
	b.Helper()
	schedule, err := b.service.Schedule(b.Context(), b.ann, id)
	if err != nil {
		b.Fatal(err)
	}
	return schedule
}

// at sets the clock.
func (b *bench) at(now time.Time) { b.ahead.Store(int64(time.Until(now))) }

func (b *bench) exports() []hearth.Export {
	b.Helper()
	list, err := b.service.Exports(b.Context(), b.ann, hearth.ExportFilter{}, hearth.Page{Limit: 200})
	if err != nil {
		b.Fatal(err)
	}
	return list.Items
}

func (b *bench) orderDue(want int) {
	b.Helper()
	if n, err := b.service.OrderDue(b.Context()); n != want || err != nil {
		b.Fatalf("%d schedules were due, want %d; %v", n, want, err)
	}
}

func TestWhatIsDueIsOrderedOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	schedule := b.plan(nil)
	b.orderDue(0)
	b.at(schedule.NextAt.Add(time.Second))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := b.service.OrderDue(b.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	made := b.exports()
	if len(made) != 1 {
		t.Fatalf("%d exports were ordered", len(made))
	}
	e, after := made[0], b.schedule(schedule.ID)
	if after.LastExport != e.ID || !after.LastAt.Equal(schedule.NextAt) || !after.NextAt.Equal(schedule.NextAt.Add(24*time.Hour)) || after.Failure != nil {
		t.Errorf("the schedule is %+v", after)
	}
	midnight := schedule.NextAt.Truncate(24 * time.Hour)
	if e.Schedule != schedule.ID || !e.Notify || !e.To.Equal(midnight) || !e.From.Equal(midnight.Add(-24*time.Hour)) {
		t.Errorf("the export is %+v", e)
	}
	if done := b.await(e.ID, hearth.ExportCompleted); done.Result.Records != 0 { // its logs are of 1970
		t.Errorf("it has %d records", done.Result.Records)
	}
}

func TestACrashBetweenAnOrderAndItsNoteOrdersNothingTwice(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	schedule := b.plan(nil)
	b.at(schedule.NextAt.Add(time.Second))
	b.orderDue(1)
	// As it was before the note.
	_, err := b.store.UpdateExportSchedule(t.Context(), schedule.ID, func(hearth.ExportSchedule) (hearth.ExportSchedule, error) {
		return schedule, nil
	}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	b.orderDue(1)
	if n := len(b.exports()); n != 1 {
		t.Errorf("%d exports were ordered", n)
	}
}

func TestTimesThatPassedAreMadeUpForByTheLatest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	schedule := b.plan(nil)
	late := schedule.NextAt.Add(10*24*time.Hour + time.Minute)
	b.at(late)
	b.orderDue(1)
	b.orderDue(0)
	if made := b.exports(); len(made) != 1 || !made[0].To.Equal(late.Truncate(24*time.Hour)) {
		t.Errorf("made is %+v", made)
	}
}

func TestAScheduleGoesOnWhereTheClockWasAhead(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	schedule := b.plan(nil)
	b.orderDue(0)
	b.at(schedule.NextAt.Add(30 * 24 * time.Hour))
	b.orderDue(1)
	now := schedule.NextAt.Add(-time.Hour)
	b.at(now)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.service.OrderDue(gone); err == nil { // what fails is done by the next call
		t.Error("a store that does not answer is no failure")
	}
	b.orderDue(0)
	if next := b.schedule(schedule.ID).NextAt; !next.Equal(schedule.NextAt) {
		t.Errorf("it is due %v, want %v", next, schedule.NextAt)
	}
	b.at(schedule.NextAt.Add(time.Second))
	b.orderDue(1)
	b.orderDue(0)
}

func TestAScheduleHoldsWhatItsOwnerMayReadAtThatTime(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.orgs.Store(&map[string]hearth.OrgRole{"o": hearth.OrgViewer})
	b.ann.Orgs = *b.orgs.Load()
	bob := hearth.User{ID: "bob", Name: "Bob", Email: "bob@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x"), CreatedAt: time.Now(), UpdatedAt: time.Now()}
	if err := b.store.CreateUser(t.Context(), bob, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if err := b.store.CreateOrganization(t.Context(), hearth.Organization{ID: "o", Name: "o"}, "bob", hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	theirs, err := b.store.CreateDevices(t.Context(), []hearth.Device{{
		ID: "0195b000-0000-7000-8000-000000000002", Name: "theirs", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "bob",
		OrganizationID: "o", Version: 1, CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	own := "0195b000-0000-7000-8000-000000000001"
	both := b.plan(func(p *exports.Plan) { p.Filters.DeviceIDs = []string{own, theirs[0].ID} })
	alone := b.plan(func(p *exports.Plan) { p.Filters.DeviceIDs = []string{theirs[0].ID} })
	b.orgs.Store(&map[string]hearth.OrgRole{})
	b.at(both.NextAt.Add(time.Second))
	b.orderDue(1)
	made := b.exports()
	if len(made) != 1 || len(made[0].Filters.DeviceIDs) != 1 || made[0].Filters.DeviceIDs[0] != own || len(made[0].Reach.Scopes) != 1 {
		t.Errorf("made is %+v", made)
	}
	if s := b.schedule(alone.ID); s.Failure == nil || s.Failure.Code != hearth.CodeForbidden || !s.NextAt.After(alone.NextAt) || s.LastExport != "" {
		t.Errorf("the schedule of a device out of reach is %+v", s)
	}
	// Who is kept out gets nothing.
	b.disabled.Store(true)
	b.at(both.NextAt.Add(24*time.Hour + time.Second))
	b.orderDue(0)
	if s := b.schedule(both.ID); s.Failure == nil || s.Failure.Code != hearth.CodeForbidden {
		t.Errorf("the schedule of a disabled person is %+v", s)
	}
	b.disabled.Store(false)
	b.at(both.NextAt.Add(48*time.Hour + time.Second))
	b.orderDue(1)
	if s := b.schedule(both.ID); s.Failure != nil || s.LastExport == "" {
		t.Errorf("the schedule is %+v", s)
	}
}

func TestAScheduleIsChangedPausedAndDeleted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	schedule := b.plan(nil)
	change := func(change func(*exports.Plan)) hearth.ExportSchedule {
		t.Helper()
		changed, err := b.service.UpdateSchedule(t.Context(), b.ann, schedule.ID, nil, func(p exports.Plan) (exports.Plan, error) {
			change(&p)
			return p, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	if s := change(func(p *exports.Plan) { p.Name = "another" }); s.Name != "another" || !s.NextAt.Equal(schedule.NextAt) {
		t.Errorf("a new name makes it %+v", s)
	}
	if s := change(func(p *exports.Plan) { p.Recurrence.Minute++ }); !s.NextAt.Equal(exports.NextTime(s.Recurrence, time.Now())) {
		t.Errorf("a new time makes it %+v", s)
	}
	if s := change(func(p *exports.Plan) { p.Enabled = false }); !s.NextAt.IsZero() {
		t.Errorf("a pause makes it %+v", s)
	}
	b.at(schedule.NextAt.Add(48 * time.Hour))
	b.orderDue(0)
	if s := change(func(p *exports.Plan) { p.Enabled = true }); !s.NextAt.After(schedule.NextAt.Add(48 * time.Hour)) {
		t.Errorf("going on makes it %+v", s) // what a pause passed over stays passed over
	}
	_, err := b.service.UpdateSchedule(t.Context(), b.ann, schedule.ID, nil, func(p exports.Plan) (exports.Plan, error) {
		p.Recurrence.TimeZone = "Mars/Olympus"
		return p, nil
	})
	if hearth.ErrorCode(err) != hearth.CodeValidationFailed {
		t.Errorf("a time zone that is none: %v", err)
	}
	bob := hearth.Caller{UserID: "bob", Role: hearth.RoleUser}
	if err := b.service.DeleteSchedule(t.Context(), bob, schedule.ID); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("deleting somebody else's: %v", err)
	}
	if err := b.service.DeleteSchedule(t.Context(), b.ann, schedule.ID); err != nil {
		t.Error(err)
	}
	b.at(schedule.NextAt.Add(96 * time.Hour))
	b.orderDue(0)
}

func TestAScheduleWaitsWhileTooManyExportsAreUnderWay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	schedule := b.plan(nil)
	for i := range hearth.MaxOpenExports {
		open := hearth.Export{
			ID: "0195b000-0000-7000-8000-" + time.UnixMilli(int64(i)).UTC().Format("150405.000000"), UserID: "ann", Type: hearth.ExportLogs,
			Format: hearth.FormatCSV, Compression: hearth.CompressNone, Status: hearth.ExportRunning, CreatedAt: time.Now(),
		}
		if err := b.store.CreateExport(t.Context(), open, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	b.at(schedule.NextAt.Add(time.Second))
	b.orderDue(0)
	if s := b.schedule(schedule.ID); s.Failure == nil || s.Failure.Code != hearth.CodeConflict || !s.NextAt.Equal(schedule.NextAt) {
		t.Errorf("the schedule is %+v", s)
	}
	gone := b.exports()[0].ID
	if err := b.store.DeleteExport(t.Context(), gone, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	b.orderDue(1)
	if s := b.schedule(schedule.ID); s.Failure != nil || s.LastExport == "" {
		t.Errorf("the schedule is %+v", s)
	}
}
