package judge

import (
	"time"

	"hearth"
)

// settle is how much later than it is over a silence is judged: what came in before has been stored then.
const settle = 200 * time.Millisecond

// later is when a silence is judged whose time is over while it is not known whether hearth was down.
const later = time.Second

// Life is what is known of a device and of hearth itself, for rules that watch for silence.
type Life struct {
	// Created is when the device was made, Heard when it gave its last sign of life (zero before the first). It is online until Until,
	// where a connection says so.
	Created, Heard, Until time.Time
	// Outages are when hearth was down, in order, up to the time Known: what is over later is judged later.
	Outages []hearth.Outage
	Known   time.Time
}

// Silent reports whether the rule watches for silence.
func (r *Rule) Silent() bool { return r.Condition.Silence() > 0 }

// listens reports whether a reading of an event ends a silence that the rule watches for.
func (r *Rule) listens(event string) bool {
	n := r.Condition.NoData
	return n != nil && (n.Event == "" || n.Event == event)
}

// Unheard reports whether a rule watches for readings of which it is not known when the last one came: Listen is to be called.
func (j *Judge) Unheard() bool {
	for _, r := range j.rules {
		if _, holds := j.watch.Rules[r.ID]; !holds && r.Condition.NoData != nil {
			return true
		}
	}
	return false
}

// Listen has rules that watch for readings begin, with the newest readings of the device by event. Readings may come in long after their
// time, and when they did is not known: where there is one, the last sign of life counts too.
func (j *Judge) Listen(newest map[string]hearth.Reading) {
	for _, r := range j.rules {
		if _, holds := j.watch.Rules[r.ID]; holds || r.Condition.NoData == nil {
			continue
		}
		var last time.Time
		for event, reading := range newest {
			if r.listens(event) && reading.At.After(last) {
				last = reading.At
			}
		}
		if !last.IsZero() {
			last = latest(last, j.life.Heard)
		}
		j.begin(r, last)
	}
}

// begin has a rule watch for a silence since a sign of life; since it can, where there was none.
func (j *Judge) begin(r *Rule, last time.Time) {
	since := last
	if since.IsZero() {
		since = latest(j.life.Created, r.CreatedAt)
	}
	if since.After(j.now) {
		since = j.now
	}
	j.watch.Rules[r.ID] = hearth.RuleState{Version: r.Version, Phase: hearth.RulePending, Since: since, Arrived: last}
}

// heard notes the last sign of life of the device, for the rules about its being offline.
func (j *Judge) heard() {
	for _, r := range j.rules {
		if r.Condition.OfflineFor == 0 {
			continue
		}
		s, holds := j.watch.Rules[r.ID]
		switch {
		case !holds:
			j.begin(r, j.life.Heard)
		case j.life.Heard.After(s.Arrived):
			j.sign(r, j.life.Heard)
		}
	}
}

// signs notes readings that came in together, or a sign of life, if there are none.
func (j *Judge) signs(readings []hearth.Reading, received time.Time) {
	for _, r := range j.rules {
		ends := r.Condition.OfflineFor > 0
		for i := 0; i < len(readings) && !ends; i++ {
			ends = r.listens(readings[i].Event)
		}
		if ends {
			j.sign(r, received)
		}
	}
}

// sign ends the silence of a rule, and begins the next one.
func (j *Judge) sign(r *Rule, at time.Time) {
	s := j.watch.Rules[r.ID]
	since := at
	if s.Since.After(at) && !s.Since.After(j.now) {
		since = s.Since // it came in elsewhere, and earlier
	}
	if s.Phase == hearth.RuleActive {
		j.change(s, Change{Kind: Cleared, Rule: r, AlarmID: s.AlarmID, At: since})
	}
	j.watch.Rules[r.ID] = hearth.RuleState{Version: r.Version, Phase: hearth.RulePending, Since: since, Arrived: latest(s.Arrived, j.life.Heard)}
}

// maxWindows bounds the windows of a schedule in which a silence is looked for that outages make longer.
const maxWindows = 100

// silenceOver returns when a silence has lasted as long as its rule says, the outages of hearth aside; ok is false if the schedule has no
// window that is long enough.
func (j *Judge) silenceOver(r *Rule, s hearth.RuleState) (at time.Time, ok bool) {
	lasting := r.Condition.Silence()
	for range maxWindows {
		if at, ok = r.schedule.met(s.Since, lasting); !ok {
			return at, false
		}
		begin := at.Add(-lasting)
		with := j.withOutages(begin, r.Condition.Silence())
		if with == lasting {
			break
		}
		lasting = with // which may be too long for the window
	}
	if r.Condition.OfflineFor > 0 {
		at = latest(at, j.life.Until)
	}
	return at, true
}

// withOutages returns how long it takes from a time on until hearth was up for as long as d.
func (j *Judge) withOutages(begin time.Time, d time.Duration) time.Duration {
	end := begin.Add(d)
	for _, o := range j.life.Outages {
		from := latest(o.From, begin)
		ahead := o.To.After(j.now) // the clock was set back since
		if from.Before(end) && o.To.After(from) && !ahead {
			end = end.Add(o.To.Sub(from))
		}
	}
	return end.Sub(begin)
}

// tickSilence raises the alarm of a silence that is over at the time now.
func (j *Judge) tickSilence(r *Rule, s hearth.RuleState, now time.Time) {
	at, ok := j.silenceOver(r, s)
	if s.Phase != hearth.RulePending || !ok || at.Add(settle).After(now) || at.After(j.life.Known) {
		return
	}
	s.Phase, s.AlarmID = hearth.RuleActive, j.newID()
	j.changes = append(j.changes, Change{Kind: Raised, Rule: r, AlarmID: s.AlarmID, At: at})
	j.watch.Rules[r.ID] = s
}

// silenceDue returns when a silence is to be judged; zero: never.
func (j *Judge) silenceDue(r *Rule, s hearth.RuleState) time.Time {
	at, ok := j.silenceOver(r, s)
	if s.Phase != hearth.RulePending || !ok {
		return time.Time{}
	}
	if at = at.Add(settle); !at.After(j.now) {
		at = j.now.Add(later)
	}
	return at
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
