package hearth

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Limits of rules.
const (
	MaxRules       = 10_000 // of one user or organization
	MaxRuleName    = 200    // characters
	MaxRuleDevices = 1000   // that a rule names
	MaxRuleActions = 10
	MaxRuleUsers   = 100 // that an action notifies
	MaxExpression  = 1000
	// MaxRuleTime bounds every duration of a rule.
	MaxRuleTime = 30 * 24 * time.Hour
)

// Severity says how bad an alarm is.
type Severity string

// The severities, from the worst on.
const (
	SeverityCritical Severity = "critical"
	SeverityMajor    Severity = "major"
	SeverityMinor    Severity = "minor"
	SeverityWarning  Severity = "warning"
	SeverityInfo     Severity = "info"
)

// Severities returns all severities, from the worst on.
func Severities() []Severity {
	return []Severity{SeverityCritical, SeverityMajor, SeverityMinor, SeverityWarning, SeverityInfo}
}

// Rank orders severities: 5 for critical to 1 for info, 0 for anything else.
func (s Severity) Rank() int {
	return (len(Severities()) - slices.Index(Severities(), s)) % (len(Severities()) + 1)
}

// Operator compares a reading with a rule's value.
type Operator string

// The operators.
const (
	Greater        Operator = "gt"
	GreaterOrEqual Operator = "gte"
	Less           Operator = "lt"
	LessOrEqual    Operator = "lte"
	Equal          Operator = "eq"
	NotEqual       Operator = "ne"
)

// ordered reports whether the operator compares sizes, upwards those above the value.
func (o Operator) ordered() (ordered, upwards bool) {
	upwards = o == Greater || o == GreaterOrEqual
	return upwards || o == Less || o == LessOrEqual, upwards
}

// Condition is what a rule watches for: a threshold of one event (Event is set), an Expression over the latest values, or silence.
type Condition struct {
	Event    string
	Operator Operator
	Value    Value
	// Expression is in the language of package judge.
	Expression string
	// OfflineFor is how long a device gives no sign of life; NoData how long it sends no readings.
	OfflineFor time.Duration
	NoData     *NoData
	// For is how long a threshold or an expression must hold before an alarm is raised.
	For time.Duration
	// ClearValue, if set, takes the place of Value for the end of an alarm; ClearFor is how long the end must hold.
	ClearValue *Value
	ClearFor   time.Duration
}

// NoData is a silence of readings of an event; of all events, if Event is "".
type NoData struct {
	Event string
	For   time.Duration
}

// Silence returns how long a silence the condition watches for; zero for a threshold or an expression.
func (c Condition) Silence() time.Duration {
	if c.NoData != nil {
		return c.NoData.For
	}
	return c.OfflineFor
}

func (c Condition) validate(bad func(field, message string)) {
	for field, d := range map[string]time.Duration{"condition.for": c.For, "condition.clear.for": c.ClearFor} {
		if d < 0 || d > MaxRuleTime || d%time.Second != 0 {
			bad(field, "must be 0 to 2592000 seconds")
		}
	}
	kinds := 0
	for _, given := range []bool{c.Event != "", c.Expression != "", c.OfflineFor != 0, c.NoData != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		bad("condition", "must have exactly one of event (with operator and value), expression, offline_for and no_data")
		return
	}
	if c.OfflineFor != 0 || c.NoData != nil {
		c.validateSilence(bad)
		return
	}
	if c.Expression != "" {
		if len(c.Expression) > MaxExpression {
			bad("condition.expression", "is longer than 1000 bytes")
		}
		if c.ClearValue != nil || c.ClearFor != 0 {
			bad("condition.clear", "has no meaning for an expression")
		}
		return
	}
	if !ValidEvent(c.Event) {
		bad("condition.event", EventRule)
	}
	if problem := c.Value.problem(); problem != "" {
		bad("condition.value", problem)
	}
	ordered, upwards := c.Operator.ordered()
	switch {
	case ordered && c.Value.Kind() != NumberKind:
		bad("condition.value", "must be a number where the operator compares sizes")
	case !ordered && c.Operator != Equal && c.Operator != NotEqual:
		bad("condition.operator", "must be gt, gte, lt, lte, eq or ne")
	case c.ClearValue == nil:
	case !ordered:
		bad("condition.clear.value", "has no meaning for eq and ne")
	case c.ClearValue.Kind() != NumberKind || c.ClearValue.problem() != "":
		bad("condition.clear.value", "must be a finite number of at most 1e300")
	case upwards && c.ClearValue.Number() > c.Value.Number() || !upwards && c.ClearValue.Number() < c.Value.Number():
		bad("condition.clear.value", "must lie on the harmless side of the value")
	}
}

func (c Condition) validateSilence(bad func(field, message string)) {
	field := "condition.offline_for"
	if c.NoData != nil {
		if field = "condition.no_data.for"; c.NoData.Event != "" && !ValidEvent(c.NoData.Event) {
			bad("condition.no_data.event", EventRule)
		}
	}
	if d := c.Silence(); d < time.Second || d > MaxRuleTime || d%time.Second != 0 {
		bad(field, "must be 1 to 2592000 seconds")
	}
	if c.For != 0 {
		bad("condition.for", "has no meaning for a silence")
	}
	if c.ClearValue != nil || c.ClearFor != 0 {
		bad("condition.clear", "has no meaning for a silence")
	}
}

// RuleDevices picks devices of a rule's scope: those that all fields pick that are set.
type RuleDevices struct {
	IDs  []string
	Type string
	Tag  string
}

// Pick reports whether it picks a device of the rule's scope.
func (p RuleDevices) Pick(d Device) bool {
	return (len(p.IDs) == 0 || slices.Contains(p.IDs, d.ID)) && (p.Type == "" || p.Type == d.Type) && (p.Tag == "" || slices.Contains(d.Tags, p.Tag))
}

// RuleSchedule says when a rule raises alarms: on some days of the week, from Start to End, in minutes after midnight. One that ends
// at or before its start goes on past midnight, and that belongs to the day of its start.
type RuleSchedule struct {
	TimeZone   string
	Days       []time.Weekday
	Start, End int
}

// Action is what happens when an alarm is raised or cleared; one of Notify, Users, WebhookID and Command is set.
type Action struct {
	// Notify is "owner" or "organization"; Users are ids.
	Notify string
	Users  []string
	// WebhookID is a webhook of the rule's scope, which is sent the alarm whether or not it subscribes to alarms.
	WebhookID string
	// Command is what the device is told to do.
	Command *RuleCommand
	// OnRaise and OnClear say when.
	OnRaise, OnClear bool
}

// RuleCommand is a command that an action sends.
type RuleCommand struct {
	Name   string
	Params json.RawMessage // any JSON; nil if absent
}

// JobCommand is the kind of the jobs whose payload is a CommandOrder.
const JobCommand = "commands.order"

// CommandOrder is the payload of a job: a device is sent a command, once.
type CommandOrder struct {
	// ID is the command's.
	ID        string          `json:"id"`
	DeviceID  string          `json:"device_id"`
	Name      string          `json:"name"`
	Params    json.RawMessage `json:"params,omitempty"`
	CreatedBy string          `json:"created_by"`
	CreatedAt time.Time       `json:"created_at"`
}

// targets counts what an action is about.
func (a Action) targets() (n int) {
	for _, given := range []bool{a.Notify != "", len(a.Users) > 0, a.WebhookID != "", a.Command != nil} {
		if given {
			n++
		}
	}
	return n
}

// The groups of users that an action notifies: the device's owner, the members of the rule's organization.
const (
	NotifyOwner        = "owner"
	NotifyOrganization = "organization"
)

// Rule says of which devices what raises an alarm. It belongs to an organization if OrganizationID is set, else to its owner, and is
// about devices of the same.
type Rule struct {
	ID             string
	Name           string
	OwnerID        string
	OrganizationID string
	Enabled        bool
	Devices        RuleDevices
	Condition      Condition
	Schedule       *RuleSchedule // nil: always
	Severity       Severity
	Actions        []Action
	Version        int64
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// Scope returns who the rule belongs to.
func (r Rule) Scope() Scope { return r.place().Scope() }

// place is a device of the rule's scope: whoever may read or edit that, may do so with the rule.
func (r Rule) place() Device { return Device{OwnerID: r.OwnerID, OrganizationID: r.OrganizationID} }

// AllowRule is the rule of who may read or edit a rule: as for a device of the same owner. CodeNotFound, CodeForbidden.
func (c Caller) AllowRule(r Rule, need DeviceAccess) error {
	switch access := c.Access(r.place()); {
	case access&need == need:
		return nil
	case access&MayRead == 0:
		return NotFound("rule")
	}
	return Errorf(CodeForbidden, "you may not do this with the rule")
}

// Validate checks what users set, but for the expression; locations start with prefix, such as "body.".
func (r Rule) Validate(prefix string) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkText(r.Name, MaxRuleName); message != "" {
		bad("name", message)
	}
	r.Condition.validate(bad)
	if r.Severity.Rank() == 0 {
		bad("severity", "must be critical, major, minor, warning or info")
	}
	if len(r.Devices.IDs) > MaxRuleDevices {
		bad("devices.ids", "has more than 1000 devices")
	}
	for field, text := range map[string]string{"devices.type": r.Devices.Type, "devices.tag": r.Devices.Tag} {
		if message := checkText(text, MaxTag); text != "" && message != "" {
			bad(field, message)
		}
	}
	if s := r.Schedule; s != nil {
		if _, err := TimeZone(s.TimeZone); err != nil {
			bad("schedule.tz", err.Error())
		}
		if len(s.Days) == 0 || len(s.Days) > 7 || len(slices.Compact(slices.Sorted(slices.Values(s.Days)))) < len(s.Days) {
			bad("schedule.days", "must have 1 to 7 days, each once")
		}
	}
	if len(r.Actions) > MaxRuleActions {
		bad("actions", "has more than 10 actions")
	}
	for i, a := range r.Actions {
		at := fmt.Sprintf("actions[%d]", i)
		switch {
		case a.Notify == NotifyOrganization && r.OrganizationID == "":
			bad(at+".notify", "must not be organization: the rule belongs to none")
		case a.Notify != "" && a.Notify != NotifyOwner && a.Notify != NotifyOrganization:
			bad(at+".notify", "must be owner, organization or a list of user ids")
		case a.targets() != 1:
			bad(at, "must have exactly one of notify, webhook_id and command")
		case a.Command != nil && !validCommandName(a.Command.Name):
			bad(at+".command.name", "must be 1 to 64 letters, digits and _ . : -")
		case a.Command != nil && checkCommandJSON(a.Command.Params) != "":
			bad(at+".command.params", checkCommandJSON(a.Command.Params))
		case len(a.Users) > MaxRuleUsers:
			bad(at+".notify", "has more than 100 users")
		}
	}
	return errs
}

// RuleStore keeps rules. Every write is atomic and durable when it returns; errors are of the codes named here, or CodeUnavailable
// and CodeStorageFull. A deleted organization takes its rules along.
type RuleStore interface {
	// CreateRule stores a rule; CodeNotFound if its organization is gone, CodeConflict if its scope has MaxRules.
	CreateRule(ctx context.Context, rule Rule, effects SideEffects) error
	// Rule returns one rule; CodeNotFound.
	Rule(ctx context.Context, id string) (Rule, error)
	// Rules lists those within reach by created_at, newest first; the page's sort is "".
	Rules(ctx context.Context, reach Reach, page Page) (List[Rule], error)
	// RulesOf returns all rules of a scope that are enabled, by created_at.
	RulesOf(ctx context.Context, scope Scope) ([]Rule, error)
	// SilenceRules returns the ids of up to limit enabled rules of any scope that watch for silence.
	SilenceRules(ctx context.Context, limit int) ([]string, error)
	// UpdateRule reads, changes and writes one rule in one atomic step, and counts its version up by one. An error of change is
	// returned and nothing is written; change must not touch ID, OwnerID, OrganizationID, CreatedAt or Version, may run more than
	// once, and may complete the entries of effects.Audit, which are read after it. CodeNotFound.
	UpdateRule(ctx context.Context, id string, change func(Rule) (Rule, error), effects SideEffects) (Rule, error)
	// DeleteRule removes a rule; check as in UpdateRule. CodeNotFound.
	DeleteRule(ctx context.Context, id string, check func(Rule) error, effects SideEffects) error
}
