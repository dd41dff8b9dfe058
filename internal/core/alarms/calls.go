package alarms

import (
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/judge"
)

// Alarms lists the alarms that the caller may read, without their history. CodeForbidden.
func (s *Service) Alarms(
	ctx context.Context, caller hearth.Caller, filter hearth.AlarmFilter, page hearth.Page,
) (list hearth.List[hearth.Alarm], err error) {
	if filter.Reach, err = caller.Reach(""); err != nil {
		return list, err
	}
	return s.o.Alarms.Alarms(ctx, filter, page)
}

// Alarm returns one alarm; CodeNotFound, also for one that the caller may not read.
func (s *Service) Alarm(ctx context.Context, caller hearth.Caller, id string) (hearth.Alarm, error) {
	a, err := s.o.Alarms.Alarm(ctx, id)
	if err == nil {
		err = caller.AllowAlarm(a, hearth.MayRead)
	}
	if err != nil {
		return hearth.Alarm{}, err
	}
	return a, nil
}

// act changes an alarm for a caller, with an entry in its history and in the audit, and publishes it. change returns an entry without Event
// for an alarm that is to stay as it is. CodeNotFound, CodeForbidden, CodeConflict (the history is full), and the errors of key.
func (s *Service) act(
	ctx context.Context, caller hearth.Caller, id, action string, key *hearth.IdempotencyRequest,
	change func(hearth.Alarm, *hearth.Watch) (hearth.Alarm, hearth.AlarmEntry),
) (hearth.Alarm, error) {
	a, err := s.Alarm(ctx, caller, id)
	if err == nil {
		err = caller.AllowAlarm(a, hearth.MayEdit)
	}
	if err != nil {
		return hearth.Alarm{}, err
	}
	now := s.now()
	apply := func(a hearth.Alarm, w *hearth.Watch) (hearth.Alarm, bool) {
		after, entry := change(a, w)
		entry.At, entry.UserID = now, caller.UserID
		after.History = append(slices.Clip(a.History), entry)
		return after, entry.Event != ""
	}
	after, changes := apply(a, &hearth.Watch{})
	if !changes {
		return a, nil
	}
	record, err := key.Record(after)
	if err != nil {
		return hearth.Alarm{}, err
	}
	jobs, err := s.jobsOf(ctx, a, after, now)
	if err != nil {
		return hearth.Alarm{}, err
	}
	unlock, err := s.under.Lock(ctx, a.DeviceID)
	if err != nil {
		return hearth.Alarm{}, err
	}
	defer unlock()
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{caller.Entry(now, action, "alarm:"+id)}, Jobs: jobs}
	after, err = s.o.Alarms.UpdateAlarm(ctx, id, func(a hearth.Alarm, w hearth.Watch) (hearth.Alarm, hearth.Watch, error) {
		after, changes := apply(a, &w)
		switch {
		case !changes:
			return a, w, nil
		case len(after.History) > hearth.MaxAlarmHistory && a.State == after.State:
			return a, w, hearth.Errorf(hearth.CodeConflict, "the alarm has %d entries in its history already", hearth.MaxAlarmHistory)
		}
		return after, w, nil
	}, effects)
	if err != nil {
		return hearth.Alarm{}, err
	}
	s.publish(after, now)
	return after, nil
}

// jobsOf returns what follows where a user clears an alarm, as when it ends by itself.
func (s *Service) jobsOf(ctx context.Context, before, after hearth.Alarm, now time.Time) ([]hearth.OutboxJob, error) {
	if before.State == after.State {
		return nil, nil
	}
	h := happening{kind: judge.Cleared, alarm: after}
	rule, err := s.o.Rules.Rule(ctx, after.RuleID)
	switch {
	case err == nil:
		h.rule = &judge.Rule{Rule: rule}
	case hearth.ErrorCode(err) != hearth.CodeNotFound:
		return nil, err
	}
	of := &sitting{id: after.DeviceID, now: now, notes: map[noteKey]hearth.WebhookNote{}}
	if err := s.note(ctx, []happening{h}, of.notes); err != nil {
		return nil, err
	}
	return of.jobs(h)
}

// Acknowledge notes that the caller has seen an alarm; one that is acknowledged stays as it is. Errors: see act.
func (s *Service) Acknowledge(ctx context.Context, caller hearth.Caller, id string) (hearth.Alarm, error) {
	return s.act(ctx, caller, id, "alarm.acknowledge", nil, func(a hearth.Alarm, _ *hearth.Watch) (hearth.Alarm, hearth.AlarmEntry) {
		if a.Acknowledged {
			return a, hearth.AlarmEntry{}
		}
		a.Acknowledged, a.AcknowledgedBy, a.AcknowledgedAt = true, caller.UserID, s.now()
		return a, hearth.AlarmEntry{Event: hearth.AlarmEntryAcknowledged}
	})
}

// Clear clears an alarm by hand; one that is cleared stays as it is. The condition must end before it raises again. Errors: see act.
func (s *Service) Clear(ctx context.Context, caller hearth.Caller, id string) (hearth.Alarm, error) {
	return s.act(ctx, caller, id, "alarm.clear", nil, func(a hearth.Alarm, w *hearth.Watch) (hearth.Alarm, hearth.AlarmEntry) {
		if a.State == hearth.AlarmCleared {
			return a, hearth.AlarmEntry{}
		}
		if state, known := w.Rules[a.RuleID]; known && state.AlarmID == a.ID {
			state.ByHand = true
			w.Rules[a.RuleID] = state
		}
		a.State, a.ClearedAt = hearth.AlarmCleared, s.now()
		return a, hearth.AlarmEntry{Event: hearth.AlarmEntryCleared}
	})
}

// Comment adds a comment to an alarm. CodeValidationFailed, CodeIdempotencyMismatch, *hearth.Replayed, and see act.
func (s *Service) Comment(ctx context.Context, caller hearth.Caller, id, text string, key *hearth.IdempotencyRequest) (hearth.Alarm, error) {
	if problem := hearth.CheckAlarmComment(text); problem != "" {
		return hearth.Alarm{}, hearth.Invalid(hearth.FieldError{Location: "body.text", Message: problem})
	}
	return s.act(ctx, caller, id, "alarm.comment", key, func(a hearth.Alarm, _ *hearth.Watch) (hearth.Alarm, hearth.AlarmEntry) {
		return a, hearth.AlarmEntry{Event: hearth.AlarmEntryComment, Text: text}
	})
}
