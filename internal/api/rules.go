package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/alarms"
	"hearth/internal/timetext"
)

const tagAlarms = "Alarms"

// Rule is a rule on the wire.
type Rule struct {
	ID             string        `json:"id" format:"uuid" example:"0195a1b2-cccc-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string        `json:"name" example:"Freezer too warm"`
	OwnerID        string        `json:"owner_id" format:"uuid" doc:"Who made it; whose devices it is about, where organization_id is null." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	OrganizationID *string       `json:"organization_id" doc:"Whose devices it is about; null: the owner's own." example:"0195a1b2-1111-7e5f-8a9b-0c1d2e3f4a5b"`
	Enabled        bool          `json:"enabled"`
	Devices        RuleDevices   `json:"devices"`
	Condition      RuleCondition `json:"condition"`
	Schedule       *RuleSchedule `json:"schedule" doc:"null: always."`
	Severity       string        `json:"severity" enum:"critical,major,minor,warning,info"`
	Actions        []RuleAction  `json:"actions" nullable:"false"`
	Version        int64         `json:"version" doc:"Counts the changes from 1." example:"1"`
	CreatedAt      rest.Time     `json:"created_at"`
	UpdatedAt      rest.Time     `json:"updated_at"`
}

// RuleDevices are the devices of a rule on the wire.
type RuleDevices struct {
	IDs  []string `json:"ids,omitempty" doc:"These devices; left out: all."`
	Type *string  `json:"type,omitempty" doc:"Those of this type." example:"freezer"`
	Tag  *string  `json:"tag,omitempty" doc:"Those with this tag." example:"kitchen"`
}

// RuleCondition is the condition of a rule on the wire.
type RuleCondition struct {
	Event      *string     `json:"event,omitempty" example:"temperature"`
	Operator   *string     `json:"operator,omitempty" enum:"gt,gte,lt,lte,eq,ne"`
	Value      *Value      `json:"value,omitempty"`
	Expression *string     `json:"expression,omitempty" example:"temperature > 30 && door == false"`
	OfflineFor *int64      `json:"offline_for,omitempty" doc:"Seconds." example:"600"`
	NoData     *RuleNoData `json:"no_data,omitempty"`
	For        *int64      `json:"for,omitempty" doc:"Seconds." example:"300"`
	Clear      *RuleClear  `json:"clear,omitempty"`
}

// RuleNoData is a silence of readings on the wire.
type RuleNoData struct {
	Event *string `json:"event,omitempty" example:"temperature"`
	For   int64   `json:"for" doc:"Seconds." example:"600"`
}

// RuleClear is the end of an alarm on the wire.
type RuleClear struct {
	Value *Value `json:"value,omitempty"`
	For   *int64 `json:"for,omitempty" doc:"Seconds." example:"60"`
}

// RuleSchedule is when a rule raises alarms, on the wire.
type RuleSchedule struct {
	TZ    string   `json:"tz" maxLength:"64" doc:"An IANA name." example:"Europe/Berlin"`
	Days  []string `json:"days" minItems:"1" maxItems:"7" uniqueItems:"true" nullable:"false" enum:"mon,tue,wed,thu,fri,sat,sun" doc:"The days on which it begins."`
	Start string   `json:"start" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"HH:MM by the clock on the wall." example:"22:00"`
	End   string   `json:"end" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" doc:"Excluded; at or before start it is on the next day." example:"06:00"`
}

// days are the names on the wire; time.Weekday is the index.
var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // never written to

// RuleAction is an action of a rule on the wire.
type RuleAction struct {
	Notify    *Recipients  `json:"notify,omitempty"`
	WebhookID *string      `json:"webhook_id,omitempty" format:"uuid" example:"0195a1b2-eeee-7e5f-8a9b-0c1d2e3f4a5b"`
	Command   *RuleCommand `json:"command,omitempty"`
	On        string       `json:"on" enum:"raise,clear,both"`
}

// RuleCommand is a command that a rule sends to the device, on the wire.
type RuleCommand struct {
	Name   string                 `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9_.:-]+$" example:"stop"`
	Params rest.Optional[AnyJSON] `json:"params,omitempty" doc:"Any JSON up to 16 KiB."`
}

// MarshalJSON leaves out params that are not there.
func (c RuleCommand) MarshalJSON() ([]byte, error) {
	if !c.Params.Has() {
		return json.Marshal(map[string]any{"name": c.Name})
	}
	return json.Marshal(map[string]any{"name": c.Name, "params": c.Params.Value})
}

// Recipients are whom an action notifies: a group, or users.
type Recipients struct {
	Group string
	Users []string
}

// MarshalJSON writes the group or the ids.
func (r Recipients) MarshalJSON() ([]byte, error) {
	if r.Group != "" {
		return json.Marshal(r.Group)
	}
	return json.Marshal(r.Users)
}

// FromBody sets what MarshalJSON writes.
func (r *Recipients) FromBody(value any) error {
	*r = Recipients{}
	switch of := value.(type) {
	case string:
		r.Group = of
	case []any:
		for _, user := range of {
			id, ok := user.(string)
			if !ok {
				return errNoRecipients
			}
			r.Users = append(r.Users, id)
		}
	default:
		return errNoRecipients
	}
	return nil
}

var errNoRecipients = errors.New("they are neither a group nor users")

// Schema allows the groups or a list of ids.
func (Recipients) Schema(huma.Registry) *huma.Schema {
	one, most, longest := 1, hearth.MaxRuleUsers, 64
	group := &huma.Schema{Type: huma.TypeString, Enum: []any{hearth.NotifyOwner, hearth.NotifyOrganization}}
	id := &huma.Schema{Type: huma.TypeString, MaxLength: &longest}
	users := &huma.Schema{Type: huma.TypeArray, Items: id, MinItems: &one, MaxItems: &most, UniqueItems: true}
	for _, s := range []*huma.Schema{group, id, users} {
		s.PrecomputeMessages()
	}
	return &huma.Schema{
		Description: "owner: the owner of the device. organization: the members of the rule's. Or ids of users who may see the devices.",
		OneOf:       []*huma.Schema{group, users}, Examples: []any{hearth.NotifyOwner},
	}
}

func wholeSeconds(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	n := int64(d / time.Second)
	return &n
}

func wireValue(v *hearth.Value) *Value { return (*Value)(v) }

func wireRule(r hearth.Rule) Rule {
	c := r.Condition
	wire := Rule{
		ID: r.ID, Name: r.Name, OwnerID: r.OwnerID, OrganizationID: rest.TextOrNull(r.OrganizationID), Enabled: r.Enabled,
		Devices:   RuleDevices{IDs: r.Devices.IDs, Type: rest.TextOrNull(r.Devices.Type), Tag: rest.TextOrNull(r.Devices.Tag)},
		Condition: RuleCondition{Event: rest.TextOrNull(c.Event), Operator: rest.TextOrNull(string(c.Operator)), Expression: rest.TextOrNull(c.Expression), For: wholeSeconds(c.For)},
		Severity:  string(r.Severity), Actions: make([]RuleAction, len(r.Actions)), Version: r.Version,
		CreatedAt: rest.Time(r.CreatedAt), UpdatedAt: rest.Time(r.UpdatedAt),
	}
	if c.Event != "" {
		wire.Condition.Value = wireValue(&c.Value)
	}
	wire.Condition.OfflineFor = wholeSeconds(c.OfflineFor)
	if n := c.NoData; n != nil {
		wire.Condition.NoData = &RuleNoData{rest.TextOrNull(n.Event), int64(n.For / time.Second)}
	}
	if c.ClearValue != nil || c.ClearFor != 0 {
		wire.Condition.Clear = &RuleClear{wireValue(c.ClearValue), wholeSeconds(c.ClearFor)}
	}
	if s := r.Schedule; s != nil {
		wire.Schedule = &RuleSchedule{TZ: s.TimeZone, Start: timetext.ClockTime(s.Start), End: timetext.ClockTime(s.End)}
		for _, day := range s.Days {
			wire.Schedule.Days = append(wire.Schedule.Days, days[day])
		}
	}
	for i, a := range r.Actions {
		wire.Actions[i] = wireAction(a)
	}
	return wire
}

func wireAction(a hearth.Action) RuleAction {
	wire := RuleAction{WebhookID: rest.TextOrNull(a.WebhookID), On: "raise"}
	if a.Notify != "" || len(a.Users) > 0 {
		wire.Notify = &Recipients{a.Notify, a.Users}
	}
	if c := a.Command; c != nil {
		wire.Command = &RuleCommand{Name: c.Name, Params: rest.Optional[AnyJSON]{Set: true, Null: c.Params == nil, Value: AnyJSON(c.Params)}}
	}
	switch {
	case a.OnRaise && a.OnClear:
		wire.On = "both"
	case a.OnClear:
		wire.On = "clear"
	}
	return wire
}

// NewRuleDevices are the devices of a rule to make.
type NewRuleDevices struct {
	IDs  rest.Optional[rest.ShortTexts] `json:"ids,omitempty" maxItems:"1000" doc:"These devices of the rule's owner; all, if nothing is said."`
	Type rest.Optional[string]          `json:"type,omitempty" maxLength:"64" doc:"Of them those of this type." example:"freezer"`
	Tag  rest.Optional[string]          `json:"tag,omitempty" maxLength:"64" doc:"Of them those with this tag." example:"kitchen"`
}

// NewRuleCondition is the condition of a rule to make.
type NewRuleCondition struct {
	Event      rest.Optional[string]        `json:"event,omitempty" maxLength:"64" doc:"With operator and value: a reading of this event meets the condition." example:"temperature"`
	Operator   rest.Optional[string]        `json:"operator,omitempty" enum:"gt,gte,lt,lte,eq,ne" example:"gt"`
	Value      rest.Optional[Value]         `json:"value,omitempty" doc:"A number for gt, gte, lt and lte. A reading of another type never meets the condition."`
	Expression rest.Optional[string]        `json:"expression,omitempty" maxLength:"1000" doc:"Over the latest values: comparisons, && || !, + - * /, abs min max, event names as they are or latest[\"a.b\"]." example:"temperature > 30 && door == false"`
	OfflineFor rest.Optional[int64]         `json:"offline_for,omitempty" minimum:"1" maximum:"2592000" doc:"How many seconds the device gives no sign of life: heartbeats, logs, a connection." example:"600"`
	NoData     rest.Optional[NewRuleNoData] `json:"no_data,omitempty" doc:"A silence of readings."`
	For        rest.Optional[int64]         `json:"for,omitempty" minimum:"0" maximum:"2592000" doc:"How many seconds a threshold or an expression must hold; 0, if nothing is said." example:"300"`
	Clear      rest.Optional[NewRuleClear]  `json:"clear,omitempty" doc:"When the alarm ends, if not as soon as the condition does."`
}

// NewRuleNoData is a silence of readings of a rule to make.
type NewRuleNoData struct {
	Event rest.Optional[string] `json:"event,omitempty" maxLength:"64" doc:"Of this event; of all, if nothing is said." example:"temperature"`
	For   int64                 `json:"for" minimum:"1" maximum:"2592000" doc:"How many seconds no reading comes in." example:"600"`
}

// NewRuleClear is the end of an alarm of a rule to make.
type NewRuleClear struct {
	Value rest.Optional[Value] `json:"value,omitempty" doc:"Takes the place of the rule's, on the harmless side of it; not for eq and ne."`
	For   rest.Optional[int64] `json:"for,omitempty" minimum:"0" maximum:"2592000" doc:"How many seconds the end must hold; 0, if nothing is said." example:"60"`
}

// NewRuleAction is an action of a rule to make.
type NewRuleAction struct {
	Notify    rest.Optional[Recipients]  `json:"notify,omitempty"`
	WebhookID rest.Optional[string]      `json:"webhook_id,omitempty" maxLength:"64" doc:"A webhook of the rule's owner; it need not subscribe to alarms."`
	Command   rest.Optional[RuleCommand] `json:"command,omitempty" doc:"Sent to the device; expires after an hour."`
	On        rest.Optional[string]      `json:"on,omitempty" enum:"raise,clear,both" doc:"raise, if nothing is said."`
}

func (a NewRuleAction) action() hearth.Action {
	on := a.On.Or("raise")
	action := hearth.Action{
		Notify: a.Notify.Value.Group, Users: a.Notify.Value.Users, WebhookID: a.WebhookID.Or(""), OnRaise: on != "clear", OnClear: on != "raise",
	}
	if a.Command.Has() {
		c := a.Command.Value
		action.Command = &hearth.RuleCommand{Name: c.Name, Params: hearth.CanonicalJSON(json.RawMessage(c.Params.Or(nil)))}
	}
	return action
}

// NewRule is a rule to make.
type NewRule struct {
	Name           string                         `json:"name" minLength:"1" maxLength:"200" example:"Freezer too warm"`
	OrganizationID rest.Optional[string]          `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"Whose devices it is about; your own, if nothing is said."`
	Enabled        rest.Optional[bool]            `json:"enabled,omitempty" doc:"true, if nothing is said."`
	Devices        rest.Optional[NewRuleDevices]  `json:"devices,omitempty" doc:"Those that all its members pick; all, if nothing is said."`
	Condition      NewRuleCondition               `json:"condition"`
	Schedule       rest.Optional[RuleSchedule]    `json:"schedule,omitempty" doc:"Outside of it the rule raises nothing; always, if nothing is said."`
	Severity       string                         `json:"severity" enum:"critical,major,minor,warning,info"`
	Actions        rest.Optional[[]NewRuleAction] `json:"actions,omitempty" maxItems:"10" doc:"What happens when an alarm is raised or cleared; nothing else, if nothing is said."`
}

// RuleChange is what to change of a rule: what is left out stays.
type RuleChange struct {
	Name      rest.Optional[string]           `json:"name,omitempty" minLength:"1" maxLength:"200"`
	Enabled   rest.Optional[bool]             `json:"enabled,omitempty" doc:"null: true."`
	Devices   rest.Optional[NewRuleDevices]   `json:"devices,omitempty" doc:"The whole object; null: all."`
	Condition rest.Optional[NewRuleCondition] `json:"condition,omitempty" doc:"The whole object."`
	Schedule  rest.Optional[RuleSchedule]     `json:"schedule,omitempty" doc:"The whole object; null: always."`
	Severity  rest.Optional[string]           `json:"severity,omitempty" enum:"critical,major,minor,warning,info"`
	Actions   rest.Optional[[]NewRuleAction]  `json:"actions,omitempty" maxItems:"10" doc:"The whole list; null: none."`
}

func (n NewRule) rule() (hearth.Rule, error) {
	change := RuleChange{
		Name: set(n.Name), Enabled: set(n.Enabled.Or(true)), Devices: n.Devices, Condition: set(n.Condition), Schedule: n.Schedule,
		Severity: set(n.Severity), Actions: n.Actions,
	}
	return change.rule(hearth.Rule{OrganizationID: n.OrganizationID.Or("")})
}

// rule applies the change to what was set before.
func (c RuleChange) rule(r hearth.Rule) (hearth.Rule, error) {
	var problems []hearth.FieldError
	for name, null := range map[string]bool{"name": c.Name.Null, "condition": c.Condition.Null, "severity": c.Severity.Null} {
		if null {
			problems = append(problems, rest.NotNull(name))
		}
	}
	r.Name = c.Name.Or(r.Name)
	r.Severity = hearth.Severity(c.Severity.Or(string(r.Severity)))
	if c.Enabled.Set {
		r.Enabled = c.Enabled.Or(true)
	}
	if c.Devices.Set {
		d := c.Devices.Or(NewRuleDevices{})
		r.Devices = hearth.RuleDevices{Type: d.Type.Or(""), Tag: d.Tag.Or("")}
		if ids := d.IDs.Or(nil); len(ids) > 0 {
			r.Devices.IDs = ids
		} else if d.IDs.Has() {
			problems = append(problems, hearth.FieldError{Location: "body.devices.ids", Message: "must not be empty: leave it out for all devices"})
		}
	}
	if c.Condition.Has() {
		var more []hearth.FieldError
		r.Condition, more = c.Condition.Value.condition()
		problems = append(problems, more...)
	}
	if c.Schedule.Set {
		r.Schedule = c.Schedule.Or(RuleSchedule{}).schedule()
	}
	if c.Actions.Set {
		r.Actions = nil
		for _, a := range c.Actions.Or(nil) {
			r.Actions = append(r.Actions, a.action())
		}
	}
	return r, rest.InvalidIf(problems)
}

func (n NewRuleCondition) condition() (hearth.Condition, []hearth.FieldError) {
	c := hearth.Condition{
		Event: n.Event.Or(""), Operator: hearth.Operator(n.Operator.Or("")), Value: hearth.Value(n.Value.Or(Value{})), Expression: n.Expression.Or(""),
		For: time.Duration(n.For.Or(0)) * time.Second, ClearFor: time.Duration(n.Clear.Value.For.Or(0)) * time.Second,
	}
	if n.Clear.Value.Value.Has() {
		value := hearth.Value(n.Clear.Value.Value.Value)
		c.ClearValue = &value
	}
	c.OfflineFor = time.Duration(n.OfflineFor.Or(0)) * time.Second
	if n.NoData.Has() {
		c.NoData = &hearth.NoData{Event: n.NoData.Value.Event.Or(""), For: time.Duration(n.NoData.Value.For) * time.Second}
	}
	var problems []hearth.FieldError
	for name, given := range map[string]bool{"operator": n.Operator.Has(), "value": n.Value.Has()} {
		switch {
		case c.Event != "" && !given:
			problems = append(problems, hearth.FieldError{Location: "body.condition." + name, Message: "is required where event is given"})
		case c.Event == "" && given:
			problems = append(problems, hearth.FieldError{Location: "body.condition." + name, Message: "goes with event alone"})
		}
	}
	return c, problems
}

// schedule returns nil for the zero RuleSchedule.
func (s RuleSchedule) schedule() *hearth.RuleSchedule {
	if len(s.Days) == 0 {
		return nil
	}
	r := &hearth.RuleSchedule{TimeZone: s.TZ, Start: timetext.MinuteOfDay(s.Start), End: timetext.MinuteOfDay(s.End)}
	for _, day := range s.Days {
		r.Days = append(r.Days, time.Weekday(slices.Index(days, day)))
	}
	slices.Sort(r.Days)
	return r
}

// RulePath names a rule in the path.
type RulePath struct {
	ID string `path:"id" maxLength:"64" doc:"The rule." example:"0195a1b2-cccc-7e5f-8a9b-0c1d2e3f4a5b"`
}

type listRulesInput struct {
	rest.PageParams
	OrganizationID string `query:"organization_id" maxLength:"64" doc:"Only rules of this organization."`
}

// RuleTest is what a rule is to be tested on.
type RuleTest struct {
	From rest.Time `json:"from" doc:"Start of the span, inclusive; the last reading before it counts too."`
	To   rest.Time `json:"to" doc:"End of the span, exclusive."`
}

// RuleEpisodes are what a rule would have raised.
type RuleEpisodes struct {
	Episodes  []RuleEpisode `json:"episodes" nullable:"false" doc:"By device, and of each in order; at most 1000."`
	Truncated bool          `json:"truncated" doc:"There were more."`
}

// RuleEpisode is what one alarm would have been.
type RuleEpisode struct {
	DeviceID  string     `json:"device_id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	RaisedAt  rest.Time  `json:"raised_at"`
	ClearedAt *rest.Time `json:"cleared_at" doc:"null: it had not ended."`
	Value     *Value     `json:"value" doc:"The newest that met the condition; null for a silence."`
}

func wireEpisodes(episodes []alarms.Episode, truncated bool) RuleEpisodes {
	wire := RuleEpisodes{Episodes: make([]RuleEpisode, len(episodes)), Truncated: truncated}
	for i := range episodes {
		e := &episodes[i]
		wire.Episodes[i] = RuleEpisode{e.DeviceID, rest.Time(e.RaisedAt), rest.TimeOrNull(e.ClearedAt), wireValue(e.Value)}
	}
	return wire
}

// registerRules adds the operations of rules.
func (a *API) registerRules() {
	s := a.options.Alarms
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "create-rule", Method: http.MethodPost, Path: "/rules", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsWrite,
		Status: http.StatusCreated, Creates: true, Location: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Summary: "Create a rule",
		Description: "It judges from the next reading on. The condition is `event`, `operator` and `value`, or `expression`, or `offline_for`, or `no_data`. " +
			"Members of an organization write its rules, viewers read them. An API key needs `commands:write` too for a rule with a command. " +
			"`conflict`: there are 10000 rules already.",
	}, func(ctx context.Context, in *struct{ Body NewRule }) (*rest.Created[Rule], error) {
		rule, err := in.Body.rule()
		if err == nil {
			rule, err = s.CreateRule(ctx, rest.CallerOf(ctx), rule, rest.Idempotency(ctx, wireRule))
		}
		return rest.NewCreated("/rules/"+rule.ID, wireRule(rule)), err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "list-rules", Method: http.MethodGet, Path: "/rules", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List rules", Description: "Those that you may read, the newest first.",
	}, func(ctx context.Context, in *listRulesInput) (*rest.Body[rest.List[Rule]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		found, err := s.Rules(ctx, rest.CallerOf(ctx), in.OrganizationID, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, wireRule)
		return &rest.Body[rest.List[Rule]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-rule", Method: http.MethodGet, Path: "/rules/{id}", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get a rule",
	}, func(ctx context.Context, in *RulePath) (*rest.Body[Rule], error) {
		rule, err := s.Rule(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Rule]{Body: wireRule(rule)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "update-rule", Method: http.MethodPatch, Path: "/rules/{id}", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsWrite,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Change a rule",
		Description: "What is left out stays. A change of anything clears the rule's alarms; then it judges from the next reading on. " +
			"To change a rule with a command, an API key needs `commands:write` too, unless it only disables it. `conflict`: it was changed at the same time.",
	}, func(ctx context.Context, in *struct {
		RulePath
		Body RuleChange
	}) (*rest.Body[Rule], error) {
		check := func(r hearth.Rule) error { return rest.Unchanged(ctx, wireRule(r)) }
		rule, err := s.UpdateRule(ctx, rest.CallerOf(ctx), in.ID, in.Body.rule, check)
		return &rest.Body[Rule]{Body: wireRule(rule)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "delete-rule", Method: http.MethodDelete, Path: "/rules/{id}", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsWrite,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete a rule",
		Description: "Its alarms are cleared, and stay in the list.",
	}, func(ctx context.Context, in *RulePath) (*struct{}, error) {
		return nil, s.DeleteRule(ctx, rest.CallerOf(ctx), in.ID, func(r hearth.Rule) error { return rest.Unchanged(ctx, wireRule(r)) })
	})
	rest.Register(a.Router, rest.Operation{
		ID: "test-rule", Method: http.MethodPost, Path: "/rules/{id}/test", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsRead,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Test a rule on stored logs",
		Description: "What it would have raised, had each reading come in when it was read. Nothing is stored. Up to 200000 readings.",
	}, func(ctx context.Context, in *struct {
		RulePath
		Body RuleTest
	}) (*rest.Body[RuleEpisodes], error) {
		span := hearth.Span{From: time.Time(in.Body.From), To: time.Time(in.Body.To)}
		episodes, truncated, err := s.TestRule(ctx, rest.CallerOf(ctx), in.ID, span)
		return &rest.Body[RuleEpisodes]{Body: wireEpisodes(episodes, truncated)}, err
	})
}
