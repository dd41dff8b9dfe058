package alarms

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"hearth"
	"hearth/internal/judge"
	"hearth/internal/newid"
	"hearth/internal/queue"
)

const (
	// judges is how many devices are judged at once.
	judges = 16
	// maxReads bounds how often a judgement reads rules or values anew.
	maxReads = 5
	// retryAfter is when a device is judged again whose judgement failed.
	retryAfter = time.Second
)

// Wake has devices judged whose readings are stored. It returns at once.
func (s *Service) Wake(waiting []hearth.Unjudged) {
	for i := range waiting {
		s.work.add(waiting[i].DeviceID)
	}
}

func (s *Service) judgeAll(ctx context.Context) {
	for {
		id, ok := s.work.next()
		if !ok {
			return
		}
		if err := s.judge(ctx, id); err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "a device could not be judged", "device", id, "err", err)
			time.AfterFunc(retryAfter, func() { s.work.add(id) })
		}
		s.work.done(id)
	}
}

// judge judges all that waits of a device, and what is due.
func (s *Service) judge(ctx context.Context, id string) error {
	unlock, err := s.under.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	for more := true; more; {
		if more, err = s.judgeSome(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// What a judgement lacks.
var (
	errOldRules = errors.New("alarms: the rules that are known are not those of now")
	errValues   = errors.New("alarms: earlier values are not known")
)

// judgeSome judges some of what waits of a device, in one step, and publishes what happened.
func (s *Service) judgeSome(ctx context.Context, id string) (more bool, err error) {
	var sitting *sitting
	fresh := false
	var values map[string]hearth.Reading
	for range maxReads {
		if sitting, err = s.sit(ctx, id, fresh, values); err != nil {
			return false, err
		}
		more, err = s.o.Alarms.Judge(ctx, id, sitting.verdict)
		switch {
		case errors.Is(err, errOldRules):
			fresh = true
			continue
		case errors.Is(err, errValues):
			if values, err = s.latest(ctx, sitting.device.Key); err != nil {
				return false, err
			}
			continue
		case hearth.ErrorCode(err) == hearth.CodeNotFound:
			continue // the device went just now
		}
		break
	}
	if err != nil {
		return false, err
	}
	s.happened(sitting)
	return more, nil
}

// latest returns the newest readings of a device by event.
func (s *Service) latest(ctx context.Context, device int64) (map[string]hearth.Reading, error) {
	entries, err := s.o.Logs.LatestLogs(ctx, []int64{device})
	values := make(map[string]hearth.Reading, len(entries))
	for _, e := range entries {
		values[e.Event] = hearth.Reading{Event: e.Event, Value: e.Value, At: time.UnixMilli(e.At).UTC()}
	}
	return values, err
}

// sitting is one judgement of a device.
type sitting struct {
	id     string
	device *hearth.Device // nil if it is gone
	// set has the rules of its scope, rules those that are about it.
	set   *ruleset
	rules []*judge.Rule
	now   time.Time
	// fresh says that the rules were read for it; values are earlier readings, nil if they were not read.
	fresh  bool
	values map[string]hearth.Reading

	// What comes of it.
	batches int
	outcome []happening
	due     time.Time
}

// happening is what happened to an alarm.
type happening struct {
	kind  judge.Kind
	alarm hearth.Alarm
	rule  *judge.Rule // nil if it is gone
}

func (s *Service) sit(ctx context.Context, id string, fresh bool, values map[string]hearth.Reading) (*sitting, error) {
	of := &sitting{id: id, now: s.now(), fresh: fresh, values: values}
	found, err := s.o.Devices.DevicesByID(ctx, []string{id})
	if err != nil || len(found) == 0 {
		return of, err
	}
	of.device = &found[0]
	if of.set, err = s.rulesOf(ctx, of.device.Scope(), fresh); err == nil {
		of.rules = of.set.of(of.device)
	}
	return of, err
}

// verdict judges: see hearth.AlarmStore.
func (of *sitting) verdict(watch hearth.Watch, waiting []hearth.Unjudged, alarm func(id string) (hearth.Alarm, error)) (hearth.Verdict, error) {
	of.batches, of.outcome = len(waiting), nil
	if of.device == nil {
		return hearth.Verdict{Watch: hearth.Watch{DeviceID: of.id}}, nil
	}
	if of.outdated(watch) {
		return hearth.Verdict{}, errOldRules
	}
	j := judge.Begin(watch, of.rules, of.now, of.reason, newid.New)
	if missing := of.missing(j, waiting); len(missing) > 0 {
		if of.values == nil {
			return hearth.Verdict{}, errValues
		}
		earlier := make(map[string]hearth.Reading, len(missing))
		for _, event := range missing {
			earlier[event] = of.values[event]
		}
		j.Know(earlier)
	}
	for _, u := range waiting {
		j.Batch(u.Readings, u.ReceivedAt)
	}
	j.Tick(of.now)
	after, changes := j.End()
	of.due = after.Due
	verdict := hearth.Verdict{Watch: after}
	return of.apply(verdict, changes, alarm)
}

// outdated reports whether something is known of other rules than those at hand, which may be old.
func (of *sitting) outdated(watch hearth.Watch) bool {
	for id, state := range watch.Rules {
		version := of.set.versions[id]
		if version != state.Version && !of.fresh || 0 < version && version < state.Version {
			return true
		}
	}
	return false
}

// reason says why the alarm of a rule that is not about the device is cleared.
func (of *sitting) reason(ruleID string) string {
	for _, r := range of.rules {
		if r.ID == ruleID {
			return judge.ReasonChanged
		}
	}
	if of.set.versions[ruleID] > 0 {
		return judge.ReasonMoved
	}
	return judge.ReasonChanged
}

// missing returns the events of which rules need an earlier value, and of which none waits.
func (of *sitting) missing(j *judge.Judge, waiting []hearth.Unjudged) []string {
	return slices.DeleteFunc(j.Missing(), func(event string) bool {
		return slices.ContainsFunc(waiting, func(u hearth.Unjudged) bool {
			return slices.ContainsFunc(u.Readings, func(r hearth.Reading) bool { return r.Event == event })
		})
	})
}

// apply makes the alarms of the changes.
func (of *sitting) apply(verdict hearth.Verdict, changes []judge.Change, read func(id string) (hearth.Alarm, error)) (hearth.Verdict, error) {
	alarms := map[string]hearth.Alarm{}
	var order []string // of those that were there
	for _, c := range changes {
		alarm, known := alarms[c.AlarmID]
		switch {
		case c.Kind == judge.Raised:
			alarm = of.raise(c)
		case !known:
			var err error
			alarm, err = read(c.AlarmID)
			if hearth.ErrorCode(err) == hearth.CodeNotFound {
				continue // cleaned up
			}
			if err != nil {
				return verdict, err
			}
			order = append(order, c.AlarmID)
		}
		if c.Reading != nil {
			value := c.Reading.Value
			alarm.Value, alarm.LastAt = &value, c.Reading.At
			alarm.Count++
		}
		if c.Kind == judge.Cleared {
			alarm = alarm.Clear(c.At, hearth.AlarmEntry{At: of.now, Text: c.Reason})
		}
		alarms[c.AlarmID] = alarm
		of.outcome = append(of.outcome, happening{c.Kind, alarm, c.Rule})
	}
	for _, c := range changes {
		if c.Kind == judge.Raised {
			verdict.Raised = append(verdict.Raised, alarms[c.AlarmID])
		}
	}
	for _, id := range order {
		verdict.Changed = append(verdict.Changed, alarms[id])
	}
	for _, h := range of.outcome {
		jobs, err := of.jobs(h)
		if err != nil {
			return verdict, err
		}
		verdict.Effects.Jobs = append(verdict.Effects.Jobs, jobs...)
	}
	return verdict, nil
}

func (of *sitting) raise(c judge.Change) hearth.Alarm {
	r := c.Rule
	return hearth.Alarm{
		ID: c.AlarmID, Scope: r.Scope(), RuleID: r.ID, RuleName: r.Name, DeviceID: of.id, DeviceName: of.device.Name, Severity: r.Severity,
		State: hearth.AlarmActive, RaisedAt: hearth.Millis(c.At), History: []hearth.AlarmEntry{{At: of.now, Event: hearth.AlarmEntryRaised}},
	}
}

// jobs returns what the rule wants done.
func (of *sitting) jobs(h happening) (jobs []hearth.OutboxJob, err error) {
	if h.rule == nil || h.kind == judge.Seen {
		return nil, nil
	}
	for _, action := range h.rule.Actions {
		if h.kind == judge.Raised && !action.OnRaise || h.kind == judge.Cleared && !action.OnClear {
			continue
		}
		payload, err := json.Marshal(hearth.AlarmNotice{
			AlarmID: h.alarm.ID, What: string(h.kind), Group: action.Notify, Users: action.Users,
		})
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, hearth.OutboxJob{
			ID: queue.NewID(of.now), Kind: hearth.JobAlarm, Queue: string(queue.Notification), Payload: payload,
		})
	}
	return jobs, nil
}

// happened publishes what a judgement changed, and has the background work look at what is due.
func (s *Service) happened(of *sitting) {
	s.judged.Add(uint64(of.batches))
	for _, h := range of.outcome {
		switch h.kind {
		case judge.Raised:
			s.raised.Add(1)
			s.publish(h.alarm, of.now)
		case judge.Cleared:
			s.cleared.Add(1)
			s.publish(h.alarm, of.now)
		case judge.Seen:
			s.repeat(h.alarm)
		}
	}
	if !of.due.IsZero() && of.due.Before(of.now.Add(watchEvery)) {
		s.lookNow()
	}
}
