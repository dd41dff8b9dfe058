package hearth

import (
	"context"
	"slices"
	"time"
)

// Limits of alarms.
const (
	// MaxAlarmHistory bounds what is kept of what happened to an alarm; its end is always kept.
	MaxAlarmHistory = 200
	MaxAlarmComment = 1000 // characters
	// AlarmTTL is how long an alarm is kept after it was cleared.
	AlarmTTL = 365 * 24 * time.Hour
)

// AlarmState is whether an episode goes on.
type AlarmState string

// The states of alarms.
const (
	AlarmActive  AlarmState = "active"
	AlarmCleared AlarmState = "cleared"
)

// Alarm is one episode: a device met the condition of a rule. It belongs to the scope of its rule, also after the device has moved or
// the rule is gone, and goes with its device.
type Alarm struct {
	ID           string
	Scope        Scope
	RuleID       string
	RuleName     string
	DeviceID     string
	DeviceName   string
	Severity     Severity
	State        AlarmState
	Acknowledged bool
	// AcknowledgedBy is a user's id.
	AcknowledgedBy string
	AcknowledgedAt time.Time
	RaisedAt       time.Time
	ClearedAt      time.Time // zero while it is active
	// Count is how many readings met the condition, from the raising one on; Value and LastAt are of the newest of them. A silence counts
	// as one, of RaisedAt and without a value.
	Value  *Value
	LastAt time.Time
	Count  int64
	// History is what happened to it, in order.
	History []AlarmEntry
}

// The events of an alarm's history.
const (
	AlarmEntryRaised       = "raised"
	AlarmEntryAcknowledged = "acknowledged"
	AlarmEntryComment      = "comment"
	AlarmEntryCleared      = "cleared"
)

// AlarmEntry is something that happened to an alarm.
type AlarmEntry struct {
	At    time.Time
	Event string
	// UserID is who did it; "" for what hearth noticed.
	UserID string
	// Text is a comment, or why it was cleared.
	Text string
}

// Clear returns the alarm as cleared.
func (a Alarm) Clear(at time.Time, entry AlarmEntry) Alarm {
	a.State, a.ClearedAt = AlarmCleared, at
	entry.Event = AlarmEntryCleared
	a.History = append(slices.Clip(a.History), entry)
	return a
}

// AllowAlarm is the rule of who may read an alarm or act on it: as for a device of the same scope. CodeNotFound, CodeForbidden.
func (c Caller) AllowAlarm(a Alarm, need DeviceAccess) error {
	d := Device{}
	if id, ok := cutScope(a.Scope, OrgScope("")); ok {
		d.OrganizationID = id
	} else {
		d.OwnerID, _ = cutScope(a.Scope, UserScope(""))
	}
	switch access := c.Access(d); {
	case access&need == need:
		return nil
	case access&MayRead == 0:
		return NotFound("alarm")
	}
	return Errorf(CodeForbidden, "you may not do this with the alarm")
}

// JobAlarm is the kind of the jobs whose payload is an AlarmNotice.
const JobAlarm = "notify.alarm"

// AlarmNotice is the payload of a job: users are notified that an alarm was raised or cleared.
type AlarmNotice struct {
	AlarmID string `json:"alarm_id"`
	// What is AlarmEntryRaised or AlarmEntryCleared.
	What string `json:"what"`
	// Group is NotifyOwner or NotifyOrganization; if it is "", Users are notified.
	Group string   `json:"group,omitempty"`
	Users []string `json:"users,omitempty"`
}

// CheckAlarmComment says what is wrong with a comment; "" if nothing is.
func CheckAlarmComment(text string) string { return checkText(text, MaxAlarmComment) }

// AlarmFilter picks alarms. Zero fields do not filter.
type AlarmFilter struct {
	Reach        Reach
	State        AlarmState
	Acknowledged *bool
	Severity     Severity
	DeviceID     string
	RuleID       string
	// From (inclusive) and To (exclusive) bound RaisedAt.
	From, To time.Time
}

// Reading is a value of an event, as rules judge it.
type Reading struct {
	Event string
	Value Value
	At    time.Time
}

// Unjudged are readings of a device that were stored in one batch and that rules have yet to judge, in the order of their time. They
// are stored in one atomic step with the logs (see SideEffects), and removed in one with what became of them. One without readings is a
// sign of life.
type Unjudged struct {
	ID         string
	DeviceID   string
	ReceivedAt time.Time
	Readings   []Reading
}

// SilenceNote makes the jobs that have rules begin to watch for a silence of devices: they belong into the SideEffects of the write that
// makes, changes or moves these. It makes none where no rule watches for silence.
type SilenceNote func(deviceIDs ...string) []OutboxJob

// NoSilence is a source of SilenceNotes where there are no rules.
func NoSilence(context.Context, Scope) (SilenceNote, error) {
	return func(...string) []OutboxJob { return nil }, nil
}

// Watch is what the rules know of a device.
type Watch struct {
	DeviceID string
	// Values are the newest readings that were judged, by event.
	Values map[string]Reading
	// Rules are the states of those rules for which something holds, by id.
	Rules map[string]RuleState
	// Due is when the first of Rules changes by itself; zero for never.
	Due time.Time
}

// RuleState is what a rule knows of a device while its condition is met.
type RuleState struct {
	// Version is the rule's: the state means nothing to another one.
	Version int64
	Phase   RulePhase
	// Since is when the condition was met or, in RuleEnding, ended, on the readings' time; Arrived is when that reading came in. Of a rule
	// that watches for silence, Since is when that began, and Arrived what the device's last sign of life was then.
	Since   time.Time
	Arrived time.Time
	// AlarmID is the alarm; "" in RulePending. ByHand says that a user cleared it.
	AlarmID string
	ByHand  bool
}

// RulePhase is a phase of RuleState.
type RulePhase string

// The phases: the condition is met and its time runs; an alarm is active; the condition has ended, and the time of that runs.
const (
	RulePending RulePhase = "pending"
	RuleActive  RulePhase = "active"
	RuleEnding  RulePhase = "ending"
)

// Verdict is what a judgement changes.
type Verdict struct {
	Watch Watch
	// Raised are new alarms, Changed those that were there.
	Raised, Changed []Alarm
	Effects         SideEffects
}

// AlarmStore keeps alarms, and what rules know of devices. Every write is atomic and durable when it returns; errors are of the codes
// named here, or CodeUnavailable and CodeStorageFull.
type AlarmStore interface {
	// Alarm returns one alarm; CodeNotFound.
	Alarm(ctx context.Context, id string) (Alarm, error)
	// Alarms lists, without their History; sort is raised_at (default, newest first: "-raised_at") or severity (from info to critical).
	Alarms(ctx context.Context, filter AlarmFilter, page Page) (List[Alarm], error)
	// UpdateAlarm reads, changes and writes an alarm, and what the rules know of its device, in one atomic step. An error of change
	// is returned and nothing is written; change may run more than once. CodeNotFound.
	UpdateAlarm(ctx context.Context, id string, change func(Alarm, Watch) (Alarm, Watch, error), effects SideEffects) (Alarm, error)
	// Judge judges a device in one atomic step: judge gets what the rules know of it (nothing, at first) and the readings that wait,
	// those of earlier batches first, and may read alarms. These readings are removed; more says that others wait. An error of judge
	// is returned and nothing is written; judge may run more than once. A device that is gone keeps nothing.
	Judge(ctx context.Context, deviceID string,
		judge func(watch Watch, waiting []Unjudged, alarm func(id string) (Alarm, error)) (Verdict, error)) (more bool, err error)
	// AddUnjudged stores signs of life.
	AddUnjudged(ctx context.Context, signs []Unjudged) error
	// UnjudgedDevices returns devices of which readings have waited since before a time, up to limit batches of them.
	UnjudgedDevices(ctx context.Context, before time.Time, limit int) ([]string, error)
	// DueWatches returns the ids of up to limit devices and the Due of each, those that are due first.
	DueWatches(ctx context.Context, limit int) ([]Watch, error)
	// Uptime returns what UpdateUptime stored last; at first nothing.
	Uptime(ctx context.Context) (Uptime, error)
	// UpdateUptime reads, changes and writes it in one atomic step; change may run more than once.
	UpdateUptime(ctx context.Context, change func(Uptime) Uptime) (Uptime, error)
	// RemoveAlarms removes up to limit alarms that were cleared before a time and returns how many.
	RemoveAlarms(ctx context.Context, before time.Time, limit int) (int, error)
}

// Uptime says when hearth ran, as far as rules that watch for silence and what removes old records have to know.
type Uptime struct {
	// AliveAt is when a process noted last that it runs; zero while no rule watches for silence.
	AliveAt time.Time
	// Outages are when none ran, in order.
	Outages []Outage
	// BelievedAt is the time by which old records were removed last. DoubtedAt is a time far after it that the clock showed then: nothing
	// is removed until the clock has confirmed it. Zero: there is none.
	BelievedAt, DoubtedAt time.Time
}

// Outage is a time in which hearth was down, or could not store anything.
type Outage struct{ From, To time.Time }
