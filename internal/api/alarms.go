package api

import (
	"context"
	"net/http"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
)

// Alarm is an alarm on the wire.
type Alarm struct {
	ID             string     `json:"id" format:"uuid" example:"0195a1b2-dddd-7e5f-8a9b-0c1d2e3f4a5b"`
	RuleID         string     `json:"rule_id" format:"uuid" doc:"The rule may be gone." example:"0195a1b2-cccc-7e5f-8a9b-0c1d2e3f4a5b"`
	RuleName       string     `json:"rule_name" doc:"As it was when the alarm was raised." example:"Freezer too warm"`
	DeviceID       string     `json:"device_id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	DeviceName     string     `json:"device_name" doc:"As it was when the alarm was raised." example:"Freezer 2"`
	Severity       string     `json:"severity" enum:"critical,major,minor,warning,info"`
	State          string     `json:"state" enum:"active,cleared"`
	Acknowledged   bool       `json:"acknowledged"`
	AcknowledgedBy *string    `json:"acknowledged_by" format:"uuid" doc:"A user; null unless it is acknowledged." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	AcknowledgedAt *rest.Time `json:"acknowledged_at"`
	RaisedAt       rest.Time  `json:"raised_at" doc:"When the condition was met, with its for, on the readings' time."`
	ClearedAt      *rest.Time `json:"cleared_at" doc:"When it had ended, on the readings' time; null while it is active."`
	Value          *Value     `json:"value" doc:"The newest that met the condition; null for a silence."`
	Count          int64      `json:"count" doc:"How many readings met the condition, from the raising one on." example:"1"`
	LastAt         rest.Time  `json:"last_at" doc:"The time of the newest reading that met the condition."`
}

// AlarmDetails is an alarm with its history.
type AlarmDetails struct {
	Alarm
	History []AlarmEntry `json:"history" nullable:"false" doc:"In order."`
}

// AlarmEntry is an entry of an alarm's history.
type AlarmEntry struct {
	At     rest.Time `json:"at"`
	Event  string    `json:"event" enum:"raised,acknowledged,comment,cleared"`
	UserID *string   `json:"user_id" doc:"Who did it; null for what hearth noticed." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	Text   *string   `json:"text" doc:"The comment, or why it was cleared, where it did not end by itself." example:"Door was open."`
}

func wireAlarm(a hearth.Alarm) Alarm {
	return Alarm{
		ID: a.ID, RuleID: a.RuleID, RuleName: a.RuleName, DeviceID: a.DeviceID, DeviceName: a.DeviceName, Severity: string(a.Severity),
		State: string(a.State), Acknowledged: a.Acknowledged, AcknowledgedBy: rest.TextOrNull(a.AcknowledgedBy), AcknowledgedAt: rest.TimeOrNull(a.AcknowledgedAt),
		RaisedAt: rest.Time(a.RaisedAt), ClearedAt: rest.TimeOrNull(a.ClearedAt), Value: wireValue(a.Value), Count: a.Count, LastAt: rest.Time(a.LastAt),
	}
}

func wireAlarmDetails(a hearth.Alarm) AlarmDetails {
	wire := AlarmDetails{Alarm: wireAlarm(a), History: make([]AlarmEntry, len(a.History))}
	for i, e := range a.History {
		wire.History[i] = AlarmEntry{At: rest.Time(e.At), Event: e.Event, UserID: rest.TextOrNull(e.UserID), Text: rest.TextOrNull(e.Text)}
	}
	return wire
}

type listAlarmsInput struct {
	rest.PageParams
	timerange.Params
	State        string `query:"state" enum:"active,cleared" doc:"Only alarms in this state."`
	Acknowledged string `query:"acknowledged" enum:"true,false" doc:"Only alarms that are, or are not, acknowledged."`
	Severity     string `query:"severity" enum:"critical,major,minor,warning,info" doc:"Only alarms of this severity."`
	DeviceID     string `query:"device_id" maxLength:"64" doc:"Only alarms of this device."`
	RuleID       string `query:"rule_id" maxLength:"64" doc:"Only alarms of this rule."`
	Sort         string `query:"sort" enum:"raised_at,-raised_at,severity,-severity" default:"-raised_at" doc:"The order; severity begins with info, -severity with critical."`
}

func (in listAlarmsInput) filter(a *API) (hearth.AlarmFilter, error) {
	f := hearth.AlarmFilter{
		State: hearth.AlarmState(in.State), Severity: hearth.Severity(in.Severity), DeviceID: in.DeviceID, RuleID: in.RuleID,
	}
	if in.Acknowledged != "" {
		acknowledged := in.Acknowledged == "true"
		f.Acknowledged = &acknowledged
	}
	r, given, err := in.Parse()
	switch {
	case err != nil || !given:
	case r.Sliding > 0:
		f.From = a.Now().Add(-r.Sliding)
	default:
		f.From, f.To = r.From, r.To
	}
	return f, err
}

// AlarmPath names an alarm in the path.
type AlarmPath struct {
	ID string `path:"id" maxLength:"64" doc:"The alarm." example:"0195a1b2-dddd-7e5f-8a9b-0c1d2e3f4a5b"`
}

// registerAlarms adds the operations of alarms.
func (a *API) registerAlarms() {
	s := a.options.Alarms
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "list-alarms", Method: http.MethodGet, Path: "/alarms", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsRead, ETag: true,
		Summary:     "List alarms",
		Description: "Those of the rules that you may read, without their history. `from` and `to` are about `raised_at`. A cleared alarm is kept for a year.",
	}, func(ctx context.Context, in *listAlarmsInput) (*rest.Body[rest.List[Alarm]], error) {
		page, err := in.Page(in.Sort)
		if err != nil {
			return nil, err
		}
		filter, err := in.filter(a)
		if err != nil {
			return nil, err
		}
		found, err := s.Alarms(ctx, rest.CallerOf(ctx), filter, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, wireAlarm)
		return &rest.Body[rest.List[Alarm]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-alarm", Method: http.MethodGet, Path: "/alarms/{id}", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get an alarm with its history",
		Description: "The alarm alone comes live when something happens to it, as the event `alarm`; when its condition is met again, at most once a second.",
	}, func(ctx context.Context, in *AlarmPath) (*rest.Body[AlarmDetails], error) {
		alarm, err := s.Alarm(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[AlarmDetails]{Body: wireAlarmDetails(alarm)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "acknowledge-alarm", Method: http.MethodPost, Path: "/alarms/{id}/acknowledge", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsWrite,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Acknowledge an alarm",
		Description: "Also one that is cleared. An alarm that is acknowledged stays as it is.",
	}, func(ctx context.Context, in *AlarmPath) (*rest.Body[AlarmDetails], error) {
		alarm, err := s.Acknowledge(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[AlarmDetails]{Body: wireAlarmDetails(alarm)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "clear-alarm", Method: http.MethodPost, Path: "/alarms/{id}/clear", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsWrite,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Clear an alarm by hand",
		Description: "The condition must end before the rule raises again for the device. An alarm that is cleared stays as it is.",
	}, func(ctx context.Context, in *AlarmPath) (*rest.Body[AlarmDetails], error) {
		alarm, err := s.Clear(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[AlarmDetails]{Body: wireAlarmDetails(alarm)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "comment-alarm", Method: http.MethodPost, Path: "/alarms/{id}/comments", Tag: tagAlarms, Access: rest.ForUsers, Key: hearth.KeyAlarmsWrite,
		Creates: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Comment on an alarm",
		Description: "`conflict`: its history has 200 entries.",
	}, func(ctx context.Context, in *struct {
		AlarmPath
		Body NewAlarmComment
	}) (*rest.Body[AlarmDetails], error) {
		alarm, err := s.Comment(ctx, rest.CallerOf(ctx), in.ID, in.Body.Text, rest.Idempotency(ctx, wireAlarmDetails))
		return &rest.Body[AlarmDetails]{Body: wireAlarmDetails(alarm)}, err
	})
}

// NewAlarmComment is a comment on an alarm to make.
type NewAlarmComment struct {
	Text string `json:"text" minLength:"1" maxLength:"1000" example:"Door was open."`
}
