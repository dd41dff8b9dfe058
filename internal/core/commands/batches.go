package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"hearth"
	"hearth/internal/newid"
	"hearth/internal/queue"
)

// jobPlace is the kind of job that places the commands of a batch.
const jobPlace = "commands.place"

const (
	// placePart bounds the commands that one write places, so that it takes some milliseconds.
	placePart = 25
	// placeAttempts and placeTimeout bound a job; what it has placed stays placed.
	placeAttempts = 100
	placeTimeout  = 10 * time.Minute
	// maxProblems bounds the wrong devices that one answer names.
	maxProblems = 20
)

// Selection picks devices: those that are named, or, where Filter is set, all that it picks.
type Selection struct {
	DeviceIDs []string
	Filter    *Filter
}

// Filter picks those devices that the caller may edit; zero fields do not filter.
type Filter struct {
	Type           string
	Tag            string
	OrganizationID string
}

// SendMany queues one command for up to hearth.MaxCommandDevices devices, and returns once the batch is durable; its commands appear in
// the queues of the devices then, step by step. Errors: CodeValidationFailed (a device that the caller may not edit is named by its
// index, like one that does not exist), CodeNotFound (the filter's organization), CodeForbidden, CodeIdempotencyMismatch,
// *hearth.Replayed.
func (s *Service) SendMany(
	ctx context.Context, caller hearth.Caller, to Selection, order Order, key *hearth.IdempotencyRequest,
) (hearth.CommandBatch, error) {
	model := s.command(caller, order)
	problems := model.Validate("body.")
	if (to.DeviceIDs == nil) == (to.Filter == nil) {
		problems = append(problems, hearth.FieldError{Location: "body", Message: "must have either device_ids or filter"})
	}
	if len(problems) > 0 {
		return hearth.CommandBatch{}, hearth.Invalid(problems...)
	}
	var err error
	ids := to.DeviceIDs
	if to.Filter != nil {
		ids, err = s.matching(ctx, caller, *to.Filter)
	} else {
		err = s.checkNamed(ctx, caller, ids)
	}
	if err != nil {
		return hearth.CommandBatch{}, err
	}
	b := hearth.CommandBatch{
		ID: newid.New(), DeviceIDs: ids, Total: len(ids), Name: model.Name, Params: model.Params, CreatedBy: caller.UserID,
		OnlyOrg:   caller.OnlyOrg,
		CreatedAt: model.CreatedAt, ExpiresAt: model.ExpiresAt,
	}
	record, err := key.Record(b)
	if err != nil {
		return hearth.CommandBatch{}, err
	}
	payload, err := json.Marshal(placePayload{b.ID})
	if err != nil {
		return hearth.CommandBatch{}, err
	}
	entry := caller.Entry(b.CreatedAt, "command.create", "command_batch:"+b.ID)
	entry.Changes = map[string]hearth.Change{"devices": {After: b.Total}, "name": {After: b.Name}}
	job := hearth.OutboxJob{
		ID: queue.NewID(b.CreatedAt), Kind: jobPlace, Queue: string(queue.Notification), Payload: payload, Unique: jobPlace + ":" + b.ID,
	}
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}, Jobs: []hearth.OutboxJob{job}}
	if err := s.o.Store.CreateCommandBatch(ctx, b, effects); err != nil {
		return hearth.CommandBatch{}, err
	}
	return b, nil
}

// checkNamed makes sure that the caller may edit each of the devices, and that none is named twice.
func (s *Service) checkNamed(ctx context.Context, caller hearth.Caller, ids []string) error {
	if len(ids) == 0 || len(ids) > hearth.MaxCommandDevices {
		return hearth.Invalid(hearth.FieldError{Location: "body.device_ids", Message: "must have 1 to 10000 devices"})
	}
	devices, err := s.o.Directory.Resolve(ctx, caller, ids)
	if err != nil {
		return err
	}
	var problems []hearth.FieldError
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		message := ""
		switch {
		case devices[i] == nil || caller.Access(*devices[i])&hearth.MayEdit == 0:
			message = "is no device that you may edit"
		case seen[id]:
			message = "is there twice"
		}
		if seen[id] = true; message != "" && len(problems) < maxProblems {
			problems = append(problems, hearth.FieldError{Location: fmt.Sprintf("body.device_ids[%d]", i), Message: message})
		}
	}
	if len(problems) > 0 {
		return hearth.Invalid(problems...)
	}
	return nil
}

// matching returns the devices that a filter picks.
func (s *Service) matching(ctx context.Context, caller hearth.Caller, filter Filter) (ids []string, err error) {
	reach, err := caller.Reach(filter.OrganizationID)
	if err != nil {
		return nil, err
	}
	reach.Scopes = slices.DeleteFunc(reach.Scopes, func(scope hearth.Scope) bool { return !mayEdit(caller, scope) })
	if filter.OrganizationID != "" && len(reach.Scopes) == 0 {
		return nil, hearth.Errorf(hearth.CodeForbidden, "you may not do this with devices of the organization")
	}
	if !reach.All && len(reach.Scopes) == 0 {
		return nil, nil
	}
	page := hearth.Page{Limit: hearth.MaxLimit, Sort: "-created_at"}
	for {
		list, err := s.o.Devices.Devices(ctx, hearth.DeviceFilter{Reach: reach, Type: filter.Type, Tag: filter.Tag, Now: s.now()}, page)
		if err != nil {
			return nil, err
		}
		for _, d := range list.Items {
			ids = append(ids, d.ID)
		}
		if len(ids) > hearth.MaxCommandDevices {
			return nil, hearth.Invalid(hearth.FieldError{Location: "body.filter", Message: "picks more than 10000 devices"})
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			return ids, nil
		}
	}
}

// mayEdit reports whether the caller may edit the devices of a scope.
func mayEdit(caller hearth.Caller, scope hearth.Scope) bool {
	if caller.IsAdmin() || scope == hearth.UserScope(caller.UserID) {
		return true
	}
	for id, role := range caller.Orgs {
		if scope == hearth.OrgScope(id) {
			return role.Rank() >= hearth.OrgMember.Rank()
		}
	}
	return false
}

// Batch returns a batch and how many of its commands are in which state, Total in all; CodeNotFound, also for another user's.
func (s *Service) Batch(ctx context.Context, caller hearth.Caller, id string) (hearth.CommandBatch, map[hearth.CommandState]int64, error) {
	b, counts, err := s.o.Store.CommandBatch(ctx, id)
	if err == nil {
		err = caller.AllowCommandBatch(b)
	}
	if err != nil {
		return hearth.CommandBatch{}, nil, err
	}
	if !s.now().Before(b.ExpiresAt) { // those that are left are expired, also before it is stored of each
		for _, state := range hearth.CommandStates() {
			if !state.Ended() {
				counts[hearth.CommandExpired] += counts[state]
				delete(counts, state)
			}
		}
	}
	return b, counts, nil
}

// placePayload is the payload of jobPlace.
type placePayload struct {
	BatchID string `json:"batch_id"`
}

// Kinds returns the jobs that a worker does for this service.
func (s *Service) Kinds() []queue.Kind {
	return []queue.Kind{
		{Name: jobPlace, Handler: s.placeAll, MaxAttempts: placeAttempts, Timeout: placeTimeout},
		{Name: hearth.JobCommand, Handler: s.order, MaxAttempts: placeAttempts, Timeout: time.Minute},
	}
}

// order sends the command of a hearth.CommandOrder. A device that is gone, or has too many commands, is sent none.
func (s *Service) order(ctx context.Context, task *queue.Task) error {
	var o hearth.CommandOrder
	if err := json.Unmarshal(task.Job.Payload, &o); err != nil {
		return queue.Permanent(err)
	}
	devices, err := s.o.Devices.DevicesByID(ctx, []string{o.DeviceID})
	if err != nil || len(devices) == 0 {
		return err
	}
	c := hearth.Command{
		ID: o.ID, DeviceID: o.DeviceID, Name: o.Name, Params: o.Params, State: hearth.CommandQueued, CreatedBy: o.CreatedBy, CreatedAt: o.CreatedAt,
		ExpiresAt: o.CreatedAt.Add(hearth.DefaultCommandExpiry),
	}
	_, err = s.create(ctx, c, devices[0].Scope(), hearth.SideEffects{})
	switch hearth.ErrorCode(err) {
	case hearth.CodeConflict: // it was sent before, or there are too many
		s.o.Logger.InfoContext(ctx, "an ordered command was not sent", "command", o.ID, "device", o.DeviceID, "err", err)
		return nil
	case hearth.CodeNotFound:
		return nil
	}
	return err
}

// placeAll places what is not placed of a batch.
func (s *Service) placeAll(ctx context.Context, task *queue.Task) error {
	var payload placePayload
	if err := json.Unmarshal(task.Job.Payload, &payload); err != nil {
		return queue.Permanent(err)
	}
	b, _, err := s.o.Store.CommandBatch(ctx, payload.BatchID)
	for {
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return nil // its time was over long ago
		}
		if err != nil {
			return err
		}
		now := s.now()
		jobs, err := s.endedJobs(ctx, b.DeviceIDs[:min(placePart, len(b.DeviceIDs))]) // some are full: their commands have failed
		if err != nil {
			return err
		}
		var placed []hearth.PlacedCommand
		placed, b, err = s.o.Store.PlaceCommands(ctx, payload.BatchID, placePart, func(b hearth.CommandBatch, deviceID string) hearth.Command {
			return hearth.Command{
				ID: newid.New(), DeviceID: deviceID, Batch: b.ID, Name: b.Name, Params: b.Params, State: hearth.CommandQueued,
				CreatedBy: b.CreatedBy, CreatedAt: b.CreatedAt, ExpiresAt: b.ExpiresAt,
			}
		}, jobs)
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.publishPlaced(ctx, placed, now); err != nil {
			return err
		}
		task.Report(queue.Progress{Step: "placing", Done: int64(b.Total - len(b.DeviceIDs)), Total: int64(b.Total)})
		if len(b.DeviceIDs) == 0 {
			return nil
		}
	}
}

// publishPlaced publishes what was placed. Where the devices cannot be read, those that wait are woken, and no event comes.
func (s *Service) publishPlaced(ctx context.Context, placed []hearth.PlacedCommand, now time.Time) error {
	s.created.Add(uint64(len(placed)))
	all, firsts := make([]hearth.Command, len(placed)), make(map[string]bool, len(placed))
	var changes []message
	for i, c := range placed {
		all[i], firsts[c.ID] = c.Command, c.First
		if !c.State.Ended() {
			changes = append(changes, message{queued, c.DeviceID, c.ID})
		}
	}
	events, err := s.eventsOf(ctx, all, now)
	if err != nil {
		s.apply(changes)
		s.notify(ctx, changes)
		return err
	}
	by := map[happening][]hearth.Event{}
	for _, e := range events {
		what := queued
		switch c, _ := e.Data.(hearth.Command); {
		case c.State.Ended():
			what = ended
		case firsts[c.ID]:
			what = first
		}
		by[what] = append(by[what], e)
	}
	s.notify(ctx, slices.Concat(s.publish(first, by[first]...), s.publish(queued, by[queued]...), s.publish(ended, by[ended]...)))
	return nil
}
