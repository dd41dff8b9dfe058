package alarms

import (
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/judge"
	"hearth/internal/newid"
)

const (
	// maxRules and maxSubjects bound what is kept of rules and of devices, in bytes.
	maxRules    = 256 << 20
	maxSubjects = 64 << 20
	// trust is how long rules count while messages of other processes may be missed.
	trust = time.Second
)

// ruleset are the rules of a scope, ready to judge, by what they pick devices by.
type ruleset struct {
	scope               hearth.Scope
	byID, byType, byTag map[string][]*judge.Rule
	// rest are rules for all devices.
	rest []*judge.Rule
	// versions are those of all rules, by id.
	versions map[string]int64
	// silence says that a rule watches for silence.
	silence bool
	bytes   int
	readAt  time.Time
}

func (set *ruleset) add(r *judge.Rule) {
	set.versions[r.ID] = r.Version
	set.silence = set.silence || r.Silent()
	set.bytes += 1500 + 4*len(r.Condition.Expression) + 80*len(r.Devices.IDs) + len(r.Name)
	switch pick := r.Devices; {
	case len(pick.IDs) > 0:
		for _, id := range pick.IDs {
			set.byID[id] = append(set.byID[id], r)
		}
	case pick.Tag != "":
		set.byTag[pick.Tag] = append(set.byTag[pick.Tag], r)
	case pick.Type != "":
		set.byType[pick.Type] = append(set.byType[pick.Type], r)
	default:
		set.rest = append(set.rest, r)
	}
}

// of returns the rules that are about a device of the scope, whose Tags must be known if needsTags.
func (set *ruleset) of(d *hearth.Device) (rules []*judge.Rule) {
	candidates := slices.Concat(set.byID[d.ID], set.byType[d.Type], set.rest)
	for _, tag := range d.Tags {
		candidates = append(candidates, set.byTag[tag]...)
	}
	for _, r := range candidates {
		if r.Devices.Pick(*d) {
			rules = append(rules, r)
		}
	}
	return rules
}

// EventsOf returns the events of which the values count for a rule, sorted.
func EventsOf(rule hearth.Rule) []string {
	r, problem := judge.New(rule)
	if problem != "" {
		return nil
	}
	return r.Events()
}

// needsTags reports whether the tags of a device count.
func (set *ruleset) needsTags(d *hearth.Device) bool {
	return len(set.byTag) > 0 || slices.ContainsFunc(set.byID[d.ID], func(r *judge.Rule) bool { return r.Devices.Tag != "" })
}

// rulesOf returns the enabled rules of a scope; fresh reads them anew.
func (s *Service) rulesOf(ctx context.Context, scope hearth.Scope, fresh bool) (*ruleset, error) {
	trusted := func(set *ruleset) bool { return !fresh && (s.heard.Load() || s.now().Sub(set.readAt) < trust) }
	if set, ok, _ := s.rules.Find(scope); ok && trusted(set) {
		return set, nil
	}
	unlock, err := s.loading.Lock(ctx, scope)
	if err != nil {
		return nil, err
	}
	defer unlock()
	set, ok, version := s.rules.Find(scope)
	if ok && trusted(set) {
		return set, nil
	}
	now := s.now()
	all, err := s.o.Rules.RulesOf(ctx, scope)
	if err != nil {
		return nil, err
	}
	set = &ruleset{
		scope: scope, byID: map[string][]*judge.Rule{}, byType: map[string][]*judge.Rule{}, byTag: map[string][]*judge.Rule{},
		versions: map[string]int64{}, readAt: now,
	}
	for _, one := range all {
		r, problem := judge.New(one)
		if problem != "" {
			s.o.Logger.ErrorContext(ctx, "a rule is not understood and judges nothing", "rule", one.ID, "problem", problem)
			continue
		}
		set.add(r)
	}
	s.rules.Keep(version, scope, set)
	return set, nil
}

// subject is what the rules of a ruleset are for one version of a device.
type subject struct {
	set     *ruleset
	version int64
	events  map[string]bool
	// signs are the events of which any reading ends a silence; "" is all.
	signs map[string]bool
	// offline is the shortest time without a sign of life that a rule watches for; zero: none does.
	offline time.Duration
}

func sizeOfRules(_ hearth.Scope, set *ruleset) int { return 200 + set.bytes }

func sizeOfSubject(id string, of *subject) int {
	return 150 + len(id) + 60*len(of.events) + 60*len(of.signs)
}

// subjectOf returns what the rules are for a device, whose Tags may be missing.
func (s *Service) subjectOf(ctx context.Context, d *hearth.Device) (*subject, error) {
	set, err := s.rulesOf(ctx, d.Scope(), false)
	if err != nil || len(set.versions) == 0 {
		return &none, err
	}
	known, ok, version := s.subjects.Find(d.ID)
	if ok && known.set == set && known.version == d.Version {
		return known, nil
	}
	if set.needsTags(d) {
		read, err := s.o.Devices.DevicesByID(ctx, []string{d.ID})
		if err != nil || len(read) == 0 {
			return &none, err
		}
		if d = &read[0]; d.Scope() != set.scope {
			return &none, nil
		}
	}
	of := &subject{set: set, version: d.Version, events: map[string]bool{}}
	for _, r := range set.of(d) {
		for _, event := range r.Events() {
			of.events[event] = true
		}
		switch c := r.Condition; {
		case c.NoData != nil:
			if of.signs == nil {
				of.signs = map[string]bool{}
			}
			of.signs[c.NoData.Event] = true
		case c.OfflineFor > 0 && (of.offline == 0 || c.OfflineFor < of.offline):
			of.offline = c.OfflineFor
		}
	}
	s.subjects.Keep(version, d.ID, of)
	return of, nil
}

var none = subject{} // never written to

// sign is a reading that ends a silence and whose value does not count: one of a batch is enough.
type sign struct {
	device int64
	event  string
}

// Watched returns those of the entries that rules have to judge, for AppendLogs to store with the logs; Device of an entry is the index
// into devices. Once that is done, Wake is to be called with the devices.
func (s *Service) Watched(ctx context.Context, devices []*hearth.Device, entries []hearth.LogEntry) (waiting []hearth.Unjudged, err error) {
	var subjects []*subject // nil while no device has any
	for i, d := range devices {
		of, err := s.subjectOf(ctx, d)
		if err != nil {
			return nil, err
		}
		if len(of.events) == 0 && len(of.signs) == 0 {
			continue
		}
		if subjects == nil {
			subjects = make([]*subject, len(devices))
		}
		subjects[i] = of
	}
	if subjects == nil {
		return nil, nil
	}
	now := s.now()
	at := make(map[int64]int, len(devices)) // where in waiting a device is
	noted := map[sign]bool{}
	for i := range entries {
		e := &entries[i]
		of := subjects[e.Device]
		if of == nil {
			continue
		}
		if !of.events[e.Event] {
			what := sign{e.Device, e.Event}
			if !of.signs[e.Event] {
				what.event = ""
			}
			if !of.signs[what.event] || noted[what] {
				continue
			}
			noted[what] = true
		}
		n, known := at[e.Device]
		if !known {
			n = len(waiting)
			at[e.Device] = n
			waiting = append(waiting, hearth.Unjudged{ID: newid.New(), DeviceID: devices[e.Device].ID, ReceivedAt: now})
		}
		waiting[n].Readings = append(waiting[n].Readings, hearth.Reading{Event: e.Event, Value: e.Value, At: time.UnixMilli(e.At).UTC()})
	}
	return waiting, nil
}
