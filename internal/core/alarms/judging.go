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
	maxReads = 10
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
	errNotes    = errors.New("alarms: the webhooks of what happens are not known")
)

// judgeSome judges some of what waits of a device, in one step, and publishes what happened.
func (s *Service) judgeSome(ctx context.Context, id string) (more bool, err error) {
	var sitting *sitting
	fresh := false
	var values map[string]hearth.Reading
	notes := map[noteKey]hearth.WebhookNote{}
	for range maxReads {
		if sitting, err = s.sit(ctx, id, fresh, values); err != nil {
			return false, err
		}
		sitting.notes = notes
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
		case errors.Is(err, errNotes):
			if err = s.note(ctx, sitting.outcome, notes); err != nil {
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
	life  judge.Life
	now   time.Time
	// fresh says that the rules were read for it; values are earlier readings, nil if they were not read.
	fresh  bool
	values map[string]hearth.Reading
	// notes have webhooks sent what happens.
	notes map[noteKey]hearth.WebhookNote

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
	of.life = s.lifeOf(of.device)
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
	j := judge.Begin(watch, of.rules, of.life, of.now, of.reason, newid.New)
	if missing := of.missing(j, waiting); len(missing) > 0 || j.Unheard() {
		if of.values == nil {
			return hearth.Verdict{}, errValues
		}
		j.Listen(of.values)
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
			if c.Reading == nil {
				alarm.Count, alarm.LastAt = 1, alarm.RaisedAt
			}
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
			if c.Rule != nil && c.Rule.Silent() && c.At.Before(alarm.RaisedAt) { // the sign of life was stored only just after
				c.At = alarm.RaisedAt
			}
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

// noteKey says of which event, and by which rule and of which scope, webhooks are sent something.
type noteKey struct {
	event hearth.WebhookEvent
	scope hearth.Scope
	rule  string
}

// noteOf returns the key of what happened; ok is false for what no webhook is sent.
func noteOf(h happening) (key noteKey, ok bool) {
	events := map[judge.Kind]hearth.WebhookEvent{judge.Raised: hearth.WebhookAlarmRaised, judge.Cleared: hearth.WebhookAlarmCleared}
	event, ok := events[h.kind]
	return noteKey{event, h.alarm.Scope, h.alarm.RuleID}, ok
}

// wanted reports whether an action is to be taken.
func (h happening) wanted(a hearth.Action) bool {
	return h.kind == judge.Raised && a.OnRaise || h.kind == judge.Cleared && a.OnClear
}

// note learns which webhooks are sent what happens: those that subscribe to it, and those that actions name.
func (s *Service) note(ctx context.Context, outcome []happening, notes map[noteKey]hearth.WebhookNote) (err error) {
	for _, h := range outcome {
		key, ok := noteOf(h)
		if _, known := notes[key]; known || !ok {
			continue
		}
		var named []string
		if h.rule != nil {
			for _, a := range h.rule.Actions {
				if a.WebhookID != "" && h.wanted(a) {
					named = append(named, a.WebhookID)
				}
			}
		}
		if notes[key], err = s.o.Webhooks.WebhookNote(ctx, key.scope, key.event, named...); err != nil {
			return err
		}
	}
	return nil
}

// jobs returns what follows: webhooks are sent the alarm, and the rule's actions are taken.
func (of *sitting) jobs(h happening) (jobs []hearth.OutboxJob, err error) {
	key, ok := noteOf(h)
	if !ok {
		return nil, nil
	}
	note := of.notes[key]
	if note == nil {
		return nil, errNotes
	}
	if jobs, err = note(of.now, of.id, h.alarm); err != nil || h.rule == nil {
		return jobs, err
	}
	for _, action := range h.rule.Actions {
		if action.WebhookID != "" || !h.wanted(action) {
			continue
		}
		job := hearth.OutboxJob{ID: queue.NewID(of.now), Kind: hearth.JobAlarm, Queue: string(queue.Notification)}
		var payload any = hearth.AlarmNotice{AlarmID: h.alarm.ID, What: string(h.kind), Group: action.Notify, Users: action.Users}
		if c := action.Command; c != nil {
			job.Kind = hearth.JobCommand
			payload = hearth.CommandOrder{
				ID: newid.New(), DeviceID: of.id, Name: c.Name, Params: c.Params, CreatedBy: h.rule.OwnerID, CreatedAt: of.now,
			}
		}
		if job.Payload, err = json.Marshal(payload); err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
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
