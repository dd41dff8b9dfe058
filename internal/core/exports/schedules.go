package exports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth"
	"hearth/internal/queue"
)

// Plan is a schedule as users set it. A zero Compression is none.
type Plan struct {
	Name        string
	Recurrence  hearth.Recurrence
	Type        hearth.ExportType
	Format      hearth.ExportFormat
	Compression hearth.ExportCompression
	CSV         *hearth.ExportCSV
	Filters     hearth.ExportFilters
	Enabled     bool
}

// put sets what the plan says, and when the next export is due.
func (s *Service) put(plan Plan, schedule *hearth.ExportSchedule) {
	now := s.now()
	fresh := !schedule.Enabled || schedule.Recurrence != plan.Recurrence
	schedule.Name, schedule.Recurrence, schedule.Type, schedule.Format = plan.Name, plan.Recurrence, plan.Type, plan.Format
	schedule.Compression, schedule.CSV, schedule.Filters = cmp.Or(plan.Compression, hearth.CompressNone), plan.CSV, plan.Filters
	schedule.Enabled, schedule.UpdatedAt = plan.Enabled, now
	// What does not count is not kept, so that a change of the interval asks for it.
	if schedule.Recurrence.Every != hearth.Weekly {
		schedule.Recurrence.Weekday = 0
	}
	if schedule.Recurrence.Every != hearth.Monthly {
		schedule.Recurrence.Day = 0
	}
	switch {
	case !plan.Enabled:
		schedule.NextAt = time.Time{}
	case fresh && len(schedule.Validate("")) == 0:
		schedule.NextAt = nextTime(schedule.Recurrence, now)
	}
}

// planOf returns what the user set.
func planOf(s hearth.ExportSchedule) Plan {
	return Plan{
		Name: s.Name, Recurrence: s.Recurrence, Type: s.Type, Format: s.Format, Compression: s.Compression, CSV: s.CSV, Filters: s.Filters,
		Enabled: s.Enabled,
	}
}

// CreateSchedule makes a schedule of the caller's. Errors: CodeValidationFailed (a device that the caller may not read is named
// by index, like one that does not exist), CodeForbidden, CodeConflict, CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) CreateSchedule(ctx context.Context, caller hearth.Caller, plan Plan, key *hearth.IdempotencyRequest) (hearth.ExportSchedule, error) {
	if _, err := ownerOf(caller); err != nil {
		return hearth.ExportSchedule{}, err
	}
	now := s.now()
	schedule := hearth.ExportSchedule{ID: queue.NewID(now), UserID: caller.UserID, OnlyOrg: caller.OnlyOrg, CreatedAt: now}
	s.put(plan, &schedule)
	if err := s.checkSchedule(ctx, caller, schedule); err != nil {
		return hearth.ExportSchedule{}, err
	}
	record, err := key.Record(schedule)
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	entry := caller.Entry(now, "export_schedule.create", "export_schedule:"+schedule.ID)
	err = s.o.Schedules.CreateExportSchedule(ctx, schedule, hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}})
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	return schedule, nil
}

func (s *Service) checkSchedule(ctx context.Context, caller hearth.Caller, schedule hearth.ExportSchedule) error {
	if problems := schedule.Validate("body."); len(problems) > 0 {
		return hearth.Invalid(problems[:min(len(problems), maxProblems)]...)
	}
	if len(schedule.Filters.DeviceIDs) == 0 {
		return nil
	}
	_, err := s.reachOf(ctx, caller, schedule.Filters.DeviceIDs)
	return err
}

// Schedules lists the caller's schedules, those of all users for an admin, newest first.
func (s *Service) Schedules(ctx context.Context, caller hearth.Caller, page hearth.Page) (hearth.List[hearth.ExportSchedule], error) {
	owner, err := ownerOf(caller)
	if err != nil {
		return hearth.List[hearth.ExportSchedule]{}, err
	}
	return s.o.Schedules.ExportSchedules(ctx, owner, caller.OnlyOrg, page)
}

// Schedule returns one schedule; CodeNotFound, also for another user's.
func (s *Service) Schedule(ctx context.Context, caller hearth.Caller, id string) (hearth.ExportSchedule, error) {
	schedule, err := s.o.Schedules.ExportSchedule(ctx, id)
	if err == nil {
		err = caller.AllowExportSchedule(schedule)
	}
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	return schedule, nil
}

// UpdateSchedule changes a schedule, unless check refuses the schedule as it is (nil checks nothing): change gets what is set and returns what shall be.
// Errors: CodeNotFound, CodeValidationFailed, and those of check and change.
func (s *Service) UpdateSchedule(
	ctx context.Context, caller hearth.Caller, id string, check func(hearth.ExportSchedule) error, change func(Plan) (Plan, error),
) (hearth.ExportSchedule, error) {
	old, err := s.Schedule(ctx, caller, id)
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	apply := func(schedule hearth.ExportSchedule) (hearth.ExportSchedule, error) {
		plan, err := change(planOf(schedule))
		if err == nil {
			s.put(plan, &schedule)
		}
		return schedule, err
	}
	wanted, err := apply(old)
	if err != nil {
		return hearth.ExportSchedule{}, err
	}
	// A device that was chosen before may be out of reach by now: what was read can be written back.
	known := wanted
	known.Filters.DeviceIDs = slices.DeleteFunc(slices.Clone(wanted.Filters.DeviceIDs), func(id string) bool {
		return slices.Contains(old.Filters.DeviceIDs, id)
	})
	if err := s.checkSchedule(ctx, caller, known); err != nil {
		return hearth.ExportSchedule{}, err
	}
	entry := caller.Entry(s.now(), "export_schedule.update", "export_schedule:"+id)
	return s.o.Schedules.UpdateExportSchedule(ctx, id, func(schedule hearth.ExportSchedule) (hearth.ExportSchedule, error) {
		if check != nil {
			if err := check(schedule); err != nil {
				return schedule, err
			}
		}
		schedule, err := apply(schedule)
		if problems := schedule.Validate("body."); err == nil && len(problems) > 0 {
			err = hearth.Invalid(problems[:min(len(problems), maxProblems)]...)
		}
		return schedule, err
	}, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
}

// DeleteSchedule removes a schedule; its exports stay. CodeNotFound.
func (s *Service) DeleteSchedule(ctx context.Context, caller hearth.Caller, id string) error {
	if _, err := s.Schedule(ctx, caller, id); err != nil {
		return err
	}
	entry := caller.Entry(s.now(), "export_schedule.delete", "export_schedule:"+id)
	return s.o.Schedules.DeleteExportSchedule(ctx, id, hearth.SideEffects{Audit: []hearth.AuditEntry{entry}})
}

// schedule is the handler of JobSchedule.
func (s *Service) schedule(ctx context.Context, task *queue.Task) error {
	n, err := s.OrderDue(ctx)
	task.Report(queue.Progress{Step: "done", Done: int64(n), Total: int64(n)})
	return err
}

// OrderDue orders the export of every schedule that is due, and returns their number. An export's id follows from its schedule
// and the time: whatever runs twice, at once or after a crash, orders once. Of several times that passed while no worker ran
// the latest alone counts. One schedule's trouble holds up no other.
func (s *Service) OrderDue(ctx context.Context) (ordered int, err error) {
	now, after := s.now(), ""
	if s.clock.Seen(now) {
		if err := s.putBack(ctx, now); err != nil {
			s.clock.Forget()
			return 0, err
		}
	}
	var errs []error
	for {
		due, err := s.o.Schedules.DueExportSchedules(ctx, now, after, cleanChunk)
		if err != nil || len(due) == 0 {
			return ordered, errors.Join(append(errs, err)...)
		}
		for _, schedule := range due {
			after = schedule.ID
			done, err := s.orderOf(ctx, schedule)
			if err != nil {
				errs = append(errs, fmt.Errorf("the schedule %s: %w", schedule.ID, err))
			}
			if done {
				ordered++
			}
		}
	}
}

// never is later than every time that a schedule can have.
const never = 1 << 53

// putBack has the schedules that ran while the clock was ahead go on from now.
func (s *Service) putBack(ctx context.Context, now time.Time) error {
	for after := ""; ; {
		all, err := s.o.Schedules.DueExportSchedules(ctx, time.UnixMilli(never), after, cleanChunk)
		if err != nil || len(all) == 0 {
			return err
		}
		for _, schedule := range all {
			if after = schedule.ID; !schedule.LastAt.After(now.Add(hearth.MaxSkew)) {
				continue
			}
			_, err := s.o.Schedules.UpdateExportSchedule(ctx, schedule.ID, func(stored hearth.ExportSchedule) (hearth.ExportSchedule, error) {
				if !stored.NextAt.Equal(schedule.NextAt) {
					return stored, errNotWanted
				}
				stored.NextAt, stored.LastAt = nextTime(stored.Recurrence, now), now
				return stored, nil
			}, hearth.SideEffects{})
			if err != nil && !errors.Is(err, errNotWanted) && hearth.ErrorCode(err) != hearth.CodeNotFound {
				return err
			}
		}
	}
}

// orderOf orders what one schedule has due, and moves it on. A schedule whose owner may not order now says why: it waits
// while the owner has too many exports under way, and goes on to its next time where waiting does not help.
func (s *Service) orderOf(ctx context.Context, schedule hearth.ExportSchedule) (done bool, err error) {
	slot := latestTime(schedule.Recurrence, s.now())
	id, err := s.orderAt(ctx, schedule, slot)
	refused, _ := errors.AsType[*hearth.Error](err)
	if err != nil && (refused == nil || refused.Code != hearth.CodeForbidden && refused.Code != hearth.CodeConflict) {
		return false, err
	}
	_, err = s.o.Schedules.UpdateExportSchedule(ctx, schedule.ID, func(now hearth.ExportSchedule) (hearth.ExportSchedule, error) {
		if !now.NextAt.Equal(schedule.NextAt) {
			return now, errNotWanted // changed, or done by another, meanwhile
		}
		if refused == nil || refused.Code == hearth.CodeForbidden {
			now.NextAt = nextTime(now.Recurrence, slot)
		}
		if refused == nil {
			now.LastAt, now.LastExport, now.Failure = slot, id, nil
			return now, nil
		}
		failure := hearth.ExportFailure{Code: refused.Code, Message: refused.Message}
		if now.NextAt.Equal(schedule.NextAt) && now.Failure != nil && *now.Failure == failure {
			return now, errNotWanted // it says so already
		}
		now.Failure = &failure
		return now, nil
	}, hearth.SideEffects{})
	if errors.Is(err, errNotWanted) || hearth.ErrorCode(err) == hearth.CodeNotFound {
		return false, nil
	}
	return err == nil && refused == nil, err
}

// orderAt orders the export of a schedule's time, unless that was done before, and returns its id. CodeForbidden where the
// owner may not have it; CodeConflict while too many of the owner's are under way.
func (s *Service) orderAt(ctx context.Context, schedule hearth.ExportSchedule, slot time.Time) (id string, err error) {
	cause := schedule.ID + "@" + slot.UTC().Format(time.RFC3339)
	id = queue.DeriveID(slot, "export:"+cause)
	if known, err := s.ordered(ctx, id); known || err != nil {
		return id, err
	}
	caller, err := s.callerOf(ctx, schedule.UserID, schedule.OnlyOrg)
	if err != nil {
		return "", err
	}
	span := covered(schedule.Recurrence, slot)
	e := hearth.Export{
		ID: id, Job: queue.DeriveID(slot, "job:"+cause), UserID: schedule.UserID, OnlyOrg: schedule.OnlyOrg, Type: schedule.Type, Format: schedule.Format,
		Compression: schedule.Compression, CSV: schedule.CSV, Status: hearth.ExportQueued, From: span.From, To: span.To, Filters: schedule.Filters,
		Notify: true, Progress: hearth.ExportProgress{Step: stepQueued}, Schedule: schedule.ID, CreatedAt: s.now(),
	}
	if e.Reach, err = caller.Reach(""); err != nil {
		return "", err
	}
	if len(schedule.Filters.DeviceIDs) > 0 {
		if e.Filters.DeviceIDs, e.Reach, err = s.stillReadable(ctx, caller, schedule.Filters.DeviceIDs); err != nil {
			return "", err
		}
	}
	if err = s.place(ctx, caller, e, nil); err != nil {
		// Another may have been quicker.
		if known, _ := s.ordered(ctx, id); known {
			return id, nil
		}
	}
	return id, err
}

// ordered reports whether there is an export of that id.
func (s *Service) ordered(ctx context.Context, id string) (bool, error) {
	_, err := s.o.Store.Export(ctx, id)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// callerOf returns a person with the rights of now, in one organization alone if onlyOrg is set; CodeForbidden for one who is kept out or gone.
func (s *Service) callerOf(ctx context.Context, userID, onlyOrg string) (hearth.Caller, error) {
	user, err := s.o.Users.User(ctx, userID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound || err == nil && user.Disabled {
		return hearth.Caller{}, hearth.Errorf(hearth.CodeForbidden, "the account may not be used")
	}
	if err != nil {
		return hearth.Caller{}, err
	}
	orgs, err := s.o.Roles(ctx, userID)
	return hearth.Caller{UserID: userID, Role: user.Role, OnlyOrg: onlyOrg}.WithOrgs(orgs), err
}

// stillReadable returns those of the devices that are there and that the caller may read, and their scopes; CodeForbidden if
// there is none.
func (s *Service) stillReadable(ctx context.Context, caller hearth.Caller, ids []string) ([]string, hearth.Reach, error) {
	devices, err := s.o.Devices.DevicesByID(ctx, ids)
	if err != nil {
		return nil, hearth.Reach{}, err
	}
	var reach hearth.Reach
	var left []string
	for _, d := range devices {
		if caller.Access(d)&hearth.MayRead == 0 {
			continue
		}
		left = append(left, d.ID)
		if !slices.Contains(reach.Scopes, d.Scope()) {
			reach.Scopes = append(reach.Scopes, d.Scope())
		}
	}
	if len(left) == 0 {
		return nil, reach, hearth.Errorf(hearth.CodeForbidden, "none of its devices is there and yours to read any more")
	}
	return left, reach, nil
}
