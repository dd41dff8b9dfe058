package alarms

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"hearth"
	"hearth/internal/judge"
	"hearth/internal/newid"
	"hearth/internal/queue"
)

const (
	// judges is how many judge at once, and together how many devices each of them judges at once: what they need is read in one go.
	judges   = 16
	together = 4
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
		ids := s.work.next(together)
		if len(ids) == 0 {
			return
		}
		s.judge(ctx, ids, false, func(id string, err error) {
			if err != nil && ctx.Err() == nil {
				s.o.Logger.WarnContext(ctx, "a device could not be judged", "device", id, "err", err)
				time.AfterFunc(retryAfter, func() { s.work.add(id) })
			}
			s.work.done(id)
		})
	}
}

// judge judges all that waits of devices, each of which is named once, and what is due: each in steps of its own. done is called for each,
// by several goroutines. listen says that their newest readings are likely to be needed.
func (s *Service) judge(ctx context.Context, ids []string, listen bool, done func(id string, err error)) {
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids) // two that lock the same devices do so in one order
	unlocks := make([]func(), len(ids))
	var err error
	for i, id := range ids {
		if unlocks[i], err = s.under.Lock(ctx, id); err != nil {
			for _, unlock := range unlocks[:i] {
				unlock()
			}
			for _, id := range ids {
				done(id, err)
			}
			return
		}
	}
	found, err := s.o.Devices.DevicesByID(ctx, ids)
	values := sync.OnceValues(func() (map[int64]map[string]hearth.Reading, error) { return s.latest(ctx, found) })
	var judging sync.WaitGroup
	for i, id := range ids {
		judging.Go(func() {
			defer unlocks[i]()
			if err != nil {
				done(id, err)
				return
			}
			known := read{values: values, listen: listen}
			if n := slices.IndexFunc(found, func(d hearth.Device) bool { return d.ID == id }); n >= 0 {
				known.device = &found[n]
			}
			more, err := s.judgeSome(ctx, id, known)
			for more && err == nil {
				if known.device, err = s.device(ctx, id); err == nil {
					more, err = s.judgeSome(ctx, id, known)
				}
			}
			done(id, err)
		})
	}
	judging.Wait()
}

// judgeThese is judge that returns what failed.
func (s *Service) judgeThese(ctx context.Context, ids []string, listen bool) error {
	failures := make(chan error, len(ids))
	s.judge(ctx, ids, listen, func(_ string, err error) { failures <- err })
	var errs []error
	for range ids {
		errs = append(errs, <-failures)
	}
	return errors.Join(errs...)
}

// device returns a device; nil if it is gone.
func (s *Service) device(ctx context.Context, id string) (*hearth.Device, error) {
	found, err := s.o.Devices.DevicesByID(ctx, []string{id})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// read is what was read of a device together with others.
type read struct {
	device *hearth.Device // nil if it is gone
	// values reads the newest readings of all of them, once.
	values func() (map[int64]map[string]hearth.Reading, error)
	listen bool
}

// What a judgement lacks.
var (
	errOldRules = errors.New("alarms: the rules that are known are not those of now")
	errValues   = errors.New("alarms: earlier values are not known")
	errNotes    = errors.New("alarms: the webhooks of what happens are not known")
)

// judgeSome judges some of what waits of a device, in one step, and publishes what happened.
func (s *Service) judgeSome(ctx context.Context, id string, known read) (more bool, err error) {
	var sitting *sitting
	fresh, listen := false, known.listen
	notes := map[noteKey]hearth.WebhookNote{}
	for range maxReads {
		var values map[string]hearth.Reading
		if listen && known.device != nil {
			all, err := known.values()
			if err != nil {
				return false, err
			}
			if values = all[known.device.Key]; values == nil {
				values = map[string]hearth.Reading{}
			}
		}
		if sitting, err = s.sit(ctx, id, known.device, fresh); err != nil {
			return false, err
		}
		sitting.values, sitting.notes = values, notes
		more, err = s.o.Alarms.Judge(ctx, id, sitting.verdict)
		switch {
		case errors.Is(err, errOldRules):
			fresh = true
			continue
		case errors.Is(err, errValues):
			listen = true
			continue
		case errors.Is(err, errNotes):
			if err = s.note(ctx, sitting.outcome, notes); err != nil {
				return false, err
			}
			continue
		case hearth.ErrorCode(err) == hearth.CodeNotFound: // the device went just now
			if known.device, err = s.device(ctx, id); err != nil {
				return false, err
			}
			continue
		}
		break
	}
	if err != nil {
		return false, err
	}
	s.happened(sitting)
	return more, nil
}

// latest returns the newest readings of devices, by key and event.
func (s *Service) latest(ctx context.Context, devices []hearth.Device) (map[int64]map[string]hearth.Reading, error) {
	keys := make([]int64, len(devices))
	for i, d := range devices {
		keys[i] = d.Key
	}
	entries, err := s.o.Logs.LatestLogs(ctx, keys)
	values := make(map[int64]map[string]hearth.Reading, len(devices))
	for _, e := range entries {
		if values[e.Device] == nil {
			values[e.Device] = map[string]hearth.Reading{}
		}
		values[e.Device][e.Event] = hearth.Reading{Event: e.Event, Value: e.Value, At: time.UnixMilli(e.At).UTC()}
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
	// fresh says that the rules were read for it; otherwise changed reports whether they have changed since.
	fresh   bool
	changed func() bool
	// values are earlier readings, nil if they were not read.
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

func (s *Service) sit(ctx context.Context, id string, device *hearth.Device, fresh bool) (of *sitting, err error) {
	of = &sitting{id: id, device: device, now: s.now(), fresh: fresh}
	if device == nil {
		return of, nil
	}
	of.life = s.lifeOf(device)
	if of.set, err = s.rulesOf(ctx, device.Scope(), fresh); err == nil {
		of.rules = of.set.of(device)
	}
	of.changed = func() bool {
		set, ok, _ := s.rules.Find(device.Scope())
		return !ok || set != of.set
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

// outdated reports whether something is known of other rules than those at hand, which may be old: a reading that waits may have come after a
// new one was made.
func (of *sitting) outdated(watch hearth.Watch) bool {
	if !of.fresh && of.changed() {
		return true
	}
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
