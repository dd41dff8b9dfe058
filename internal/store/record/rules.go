package record

import (
	"context"
	"encoding/json"
	"time"

	"hearth"
)

var _ hearth.RuleStore = (*Aggregates)(nil)

// rule is the stored form of hearth.Rule.
type rule struct {
	ID             string          `json:"id"`
	Scope          hearth.Scope    `json:"scope"`
	Name           string          `json:"name"`
	OwnerID        string          `json:"owner_id" bson:"owner"`
	OrganizationID string          `json:"organization_id,omitempty" bson:"organization"`
	Enabled        bool            `json:"enabled,omitempty"`
	Severity       hearth.Severity `json:"severity"`
	Definition     text            `json:"definition"` // the JSON of a ruleDefinition
	// Silence says that an enabled rule watches for silence.
	Silence   bool      `json:"silence,omitempty"`
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at,omitzero" bson:"created"`
	UpdatedAt time.Time `json:"updated_at,omitzero" bson:"updated"`
}

// ruleDefinition is what a rule says. Durations are in seconds.
type ruleDefinition struct {
	DeviceIDs  []string        `json:"device_ids,omitempty"`
	Type       string          `json:"type,omitempty"`
	Tag        string          `json:"tag,omitempty"`
	Event      string          `json:"event,omitempty"`
	Operator   hearth.Operator `json:"operator,omitempty"`
	Value      *hearth.Value   `json:"value,omitempty"`
	Expression string          `json:"expression,omitempty"`
	OfflineFor int64           `json:"offline_for,omitempty"`
	NoData     *ruleNoData     `json:"no_data,omitempty"`
	For        int64           `json:"for,omitempty"`
	ClearValue *hearth.Value   `json:"clear_value,omitempty"`
	ClearFor   int64           `json:"clear_for,omitempty"`
	Schedule   *ruleSchedule   `json:"schedule,omitempty"`
	Actions    []ruleAction    `json:"actions,omitempty"`
}

type ruleNoData struct {
	Event string `json:"event,omitempty"`
	For   int64  `json:"for"`
}

type ruleSchedule struct {
	TimeZone string         `json:"time_zone"`
	Days     []time.Weekday `json:"days"`
	Start    int            `json:"start"`
	End      int            `json:"end"`
}

type ruleAction struct {
	Notify    string       `json:"notify,omitempty"`
	Users     []string     `json:"users,omitempty"`
	WebhookID string       `json:"webhook_id,omitempty"`
	Command   *ruleCommand `json:"command,omitempty"`
	OnRaise   bool         `json:"on_raise,omitempty"`
	OnClear   bool         `json:"on_clear,omitempty"`
}

type ruleCommand struct {
	Name   string          `json:"name"`
	Params json.RawMessage `json:"params,omitempty"`
}

var rules = describe(&Kind[rule]{Schema: Schema{
	Name: "rules", Noun: "rule",
	Indexes: []Index{{Fields: []string{"scope", "created_at", "id"}}, {Fields: []string{"created_at", "id"}}, {Fields: []string{"organization_id"}}, {Fields: []string{"silence"}}},
	Limit: &Limit{By: "scope", Most: hearth.MaxRules, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "there are %d rules: delete one first", hearth.MaxRules)
	}},
	Of: map[string]string{"owner_id": "users", "organization_id": "organizations"},
}})

// packed returns a value as JSON. What is packed always encodes.
func packed(value any) text {
	data, err := json.Marshal(value)
	if err != nil {
		panic("record: " + err.Error())
	}
	return text(data)
}

// unpacked returns what was packed.
func unpacked[T any](t text) (value T) {
	_ = json.Unmarshal([]byte(t), &value) // of what is damaged the rest
	return value
}

func storedRule(r hearth.Rule) rule {
	d := ruleDefinition{
		DeviceIDs: r.Devices.IDs, Type: r.Devices.Type, Tag: r.Devices.Tag, Event: r.Condition.Event, Operator: r.Condition.Operator,
		Expression: r.Condition.Expression, For: int64(r.Condition.For / time.Second), ClearValue: r.Condition.ClearValue,
		ClearFor: int64(r.Condition.ClearFor / time.Second), Schedule: (*ruleSchedule)(r.Schedule),
	}
	if r.Condition.Event != "" {
		d.Value = &r.Condition.Value
	}
	d.OfflineFor = int64(r.Condition.OfflineFor / time.Second)
	if n := r.Condition.NoData; n != nil {
		d.NoData = &ruleNoData{n.Event, int64(n.For / time.Second)}
	}
	for _, a := range r.Actions {
		d.Actions = append(d.Actions, ruleAction{a.Notify, a.Users, a.WebhookID, (*ruleCommand)(a.Command), a.OnRaise, a.OnClear})
	}
	return rule{
		r.ID, r.Scope(), r.Name, r.OwnerID, r.OrganizationID, r.Enabled, r.Severity, packed(d), r.Enabled && r.Condition.Silence() > 0, r.Version, r.CreatedAt, r.UpdatedAt,
	}
}

func (r rule) rule() hearth.Rule {
	d := unpacked[ruleDefinition](r.Definition)
	all := hearth.Rule{
		ID: r.ID, Name: r.Name, OwnerID: r.OwnerID, OrganizationID: r.OrganizationID, Enabled: r.Enabled,
		Devices: hearth.RuleDevices{IDs: d.DeviceIDs, Type: d.Type, Tag: d.Tag},
		Condition: hearth.Condition{
			Event: d.Event, Operator: d.Operator, Expression: d.Expression, For: time.Duration(d.For) * time.Second,
			ClearValue: d.ClearValue, ClearFor: time.Duration(d.ClearFor) * time.Second,
		},
		Schedule: (*hearth.RuleSchedule)(d.Schedule), Severity: r.Severity, Version: r.Version, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if d.Value != nil {
		all.Condition.Value = *d.Value
	}
	all.Condition.OfflineFor = time.Duration(d.OfflineFor) * time.Second
	if n := d.NoData; n != nil {
		all.Condition.NoData = &hearth.NoData{Event: n.Event, For: time.Duration(n.For) * time.Second}
	}
	for _, a := range d.Actions {
		all.Actions = append(all.Actions, hearth.Action{
			Notify: a.Notify, Users: a.Users, WebhookID: a.WebhookID, Command: (*hearth.RuleCommand)(a.Command), OnRaise: a.OnRaise, OnClear: a.OnClear,
		})
	}
	return all
}

// CreateRule implements hearth.RuleStore.
func (a *Aggregates) CreateRule(ctx context.Context, r hearth.Rule, effects hearth.SideEffects) error {
	w := Write{Name: "CreateRule", Key: "rules/" + string(r.Scope()), Effects: effects}
	return create(ctx, a.b, w, rules, storedRule(r), r.OrganizationID)
}

// Rule implements hearth.RuleStore.
func (a *Aggregates) Rule(ctx context.Context, id string) (hearth.Rule, error) {
	return get(ctx, a.b, "Rule", rules, rule.rule, id)
}

// Rules implements hearth.RuleStore.
func (a *Aggregates) Rules(ctx context.Context, reach hearth.Reach, page hearth.Page) (hearth.List[hearth.Rule], error) {
	list := listing[rule, hearth.Rule]{"Rules", rules, nil, newestFirst, rule.rule}
	return list.pageOf(ctx, a.b, page, within(reach))
}

// RulesOf implements hearth.RuleStore.
func (a *Aggregates) RulesOf(ctx context.Context, scope hearth.Scope) ([]hearth.Rule, error) {
	return find(ctx, a.b, "RulesOf", rules, rule.rule, Query{Where: Filter{Eq("scope", scope), Eq("enabled", true)}, Order: Order{By: "created_at", Tie: "id"}})
}

// SilenceRules implements hearth.RuleStore.
func (a *Aggregates) SilenceRules(ctx context.Context, limit int) ([]string, error) {
	id := func(r rule) string { return r.ID }
	return find(ctx, a.b, "SilenceRules", rules, id, Query{Where: Filter{Eq("silence", true)}, Limit: limit})
}

// UpdateRule implements hearth.RuleStore.
func (a *Aggregates) UpdateRule(
	ctx context.Context, id string, change func(hearth.Rule) (hearth.Rule, error), effects hearth.SideEffects,
) (hearth.Rule, error) {
	w := Write{Name: "UpdateRule", Key: "rule/" + id, Effects: effects}
	return changeOne(ctx, a.b, w, rules, id, rule.rule, storedRule, func(before hearth.Rule) (hearth.Rule, error) {
		after, err := change(before)
		after.Version = before.Version + 1
		return after, err
	})
}

// DeleteRule implements hearth.RuleStore.
func (a *Aggregates) DeleteRule(ctx context.Context, id string, check func(hearth.Rule) error, effects hearth.SideEffects) error {
	w := Write{Name: "DeleteRule", Key: "rule/" + id, Effects: effects}
	return deleteOne(ctx, a.b, w, rules, id, rule.rule, check)
}
