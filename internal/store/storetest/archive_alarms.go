package storetest

import (
	"encoding/json"
	"fmt"
	"time"

	"hearth"
)

// Rules and alarms as an archive holds them; see archive_lines.go.

type lineRule struct {
	ID             string          `json:"id"`
	Scope          hearth.Scope    `json:"scope"`
	Name           string          `json:"name"`
	OwnerID        string          `json:"owner_id"`
	OrganizationID string          `json:"organization_id,omitempty"`
	Enabled        bool            `json:"enabled,omitempty"`
	Severity       hearth.Severity `json:"severity"`
	Definition     string          `json:"definition"`
	Silence        bool            `json:"silence,omitempty"`
	Version        int64           `json:"version"`
	CreatedAt      time.Time       `json:"created_at,omitzero"`
	UpdatedAt      time.Time       `json:"updated_at,omitzero"`
}

type lineDefinition struct {
	DeviceIDs  []string        `json:"device_ids,omitempty"`
	Type       string          `json:"type,omitempty"`
	Tag        string          `json:"tag,omitempty"`
	Event      string          `json:"event,omitempty"`
	Operator   hearth.Operator `json:"operator,omitempty"`
	Value      *hearth.Value   `json:"value,omitempty"`
	Expression string          `json:"expression,omitempty"`
	OfflineFor int64           `json:"offline_for,omitempty"`
	NoData     *lineNoData     `json:"no_data,omitempty"`
	For        int64           `json:"for,omitempty"`
	ClearValue *hearth.Value   `json:"clear_value,omitempty"`
	ClearFor   int64           `json:"clear_for,omitempty"`
	Schedule   *struct {
		TimeZone string         `json:"time_zone"`
		Days     []time.Weekday `json:"days"`
		Start    int            `json:"start"`
		End      int            `json:"end"`
	} `json:"schedule,omitempty"`
	Actions []lineAction `json:"actions,omitempty"`
}

type lineNoData struct {
	Event string `json:"event,omitempty"`
	For   int64  `json:"for"`
}

type lineAction struct {
	Notify    string   `json:"notify,omitempty"`
	Users     []string `json:"users,omitempty"`
	WebhookID string   `json:"webhook_id,omitempty"`
	Command   *struct {
		Name   string          `json:"name"`
		Params json.RawMessage `json:"params,omitempty"`
	} `json:"command,omitempty"`
	OnRaise bool `json:"on_raise,omitempty"`
	OnClear bool `json:"on_clear,omitempty"`
}

func mustJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // tests' records are JSON
	}
	return string(text)
}

func mustRead[T any](text string) (value T) {
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		panic(err) // what a store wrote
	}
	return value
}

func writeRule(r hearth.Rule) lineRule {
	d := lineDefinition{
		DeviceIDs: r.Devices.IDs, Type: r.Devices.Type, Tag: r.Devices.Tag, Event: r.Condition.Event, Operator: r.Condition.Operator,
		Expression: r.Condition.Expression, For: int64(r.Condition.For.Seconds()), ClearValue: r.Condition.ClearValue,
		ClearFor: int64(r.Condition.ClearFor.Seconds()),
	}
	if r.Condition.Event != "" {
		d.Value = &r.Condition.Value
	}
	d.OfflineFor = int64(r.Condition.OfflineFor.Seconds())
	if n := r.Condition.NoData; n != nil {
		d.NoData = &lineNoData{n.Event, int64(n.For.Seconds())}
	}
	if s := r.Schedule; s != nil {
		d.Schedule = (*struct {
			TimeZone string         `json:"time_zone"`
			Days     []time.Weekday `json:"days"`
			Start    int            `json:"start"`
			End      int            `json:"end"`
		})(s)
	}
	for _, a := range r.Actions {
		line := lineAction{Notify: a.Notify, Users: a.Users, WebhookID: a.WebhookID, OnRaise: a.OnRaise, OnClear: a.OnClear}
		if c := a.Command; c != nil {
			line.Command = (*struct {
				Name   string          `json:"name"`
				Params json.RawMessage `json:"params,omitempty"`
			})(c)
		}
		d.Actions = append(d.Actions, line)
	}
	return lineRule{
		r.ID, r.Scope(), r.Name, r.OwnerID, r.OrganizationID, r.Enabled, r.Severity, mustJSON(d), r.Enabled && r.Condition.Silence() > 0,
		r.Version, r.CreatedAt, r.UpdatedAt,
	}
}

func readRule(r lineRule) hearth.Rule {
	d := mustRead[lineDefinition](r.Definition)
	out := hearth.Rule{
		ID: r.ID, Name: r.Name, OwnerID: r.OwnerID, OrganizationID: r.OrganizationID, Enabled: r.Enabled, Severity: r.Severity,
		Devices: hearth.RuleDevices{IDs: d.DeviceIDs, Type: d.Type, Tag: d.Tag}, Schedule: (*hearth.RuleSchedule)(d.Schedule),
		Condition: hearth.Condition{
			Event: d.Event, Operator: d.Operator, Expression: d.Expression, For: time.Duration(d.For) * time.Second, ClearValue: d.ClearValue,
			ClearFor: time.Duration(d.ClearFor) * time.Second,
		},
		Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if d.Value != nil {
		out.Condition.Value = *d.Value
	}
	out.Condition.OfflineFor = time.Duration(d.OfflineFor) * time.Second
	if n := d.NoData; n != nil {
		out.Condition.NoData = &hearth.NoData{Event: n.Event, For: time.Duration(n.For) * time.Second}
	}
	for _, a := range d.Actions {
		out.Actions = append(out.Actions, hearth.Action{
			Notify: a.Notify, Users: a.Users, WebhookID: a.WebhookID, Command: (*hearth.RuleCommand)(a.Command), OnRaise: a.OnRaise, OnClear: a.OnClear,
		})
	}
	return out
}

type lineAlarm struct {
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
	Value          string            `json:"value,omitempty"`
	LastAt         int64             `json:"last_at,omitempty"`
	Count          int64             `json:"count,omitempty"`
	History        string            `json:"history,omitempty"`
	Rank           int               `json:"rank,omitempty"`
	GoneAt         time.Time         `json:"gone_at,omitzero"`
}

type lineEntry struct {
	At     time.Time `json:"at,omitzero"`
	Event  string    `json:"event"`
	UserID string    `json:"user_id,omitempty"`
	Text   string    `json:"text,omitempty"`
}

func writeAlarm(a hearth.Alarm) lineAlarm {
	entries := make([]lineEntry, len(a.History))
	for i, e := range a.History {
		entries[i] = lineEntry(e)
	}
	r := lineAlarm{
		a.ID, a.Scope, a.RuleID, a.RuleName, a.DeviceID, a.DeviceName, a.Severity, a.State, a.Acknowledged, a.AcknowledgedBy, a.AcknowledgedAt,
		a.RaisedAt.UnixMilli(), 0, "", a.LastAt.UnixMilli(), a.Count, mustJSON(entries), a.Severity.Rank(), time.Time{},
	}
	if a.Value != nil {
		r.Value = mustJSON(*a.Value)
	}
	if a.State == hearth.AlarmCleared {
		r.ClearedAt, r.GoneAt = a.ClearedAt.UnixMilli(), entries[len(entries)-1].At
	}
	return r
}

func readAlarm(r lineAlarm) hearth.Alarm {
	a := hearth.Alarm{
		ID: r.ID, Scope: r.Scope, RuleID: r.RuleID, RuleName: r.RuleName, DeviceID: r.DeviceID, DeviceName: r.DeviceName, Severity: r.Severity,
		State: r.State, Acknowledged: r.Acknowledged, AcknowledgedBy: r.AcknowledgedBy, AcknowledgedAt: r.AcknowledgedAt,
		RaisedAt: time.UnixMilli(r.RaisedAt).UTC(), LastAt: time.UnixMilli(r.LastAt).UTC(), Count: r.Count,
	}
	if r.Value != "" {
		value := mustRead[hearth.Value](r.Value)
		a.Value = &value
	}
	if r.State == hearth.AlarmCleared {
		a.ClearedAt = time.UnixMilli(r.ClearedAt).UTC()
	}
	for _, e := range mustRead[[]lineEntry](r.History) {
		a.History = append(a.History, hearth.AlarmEntry(e))
	}
	return a
}

type lineAlarmWatch struct {
	DeviceID string    `json:"device_id"`
	Known    string    `json:"known"`
	Due      time.Time `json:"due,omitzero"`
}

type lineKnown struct {
	Values map[string]lineReading `json:"values,omitempty"`
	Rules  map[string]lineState   `json:"rules,omitempty"`
}

type lineReading struct {
	Event string       `json:"event,omitempty"`
	Value hearth.Value `json:"value"`
	At    int64        `json:"at"`
}

type lineState struct {
	Version int64            `json:"version"`
	Phase   hearth.RulePhase `json:"phase"`
	Since   int64            `json:"since,omitempty"`
	Arrived int64            `json:"arrived,omitempty"`
	AlarmID string           `json:"alarm_id,omitempty"`
	ByHand  bool             `json:"by_hand,omitempty"`
}

func writeAlarmWatch(w hearth.Watch) lineAlarmWatch {
	known := lineKnown{map[string]lineReading{}, map[string]lineState{}}
	for event, r := range w.Values {
		known.Values[event] = lineReading{Value: r.Value, At: r.At.UnixMilli()}
	}
	for id, s := range w.Rules {
		state := lineState{Version: s.Version, Phase: s.Phase, AlarmID: s.AlarmID, ByHand: s.ByHand}
		if s.Phase != hearth.RuleActive || !s.Since.IsZero() {
			state.Since, state.Arrived = s.Since.UnixMilli(), s.Arrived.UnixMilli()
		}
		known.Rules[id] = state
	}
	return lineAlarmWatch{w.DeviceID, mustJSON(known), w.Due}
}

func readAlarmWatch(r lineAlarmWatch) hearth.Watch {
	known := mustRead[lineKnown](r.Known)
	w := hearth.Watch{DeviceID: r.DeviceID, Due: r.Due, Values: map[string]hearth.Reading{}, Rules: map[string]hearth.RuleState{}}
	for event, one := range known.Values {
		w.Values[event] = hearth.Reading{Event: event, Value: one.Value, At: time.UnixMilli(one.At).UTC()}
	}
	for id, s := range known.Rules {
		state := hearth.RuleState{Version: s.Version, Phase: s.Phase, AlarmID: s.AlarmID, ByHand: s.ByHand}
		if s.Phase != hearth.RuleActive || s.Since != 0 {
			state.Since, state.Arrived = time.UnixMilli(s.Since).UTC(), time.UnixMilli(s.Arrived).UTC()
		}
		w.Rules[id] = state
	}
	return w
}

type lineUnjudged struct {
	ID         string    `json:"id"`
	DeviceID   string    `json:"device_id"`
	ReceivedAt time.Time `json:"received_at,omitzero"`
	Readings   string    `json:"readings"`
}

func writeUnjudged(u hearth.Unjudged) lineUnjudged {
	readings := make([]lineReading, len(u.Readings))
	for i, r := range u.Readings {
		readings[i] = lineReading{r.Event, r.Value, r.At.UnixMilli()}
	}
	return lineUnjudged{u.ID, u.DeviceID, u.ReceivedAt, mustJSON(readings)}
}

func readUnjudged(r lineUnjudged) hearth.Unjudged {
	u := hearth.Unjudged{ID: r.ID, DeviceID: r.DeviceID, ReceivedAt: r.ReceivedAt}
	for _, one := range mustRead[[]lineReading](r.Readings) {
		u.Readings = append(u.Readings, hearth.Reading{Event: one.Event, Value: one.Value, At: time.UnixMilli(one.At).UTC()})
	}
	return u
}

func (g *recordMaker) rules() []hearth.Rule {
	return each(g.n, func(i int) hearth.Rule {
		return hearth.Rule{ID: g.id(15, i), Name: "Hot", OwnerID: g.userID(i), Severity: hearth.SeverityInfo, Version: 1, CreatedAt: g.at(i), UpdatedAt: g.at(i),
			Condition: hearth.Condition{Event: "t", Operator: hearth.Equal, Value: hearth.Text("\u2028<")}}
	}, func(i int, r *hearth.Rule) {
		limit := hearth.Number(-1.5)
		if i%4 == 1 {
			limit = hearth.Text("low")
		}
		r.OrganizationID, r.Enabled, r.Severity, r.Version = g.orgID(i), true, hearth.SeverityCritical, int64(i+1)
		r.Devices = hearth.RuleDevices{IDs: []string{g.deviceID(i)}, Type: "sensor", Tag: "Küche"}
		r.Condition = hearth.Condition{Event: "t", Operator: hearth.Less, Value: hearth.Number(-2), For: 9 * time.Second, ClearValue: &limit, ClearFor: time.Hour}
		switch i % 5 {
		case 0:
			r.Condition = hearth.Condition{Expression: `t > 1 && latest["a.b"]`, For: time.Second}
		case 2:
			r.Condition = hearth.Condition{OfflineFor: time.Minute}
		case 3:
			r.Condition = hearth.Condition{NoData: &hearth.NoData{Event: "t", For: time.Hour}}
		}
		r.Schedule = &hearth.RuleSchedule{TimeZone: "Europe/Berlin", Days: []time.Weekday{time.Sunday, time.Monday}, Start: 1, End: 1439}
		r.Actions = []hearth.Action{{Notify: hearth.NotifyOwner, OnRaise: true}, {Users: []string{g.userID(i)}, OnClear: true},
			{WebhookID: g.id(18, i), OnRaise: true}, {Command: &hearth.RuleCommand{Name: "stop", Params: json.RawMessage(`{"a":1}`)}, OnRaise: true}}
	})
}

func (g *recordMaker) alarms() []hearth.Alarm {
	return each(g.n, func(i int) hearth.Alarm {
		return hearth.Alarm{ID: g.id(16, i), Scope: hearth.UserScope(g.userID(i)), RuleID: g.id(15, i), RuleName: "Hot", DeviceID: g.deviceID(i), DeviceName: "d",
			Severity: hearth.SeverityInfo, State: hearth.AlarmActive, RaisedAt: time.UnixMilli(0).UTC(), LastAt: g.at(i)}
	}, func(i int, a *hearth.Alarm) {
		value := hearth.Text("é\u2028")
		if i%4 > 1 {
			value = hearth.Number(-0.25)
		}
		a.Acknowledged, a.AcknowledgedBy, a.AcknowledgedAt, a.Value, a.Count = true, g.userID(i), g.at(i+1), &value, int64(i)
		*a = a.Clear(g.at(i+2), hearth.AlarmEntry{At: g.at(i + 3), UserID: g.userID(i), Text: "\"<&>"})
	})
}

func (g *recordMaker) alarmWatches() []hearth.Watch {
	return each(g.n, func(i int) hearth.Watch {
		return hearth.Watch{DeviceID: g.deviceID(i), Values: map[string]hearth.Reading{}, Rules: map[string]hearth.RuleState{}}
	}, func(i int, w *hearth.Watch) {
		w.Due = g.at(i + 1)
		w.Values["a:b"] = hearth.Reading{Event: "a:b", Value: hearth.Boolean(true), At: time.UnixMilli(-5).UTC()}
		w.Rules[g.id(15, i)] = hearth.RuleState{Version: 3, Phase: hearth.RuleEnding, Since: time.UnixMilli(0).UTC(), Arrived: g.at(i), AlarmID: g.id(16, i), ByHand: true}
		w.Rules["x"] = hearth.RuleState{Version: 1, Phase: hearth.RuleActive, AlarmID: fmt.Sprint(i)}
		w.Rules["y"] = hearth.RuleState{Version: 1, Phase: hearth.RuleActive, Since: g.at(i), Arrived: time.Time{}, AlarmID: fmt.Sprint(i)}
	})
}

func (g *recordMaker) unjudged() []hearth.Unjudged {
	return each(g.n, func(i int) hearth.Unjudged {
		return hearth.Unjudged{ID: g.id(17, i), DeviceID: g.deviceID(i), ReceivedAt: g.at(i)}
	}, func(i int, u *hearth.Unjudged) {
		u.Readings = []hearth.Reading{{Event: "t", Value: hearth.Number(1.5), At: g.at(i)}, {Event: "u", Value: hearth.Text("x"), At: time.UnixMilli(-62135596800000).UTC()}}
	})
}

type lineUptime struct {
	ID      string    `json:"id"`
	AliveAt time.Time `json:"alive_at,omitzero"`
	Outages string    `json:"outages,omitempty"`

	BelievedAt time.Time `json:"believed_at,omitzero"`
	DoubtedAt  time.Time `json:"doubted_at,omitzero"`
}

type lineOutage struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func writeUptime(u hearth.Uptime) lineUptime {
	line := lineUptime{ID: "hearth", AliveAt: u.AliveAt, BelievedAt: u.BelievedAt, DoubtedAt: u.DoubtedAt}
	outages := make([]lineOutage, len(u.Outages))
	for i, o := range u.Outages {
		outages[i] = lineOutage{o.From.UnixMilli(), o.To.UnixMilli()}
	}
	if len(outages) > 0 {
		line.Outages = mustJSON(outages)
	}
	return line
}

func readUptime(r lineUptime) hearth.Uptime {
	u := hearth.Uptime{AliveAt: r.AliveAt, BelievedAt: r.BelievedAt, DoubtedAt: r.DoubtedAt}
	if r.Outages == "" {
		return u
	}
	for _, o := range mustRead[[]lineOutage](r.Outages) {
		u.Outages = append(u.Outages, hearth.Outage{From: time.UnixMilli(o.From).UTC(), To: time.UnixMilli(o.To).UTC()})
	}
	return u
}

// uptime is one record, if there is any record at all.
func (g *recordMaker) uptime() []hearth.Uptime {
	return []hearth.Uptime{{
		AliveAt: g.at(9), Outages: []hearth.Outage{{From: g.at(1), To: g.at(2)}, {From: g.at(5), To: g.at(7)}}, BelievedAt: g.at(3), DoubtedAt: g.at(4),
	}}
}
