package judge

import (
	"maps"
	"slices"
	"time"

	"hearth"
)

// Rule is a rule that is ready to judge. It never changes.
type Rule struct {
	hearth.Rule
	expression *expression // nil for another condition
	schedule   *schedule
	events     []string
}

// New returns a rule that Validate accepts, ready to judge, or the problem of its expression: a sentence's end.
func New(rule hearth.Rule) (r *Rule, problem string) {
	r = &Rule{Rule: rule}
	switch c := rule.Condition; {
	case c.Expression != "":
		if r.expression, problem = parseExpression(c.Expression); problem != "" {
			return nil, problem
		}
		r.events = r.expression.events
	case c.Silence() == 0:
		r.events = []string{c.Event}
	}
	if s := rule.Schedule; s != nil {
		zone, err := hearth.TimeZone(s.TimeZone)
		if err != nil {
			return nil, err.Error()
		}
		r.schedule = &schedule{*s, zone}
	}
	return r, ""
}

// Events returns the events that the rule looks at, sorted: those of which values count.
func (r *Rule) Events() []string { return r.events }

// Needs returns the events of which the rule has to know a value that came before the readings that it judges.
func (r *Rule) Needs() []string {
	if r.expression == nil {
		return nil
	}
	return r.events
}

// Kind says what a Change is.
type Kind string

// The kinds of changes.
const (
	Raised  Kind = "raised"
	Seen    Kind = "seen" // the condition was met once more
	Cleared Kind = "cleared"
)

// Change is a change of an alarm.
type Change struct {
	Kind    Kind
	Rule    *Rule // nil for an alarm of a rule that is gone
	AlarmID string
	// At is when the alarm was raised or cleared.
	At time.Time
	// Reading is what met the condition; nil in Cleared, and where a silence did.
	Reading *hearth.Reading
	// Reason says why an alarm was cleared that did not end by itself.
	Reason string
}

// The reasons.
const (
	ReasonChanged = "the rule was changed, disabled or deleted"
	ReasonMoved   = "the rule is not about the device any more"
)

// Judge judges one device.
type Judge struct {
	watch   hearth.Watch
	rules   []*Rule
	life    Life
	now     time.Time
	events  map[string]bool
	newID   func() string
	changes []Change
}

// Begin returns a judge of a device for the rules that are about it. Alarms of other rules are cleared, at the time now; reason says why
// that of a rule's id is. newID returns the ids of new alarms.
func Begin(watch hearth.Watch, rules []*Rule, life Life, now time.Time, reason func(ruleID string) string, newID func() string) *Judge {
	j := &Judge{watch: watch, rules: rules, life: life, now: now, events: map[string]bool{}, newID: newID}
	j.watch.Values = maps.Clone(watch.Values)
	j.watch.Rules = maps.Clone(watch.Rules)
	if j.watch.Values == nil {
		j.watch.Values = map[string]hearth.Reading{}
	}
	if j.watch.Rules == nil {
		j.watch.Rules = map[string]hearth.RuleState{}
	}
	known := make(map[string]*Rule, len(rules))
	for _, r := range rules {
		known[r.ID] = r
		for _, event := range r.events {
			j.events[event] = true
		}
	}
	maps.DeleteFunc(j.watch.Values, func(event string, _ hearth.Reading) bool { return !j.events[event] })
	for _, id := range slices.Sorted(maps.Keys(j.watch.Rules)) {
		s := j.watch.Rules[id]
		if r := known[id]; r != nil && r.Version == s.Version {
			continue
		}
		delete(j.watch.Rules, id)
		if s.AlarmID != "" && !s.ByHand {
			j.changes = append(j.changes, Change{Kind: Cleared, AlarmID: s.AlarmID, At: now, Reason: reason(id)})
		}
	}
	j.heard()
	return j
}

// Know adds values that came before those that are judged, where none are known. One without At says that there is none.
func (j *Judge) Know(values map[string]hearth.Reading) {
	for event, reading := range values {
		if _, known := j.watch.Values[event]; !known && j.events[event] {
			j.watch.Values[event] = reading
		}
	}
}

// Missing returns the events that rules need and of which it is not known whether there is a value.
func (j *Judge) Missing() (events []string) {
	for _, r := range j.rules {
		for _, event := range r.Needs() {
			if _, known := j.watch.Values[event]; !known && !slices.Contains(events, event) {
				events = append(events, event)
			}
		}
	}
	return events
}

// Batch judges readings that came in together; none are a sign of life.
func (j *Judge) Batch(readings []hearth.Reading, received time.Time) {
	j.Tick(received.Add(-time.Nanosecond)) // what is due just then, the readings may decide
	j.signs(readings, received)
	readings = slices.DeleteFunc(slices.Clone(readings), func(r hearth.Reading) bool { return !j.events[r.Event] })
	slices.SortStableFunc(readings, func(a, b hearth.Reading) int { return a.At.Compare(b.At) })
	for len(readings) > 0 {
		n := 1
		for n < len(readings) && readings[n].At.Equal(readings[0].At) {
			n++
		}
		j.together(readings[:n], received)
		readings = readings[n:]
	}
}

// together judges readings of one time: an expression is looked at once all of them are known.
func (j *Judge) together(readings []hearth.Reading, received time.Time) {
	var newest *hearth.Reading
	var events []string
	for i := range readings {
		reading := &readings[i]
		known := j.watch.Values[reading.Event]
		if known.At.After(reading.At) || known.At.Equal(reading.At) && known.Value == reading.Value {
			continue // late, or the same once more
		}
		j.watch.Values[reading.Event] = *reading
		newest, events = reading, append(events, reading.Event)
		for _, r := range j.rules {
			if r.expression == nil && r.Condition.Event == reading.Event {
				j.look(r, reading, reading.At, received, met(r.Condition, reading.Value), ended(r.Condition, reading.Value))
			}
		}
	}
	for _, r := range j.rules {
		if r.expression != nil && slices.ContainsFunc(r.events, func(event string) bool { return slices.Contains(events, event) }) {
			met := r.expression.met(j.watch.Values)
			j.look(r, newest, j.newest(r).At, received, met, !met)
		}
	}
}

// newest returns the newest of the readings that a rule looks at.
func (j *Judge) newest(r *Rule) (newest hearth.Reading) {
	for _, event := range r.events {
		if reading := j.watch.Values[event]; newest.At.Before(reading.At) {
			newest = reading
		}
	}
	return newest
}

// look moves a rule by a reading, that of the time at.
func (j *Judge) look(r *Rule, reading *hearth.Reading, at, received time.Time, met, ended bool) {
	s, holds := j.watch.Rules[r.ID]
	switch {
	case !holds && !met:
		return
	case !holds:
		s = hearth.RuleState{Version: r.Version, Phase: hearth.RulePending, Since: at, Arrived: received}
	case s.Phase == hearth.RulePending && !met:
		delete(j.watch.Rules, r.ID)
		return
	}
	if s.Phase == hearth.RulePending {
		if raised, ok := r.schedule.met(s.Since, r.Condition.For); ok && !raised.After(at) {
			s = j.raise(r, s, raised, *reading)
		}
		j.watch.Rules[r.ID] = s
		return
	}
	if met {
		j.change(s, Change{Kind: Seen, Rule: r, AlarmID: s.AlarmID, At: at, Reading: reading})
	}
	switch {
	case !ended:
		s.Phase = hearth.RuleActive
	case s.Phase == hearth.RuleActive:
		s.Phase, s.Since, s.Arrived = hearth.RuleEnding, at, received
	}
	j.watch.Rules[r.ID] = s
	if over := s.Since.Add(r.Condition.ClearFor); s.Phase == hearth.RuleEnding && !over.After(at) {
		j.clear(r, s, over)
	}
}

// Tick moves the rules by the time alone.
func (j *Judge) Tick(now time.Time) {
	for _, r := range j.rules {
		s, holds := j.watch.Rules[r.ID]
		if !holds {
			continue
		}
		if r.Silent() {
			j.tickSilence(r, s, now)
			continue
		}
		due := r.due(s)
		switch {
		case due.IsZero() || due.After(now):
		case s.Phase == hearth.RulePending:
			raised, _ := r.schedule.met(s.Since, r.Condition.For)
			j.watch.Rules[r.ID] = j.raise(r, s, raised, j.newest(r))
		default:
			j.clear(r, s, s.Since.Add(r.Condition.ClearFor))
		}
	}
}

// due returns when a state of a threshold or an expression changes by itself: as long after its reading came in as its time lasts, and
// within the schedule. Zero: never.
func (r *Rule) due(s hearth.RuleState) time.Time {
	switch s.Phase {
	case hearth.RulePending:
		raised, ok := r.schedule.met(s.Since, r.Condition.For)
		if !ok {
			return time.Time{}
		}
		due := s.Arrived.Add(r.Condition.For)
		if r.schedule != nil && raised.After(due) {
			due = raised
		}
		return due
	case hearth.RuleEnding:
		return s.Arrived.Add(r.Condition.ClearFor)
	case hearth.RuleActive:
	}
	return time.Time{}
}

func (j *Judge) raise(r *Rule, s hearth.RuleState, at time.Time, reading hearth.Reading) hearth.RuleState {
	s.Phase, s.AlarmID, s.Since, s.Arrived = hearth.RuleActive, j.newID(), time.Time{}, time.Time{}
	j.changes = append(j.changes, Change{Kind: Raised, Rule: r, AlarmID: s.AlarmID, At: at, Reading: &reading})
	return s
}

func (j *Judge) clear(r *Rule, s hearth.RuleState, at time.Time) {
	delete(j.watch.Rules, r.ID)
	j.change(s, Change{Kind: Cleared, Rule: r, AlarmID: s.AlarmID, At: at})
}

// change notes a change of an alarm, unless a user cleared it.
func (j *Judge) change(s hearth.RuleState, c Change) {
	if !s.ByHand {
		j.changes = append(j.changes, c)
	}
}

// End returns what is known of the device then, and the changes in order.
func (j *Judge) End() (hearth.Watch, []Change) {
	j.watch.Due = time.Time{}
	for _, r := range j.rules {
		if s, holds := j.watch.Rules[r.ID]; holds {
			due := r.due(s)
			if r.Silent() {
				due = j.silenceDue(r, s)
			}
			if !due.IsZero() && (j.watch.Due.IsZero() || due.Before(j.watch.Due)) {
				j.watch.Due = due
			}
		}
	}
	return j.watch, j.changes
}

// Episode is what an alarm would have been.
type Episode struct {
	RaisedAt  time.Time
	ClearedAt time.Time     // zero if it goes on
	Value     *hearth.Value // the newest that met the condition; nil for a silence
}

// Replay returns the episodes of a rule over stored readings of one device, in the order of their time, as if each had come in when it was
// read, up to the time now.
func Replay(r *Rule, readings []hearth.Reading, life Life, now time.Time) (episodes []Episode) {
	if len(readings) > 0 && readings[0].At.Before(life.Created) {
		life.Created = readings[0].At
	}
	j := Begin(hearth.Watch{}, []*Rule{r}, life, now, func(string) string { return "" }, func() string { return "e" })
	j.Listen(nil)
	for len(readings) > 0 {
		n := 1
		for n < len(readings) && readings[n].At.Equal(readings[0].At) {
			n++
		}
		j.Batch(readings[:n], readings[0].At)
		readings = readings[n:]
	}
	j.Tick(now)
	for _, c := range j.changes {
		last := len(episodes) - 1
		switch c.Kind {
		case Raised:
			episodes = append(episodes, Episode{RaisedAt: c.At})
			if c.Reading != nil {
				episodes[last+1].Value = &c.Reading.Value
			}
		case Seen:
			episodes[last].Value = &c.Reading.Value
		case Cleared:
			episodes[last].ClearedAt = c.At
		}
	}
	return episodes
}
