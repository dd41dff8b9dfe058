package record

import (
	"context"
	"slices"
	"time"

	"hearth"
)

var _ hearth.AlarmStore = (*Aggregates)(nil)

// alarm is the stored form of hearth.Alarm. Times of readings, which may be of any year, are Unix milliseconds.
type alarm struct {
	ID             string            `json:"id"`
	Scope          hearth.Scope      `json:"scope"`
	RuleID         string            `json:"rule_id"`
	RuleName       string            `json:"rule_name"`
	DeviceID       string            `json:"device_id"`
	DeviceName     string            `json:"device_name"`
	Severity       hearth.Severity   `json:"severity"`
	State          hearth.AlarmState `json:"state"`
	Acknowledged   bool              `json:"acknowledged,omitempty"`
	AcknowledgedBy string            `json:"acknowledged_by,omitempty"`
	AcknowledgedAt time.Time         `json:"acknowledged_at,omitzero"`
	RaisedAt       int64             `json:"raised_at,omitempty"`
	ClearedAt      int64             `json:"cleared_at,omitempty"`
	Value          text              `json:"value,omitempty"` // the JSON of a hearth.Value; "" for none
	LastAt         int64             `json:"last_at,omitempty"`
	Count          int64             `json:"count,omitempty"`
	History        text              `json:"history,omitempty"` // the JSON of alarmEntries
	// Rank is Severity's, which lists are sorted by. GoneAt is when hearth cleared it; zero before.
	Rank   int       `json:"rank,omitempty"`
	GoneAt time.Time `json:"gone_at,omitzero"`
}

type alarmEntry struct {
	At     time.Time `json:"at,omitzero"`
	Event  string    `json:"event"`
	UserID string    `json:"user_id,omitempty"`
	Text   string    `json:"text,omitempty"`
}

var alarms = describe(&Kind[alarm]{Schema: Schema{
	Name: "alarms", Noun: "alarm",
	Indexes: []Index{
		{Fields: []string{"raised_at", "id"}}, {Fields: []string{"rank", "id"}},
		{Fields: []string{"scope", "raised_at", "id"}}, {Fields: []string{"scope", "state", "raised_at", "id"}}, {Fields: []string{"scope", "rank", "id"}},
		{Fields: []string{"device_id", "raised_at", "id"}}, {Fields: []string{"rule_id", "state", "raised_at", "id"}},
		{Fields: []string{"state", "gone_at"}},
	},
	Of: map[string]string{"device_id": "devices"},
}})

// alarmWatch is the stored form of hearth.Watch.
type alarmWatch struct {
	DeviceID string    `json:"device_id"`
	Known    text      `json:"known"` // the JSON of watchKnown
	Due      time.Time `json:"due,omitzero"`
}

type watchKnown struct {
	Values map[string]reading   `json:"values,omitempty"`
	Rules  map[string]ruleState `json:"rules,omitempty"`
}

// reading is a value; its time is in Unix milliseconds.
type reading struct {
	Event string       `json:"event,omitempty"`
	Value hearth.Value `json:"value"`
	At    int64        `json:"at"`
}

type ruleState struct {
	Version int64            `json:"version"`
	Phase   hearth.RulePhase `json:"phase"`
	Since   int64            `json:"since,omitempty"`
	Arrived int64            `json:"arrived,omitempty"`
	AlarmID string           `json:"alarm_id,omitempty"`
	ByHand  bool             `json:"by_hand,omitempty"`
}

var alarmWatches = describe(&Kind[alarmWatch]{Schema: Schema{
	Name: "alarm_watches", Noun: "watch of alarms", ID: []string{"device_id"}, Indexes: []Index{{Fields: []string{"due"}}},
	Of: map[string]string{"device_id": "devices"},
}})

// unjudgedReadings is the stored form of hearth.Unjudged.
type unjudgedReadings struct {
	ID         string    `json:"id"`
	DeviceID   string    `json:"device_id"`
	ReceivedAt time.Time `json:"received_at,omitzero"`
	Readings   text      `json:"readings"` // the JSON of readings
}

var unjudged = describe(&Kind[unjudgedReadings]{Schema: Schema{
	Name: "alarm_readings", Noun: "reading", Indexes: []Index{{Fields: []string{"device_id", "id"}}, {Fields: []string{"received_at"}}},
	Of: map[string]string{"device_id": "devices"},
}})

// StoredUnjudged returns readings as they are stored, for the stores, which write them with the logs.
func StoredUnjudged(u hearth.Unjudged) (s *Schema, record any) {
	stored := storedUnjudged(u)
	return &unjudged.Schema, &stored
}

func storedUnjudged(u hearth.Unjudged) unjudgedReadings {
	all := make([]reading, len(u.Readings))
	for i, r := range u.Readings {
		all[i] = reading{r.Event, r.Value, r.At.UnixMilli()}
	}
	return unjudgedReadings{u.ID, u.DeviceID, u.ReceivedAt, packed(all)}
}

func (r unjudgedReadings) unjudged() hearth.Unjudged {
	u := hearth.Unjudged{ID: r.ID, DeviceID: r.DeviceID, ReceivedAt: r.ReceivedAt}
	for _, one := range unpacked[[]reading](r.Readings) {
		u.Readings = append(u.Readings, hearth.Reading{Event: one.Event, Value: one.Value, At: fromMillis(one.At)})
	}
	return u
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func storedAlarm(a hearth.Alarm) alarm {
	entries := make([]alarmEntry, len(a.History))
	for i, e := range a.History {
		entries[i] = alarmEntry(e)
	}
	r := alarm{
		ID: a.ID, Scope: a.Scope, RuleID: a.RuleID, RuleName: a.RuleName, DeviceID: a.DeviceID, DeviceName: a.DeviceName, Severity: a.Severity,
		State: a.State, Acknowledged: a.Acknowledged, AcknowledgedBy: a.AcknowledgedBy, AcknowledgedAt: a.AcknowledgedAt,
		RaisedAt: a.RaisedAt.UnixMilli(), LastAt: a.LastAt.UnixMilli(), Count: a.Count, History: packed(entries), Rank: a.Severity.Rank(),
	}
	if a.Value != nil {
		r.Value = packed(*a.Value)
	}
	if a.State == hearth.AlarmCleared {
		r.ClearedAt = a.ClearedAt.UnixMilli()
		if n := len(entries); n > 0 {
			r.GoneAt = entries[n-1].At
		}
	}
	return r
}

func (r alarm) alarm() hearth.Alarm {
	a := hearth.Alarm{
		ID: r.ID, Scope: r.Scope, RuleID: r.RuleID, RuleName: r.RuleName, DeviceID: r.DeviceID, DeviceName: r.DeviceName, Severity: r.Severity,
		State: r.State, Acknowledged: r.Acknowledged, AcknowledgedBy: r.AcknowledgedBy, AcknowledgedAt: r.AcknowledgedAt,
		RaisedAt: fromMillis(r.RaisedAt), LastAt: fromMillis(r.LastAt), Count: r.Count,
	}
	if r.Value != "" {
		value := unpacked[hearth.Value](r.Value)
		a.Value = &value
	}
	if r.State == hearth.AlarmCleared {
		a.ClearedAt = fromMillis(r.ClearedAt)
	}
	for _, e := range unpacked[[]alarmEntry](r.History) {
		a.History = append(a.History, hearth.AlarmEntry(e))
	}
	return a
}

// listed is the alarm without its history.
func (r alarm) listed() hearth.Alarm {
	r.History = ""
	return r.alarm()
}

func storedWatch(w hearth.Watch) alarmWatch {
	known := watchKnown{Values: make(map[string]reading, len(w.Values)), Rules: make(map[string]ruleState, len(w.Rules))}
	for event, r := range w.Values {
		known.Values[event] = reading{Value: r.Value, At: r.At.UnixMilli()}
	}
	for id, s := range w.Rules {
		state := ruleState{Version: s.Version, Phase: s.Phase, AlarmID: s.AlarmID, ByHand: s.ByHand}
		if s.Phase != hearth.RuleActive || !s.Since.IsZero() {
			state.Since, state.Arrived = s.Since.UnixMilli(), s.Arrived.UnixMilli()
		}
		known.Rules[id] = state
	}
	return alarmWatch{w.DeviceID, packed(known), w.Due}
}

func (r alarmWatch) watch() hearth.Watch {
	known := unpacked[watchKnown](r.Known)
	w := hearth.Watch{DeviceID: r.DeviceID, Due: r.Due, Values: map[string]hearth.Reading{}, Rules: map[string]hearth.RuleState{}}
	for event, r := range known.Values {
		w.Values[event] = hearth.Reading{Event: event, Value: r.Value, At: fromMillis(r.At)}
	}
	for id, s := range known.Rules {
		state := hearth.RuleState{Version: s.Version, Phase: s.Phase, AlarmID: s.AlarmID, ByHand: s.ByHand}
		if s.Phase != hearth.RuleActive || s.Since != 0 {
			state.Since, state.Arrived = fromMillis(s.Since), fromMillis(s.Arrived)
		}
		w.Rules[id] = state
	}
	return w
}

// Alarm implements hearth.AlarmStore.
func (a *Aggregates) Alarm(ctx context.Context, id string) (hearth.Alarm, error) {
	return get(ctx, a.b, "Alarm", alarms, alarm.alarm, id)
}

// Alarms implements hearth.AlarmStore.
func (a *Aggregates) Alarms(ctx context.Context, filter hearth.AlarmFilter, page hearth.Page) (hearth.List[hearth.Alarm], error) {
	where := given(Eq("state", filter.State), Eq("severity", filter.Severity), Eq("device_id", filter.DeviceID), Eq("rule_id", filter.RuleID))
	if filter.Acknowledged != nil {
		where = append(where, Eq("acknowledged", *filter.Acknowledged))
	}
	if !filter.From.IsZero() {
		where = append(where, Gte("raised_at", filter.From.UnixMilli()))
	}
	if !filter.To.IsZero() {
		where = append(where, Lt("raised_at", filter.To.UnixMilli()))
	}
	order, known := map[string]Order{
		"": {By: "raised_at", Tie: "id", Desc: true}, "-raised_at": {By: "raised_at", Tie: "id", Desc: true}, "raised_at": {By: "raised_at", Tie: "id"},
		"-severity": {By: "rank", Tie: "id", Desc: true}, "severity": {By: "rank", Tie: "id"},
	}[page.Sort]
	if !known {
		return hearth.List[hearth.Alarm]{Total: -1}, hearth.Errorf(hearth.CodeValidationFailed, "alarms are not sorted by %q", page.Sort)
	}
	return listing[alarm, hearth.Alarm]{"Alarms", alarms, where, order, alarm.listed}.pageOf(ctx, a.b, page, within(filter.Reach))
}

// UpdateAlarm implements hearth.AlarmStore.
func (a *Aggregates) UpdateAlarm(
	ctx context.Context, id string, change func(hearth.Alarm, hearth.Watch) (hearth.Alarm, hearth.Watch, error), effects hearth.SideEffects,
) (hearth.Alarm, error) {
	w := Write{Name: "UpdateAlarm", Key: "alarms/" + id, Effects: effects}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Alarm, error) {
		stored, err := alarms.Get(ctx, tx, id)
		if err != nil {
			return hearth.Alarm{}, err
		}
		watch, isNew, err := watchOf(ctx, tx, stored.DeviceID)
		if err != nil {
			return hearth.Alarm{}, err
		}
		after, known, err := change(stored.alarm(), watch.watch())
		if err == nil {
			err = alarms.Replace(ctx, tx, storedAlarm(after))
		}
		if err == nil {
			err = keepWatch(ctx, tx, watch, isNew, known)
		}
		return after, err
	})
}

// watchOf returns what rules know of a device.
func watchOf(ctx context.Context, tx Tx, deviceID string) (watch alarmWatch, isNew bool, err error) {
	watch, err = alarmWatches.Get(ctx, tx, deviceID)
	if isNew, err = absent(err); isNew {
		watch = storedWatch(hearth.Watch{DeviceID: deviceID})
	}
	return watch, isNew, err
}

// keepWatch stores what rules know of a device; nothing where they know nothing. The step that adds it holds the device, so that none is
// left behind by one that is deleted meanwhile.
func keepWatch(ctx context.Context, tx Tx, before alarmWatch, isNew bool, known hearth.Watch) error {
	after := storedWatch(known)
	switch {
	case after == before:
		return nil
	case !isNew && len(known.Values) == 0 && len(known.Rules) == 0:
		return alarmWatches.Delete(ctx, tx, before.DeviceID)
	case !isNew:
		return alarmWatches.Replace(ctx, tx, after)
	}
	if err := devices.Hold(ctx, tx, before.DeviceID); err != nil {
		return err
	}
	return alarmWatches.Insert(ctx, tx, after)
}

// judgedAtOnce bounds the batches of readings that one step judges.
const judgedAtOnce = 100

// Judge implements hearth.AlarmStore.
func (a *Aggregates) Judge(
	ctx context.Context, deviceID string,
	judge func(hearth.Watch, []hearth.Unjudged, func(id string) (hearth.Alarm, error)) (hearth.Verdict, error),
) (bool, error) {
	w := Write{Name: "Judge", Key: "alarm_watches/" + deviceID}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (more bool, err error) {
		before, isNew, err := watchOf(ctx, tx, deviceID)
		if err != nil {
			return false, err
		}
		waiting, err := unjudged.Find(ctx, tx, Query{Where: Filter{Eq("device_id", deviceID)}, Order: Order{By: "id"}, Limit: judgedAtOnce})
		if err != nil {
			return false, err
		}
		batches := make([]hearth.Unjudged, len(waiting))
		for i, u := range waiting {
			batches[i] = u.unjudged()
		}
		verdict, err := judge(before.watch(), batches, func(id string) (hearth.Alarm, error) {
			stored, err := alarms.Get(ctx, tx, id)
			return stored.alarm(), err
		})
		if err != nil {
			return false, err
		}
		tx.With(verdict.Effects)
		for _, one := range verdict.Raised {
			if err := alarms.Insert(ctx, tx, storedAlarm(one)); err != nil {
				return false, err
			}
		}
		for _, one := range verdict.Changed {
			if err := alarms.Replace(ctx, tx, storedAlarm(one)); err != nil {
				return false, err
			}
		}
		for _, u := range waiting {
			if err := unjudged.Delete(ctx, tx, u.ID); err != nil {
				return false, err
			}
		}
		return len(waiting) == judgedAtOnce, keepWatch(ctx, tx, before, isNew, verdict.Watch)
	})
}

// AddUnjudged implements hearth.AlarmStore.
func (a *Aggregates) AddUnjudged(ctx context.Context, signs []hearth.Unjudged) error {
	return a.b.Update(ctx, Write{Name: "AddUnjudged"}, func(ctx context.Context, tx Tx) error {
		for _, u := range signs {
			if err := unjudged.Insert(ctx, tx, storedUnjudged(u)); err != nil {
				return err
			}
		}
		return nil
	})
}

// UnjudgedDevices implements hearth.AlarmStore.
func (a *Aggregates) UnjudgedDevices(ctx context.Context, before time.Time, limit int) ([]string, error) {
	ids, err := find(ctx, a.b, "UnjudgedDevices", unjudged, func(u unjudgedReadings) string { return u.DeviceID }, Query{
		Where: Filter{Lt("received_at", before)}, Order: Order{By: "received_at"}, Limit: limit,
	})
	return slices.Compact(slices.Sorted(slices.Values(ids))), err
}

// DueWatches implements hearth.AlarmStore.
func (a *Aggregates) DueWatches(ctx context.Context, limit int) ([]hearth.Watch, error) {
	due := func(w alarmWatch) hearth.Watch { return hearth.Watch{DeviceID: w.DeviceID, Due: w.Due} }
	return find(ctx, a.b, "DueWatches", alarmWatches, due, Query{Where: Filter{Gt("due", 0)}, Order: Order{By: "due"}, Limit: limit})
}

// RemoveAlarms implements hearth.AlarmStore.
func (a *Aggregates) RemoveAlarms(ctx context.Context, before time.Time, limit int) (int, error) {
	return a.b.Remove(ctx, "RemoveAlarms", &alarms.Schema, Filter{Eq("state", hearth.AlarmCleared), Lt("gone_at", before)}, "gone_at", limit)
}
