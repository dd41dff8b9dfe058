package notify

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"hearth"
	"hearth/internal/mail"
	"hearth/internal/queue"
	"hearth/internal/timetext"
)

// AlarmKind is the kind of the jobs whose payload is hearth.AlarmNotice.
const AlarmKind = hearth.JobAlarm

// Alarms is what this package reads of alarms and of whom they are for.
type Alarms interface {
	// Alarm returns one alarm; CodeNotFound.
	Alarm(ctx context.Context, id string) (hearth.Alarm, error)
	// Rule returns one rule; CodeNotFound.
	Rule(ctx context.Context, id string) (hearth.Rule, error)
	// Members lists the members of an organization.
	Members(ctx context.Context, orgID string, page hearth.Page) (hearth.List[hearth.Member], error)
}

// Logs finds the logs of a device.
type Logs interface {
	Logs(ctx context.Context, query hearth.LogQuery) ([]hearth.LogEntry, error)
}

// alarm notifies users that an alarm was raised or cleared: those of them who may read it.
func (s *Service) alarm(ctx context.Context, job queue.Job, notice hearth.AlarmNotice) error {
	a, err := s.o.Alarms.Alarm(ctx, notice.AlarmID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil // it went with its device
	}
	if err != nil {
		return err
	}
	ids := notice.Users
	switch notice.Group {
	case hearth.NotifyOwner:
		ids, err = s.ownerOf(ctx, a.DeviceID)
	case hearth.NotifyOrganization:
		ids, err = s.membersOf(ctx, a.Scope, hearth.OrgViewer)
	}
	if err != nil {
		return err
	}
	email, err := s.describeAlarm(ctx, notice.What, a)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.notifyOfAlarm(ctx, job, id, notice.What, a, email))
	}
	return errors.Join(errs...)
}

// describeAlarm returns what an e-mail says of an alarm.
func (s *Service) describeAlarm(ctx context.Context, what string, a hearth.Alarm) (mail.AlarmRaised, error) {
	email := mail.AlarmRaised{
		Rule: a.RuleName, Device: a.DeviceName, Severity: string(a.Severity), At: a.RaisedAt, URL: s.o.PublicURL + "/alarms/" + a.ID,
	}
	if a.Value != nil {
		email.Value = a.Value.String()
	}
	rule, err := s.o.Alarms.Rule(ctx, a.RuleID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return email, nil
	}
	if err != nil {
		return email, err
	}
	email.Threshold = thresholdOf(rule.Condition)
	to := later(a.RaisedAt, a.LastAt)
	if what == hearth.AlarmEntryCleared {
		to = later(to, a.ClearedAt)
	}
	devices, err := s.o.Devices.DevicesByID(ctx, []string{a.DeviceID})
	if err != nil || len(devices) == 0 || s.o.Logs == nil {
		return email, err
	}
	return email, s.draw(ctx, &email, devices[0].Key, rule, to)
}

// thresholdOf says in words what meets a condition.
func thresholdOf(c hearth.Condition) string {
	text := c.Expression
	switch {
	case c.OfflineFor > 0:
		return "no sign of life for " + timetext.FormatDuration(c.OfflineFor)
	case c.NoData != nil:
		return "no " + cmp.Or(c.NoData.Event, "data") + " for " + timetext.FormatDuration(c.NoData.For)
	case c.Event != "":
		text = operatorWords[c.Operator] + " " + c.Value.String()
	}
	if c.For > 0 {
		text += " for " + timetext.FormatDuration(c.For)
	}
	return text
}

var operatorWords = map[hearth.Operator]string{ // never written to
	hearth.Greater: "above", hearth.GreaterOrEqual: "at least", hearth.Less: "below", hearth.LessOrEqual: "at most", hearth.Equal: "equal to",
	hearth.NotEqual: "not equal to",
}

const (
	// charted is how long a chart covers, unless a silence is longer; logStep and maxLogs bound what is read for it.
	charted = time.Hour
	logStep = 1000
	maxLogs = 20 * logStep
	// maxNamed bounds the events of an expression whose values an e-mail has.
	maxNamed = 8
)

// draw adds to an e-mail the charts of what a rule looks at, up to a time: of a threshold its event, of an expression the events that it
// names, with their latest values, and of a silence the event that is missed, or those that the device reported last.
func (s *Service) draw(ctx context.Context, email *mail.AlarmRaised, device int64, rule hearth.Rule, to time.Time) error {
	c := rule.Condition
	lasting := max(charted, 2*c.Silence()) // so that the line is seen before it stops
	query := hearth.LogQuery{
		Device: device, Span: hearth.Span{From: to.Add(-lasting), To: to.Add(time.Millisecond)}, Limit: logStep,
	}
	var events []string
	var err error
	switch {
	case c.Event != "":
		events = []string{c.Event}
	case c.NoData != nil && c.NoData.Event != "":
		events = []string{c.NoData.Event}
	case c.Silence() > 0:
		events, err = s.lastReported(ctx, query)
	default:
		events = s.o.EventsOf(rule)
		email.Values, err = s.valuesOf(ctx, query, events)
	}
	if err != nil {
		return err
	}
	for _, event := range events {
		if len(email.Charts) == mail.MaxCharts {
			break
		}
		query.Event = event
		chart, err := s.chart(ctx, query, c)
		if err != nil {
			return err
		}
		if len(chart.Points) == 0 {
			continue
		}
		chart.Silence = c.Silence() > 0
		if c.Event != "" && c.Value.Kind() == hearth.NumberKind {
			limit := c.Value.Number()
			chart.Threshold = &limit
		}
		email.Charts = append(email.Charts, chart)
	}
	return nil
}

// lastReported returns the events of the newest logs that a query finds, the newest first.
func (s *Service) lastReported(ctx context.Context, query hearth.LogQuery) (events []string, err error) {
	logs, err := s.o.Logs.Logs(ctx, query)
	for _, entry := range logs {
		if !slices.Contains(events, entry.Event) {
			events = append(events, entry.Event)
		}
	}
	return events, err
}

// valuesOf says in words which values events have at the end of the span of a query.
func (s *Service) valuesOf(ctx context.Context, query hearth.LogQuery, events []string) (string, error) {
	query.Span.From, query.Limit = time.Time{}, 1
	var values []string
	for _, event := range events[:min(len(events), maxNamed)] {
		query.Event = event
		logs, err := s.o.Logs.Logs(ctx, query)
		if err != nil {
			return "", err
		}
		if len(logs) > 0 {
			values = append(values, event+" "+logs[0].Value.String())
		}
	}
	return strings.Join(values, ", "), nil
}

// chart returns what a query finds of an event, of the kind of the condition's value or else of the newest; without points where there is
// nothing to draw.
func (s *Service) chart(ctx context.Context, query hearth.LogQuery, c hearth.Condition) (mail.Chart, error) {
	to := query.Span.To.Add(-time.Millisecond)
	chart := mail.Chart{Name: query.Event, From: query.Span.From, To: to}
	kind, known := c.Value.Kind(), c.Event != ""
	var points []mail.ChartPoint // the newest first, as those must be there
	for len(points) < maxLogs {
		logs, err := s.o.Logs.Logs(ctx, query)
		if err != nil {
			return chart, err
		}
		for _, entry := range logs[:min(len(logs), logStep)] {
			if !known {
				kind, known = entry.Value.Kind(), true
			}
			if entry.Value.Kind() == kind {
				points = append(points, mail.ChartPoint{At: entry.At - chart.From.UnixMilli(), Value: entry.Value.Number()})
			}
		}
		if len(logs) <= logStep || kind == hearth.TextKind {
			break
		}
		query.After = &logs[logStep-1]
	}
	if kind == hearth.TextKind {
		return chart, nil
	}
	slices.Reverse(points)
	chart.Points = thin(points, to.Sub(chart.From))
	return chart, nil
}

// thin leaves of more points than a chart of that length has the lowest and the highest of equal spans of time, and the last one.
func thin(points []mail.ChartPoint, length time.Duration) []mail.ChartPoint {
	if len(points) <= mail.MaxChartPoints {
		return points
	}
	const spans = mail.MaxChartPoints/2 - 1
	width := length.Milliseconds()/spans + 1
	var out []mail.ChartPoint
	for start := 0; start < len(points); {
		low, high, end := start, start, start
		for ; end < len(points) && points[end].At/width == points[start].At/width; end++ {
			if points[end].Value < points[low].Value {
				low = end
			}
			if points[end].Value > points[high].Value {
				high = end
			}
		}
		out = append(out, points[min(low, high)])
		if low != high {
			out = append(out, points[max(low, high)])
		}
		start = end
	}
	return append(out, points[len(points)-1])
}

func (s *Service) ownerOf(ctx context.Context, deviceID string) ([]string, error) {
	devices, err := s.o.Devices.DevicesByID(ctx, []string{deviceID})
	if err != nil || len(devices) == 0 {
		return nil, err
	}
	return []string{devices[0].OwnerID}, nil
}

// membersOf returns the members of an organization from a role on.
func (s *Service) membersOf(ctx context.Context, scope hearth.Scope, least hearth.OrgRole) (ids []string, err error) {
	org, ok := strings.CutPrefix(string(scope), string(hearth.OrgScope("")))
	page := hearth.Page{Limit: hearth.MaxLimit}
	for ok {
		list, err := s.o.Alarms.Members(ctx, org, page)
		if err != nil {
			return nil, err
		}
		for _, m := range list.Items {
			if m.Role.Rank() >= least.Rank() {
				ids = append(ids, m.UserID)
			}
		}
		page.Cursor = list.Next
		ok = !page.Cursor.IsZero()
	}
	return ids, nil
}

func (s *Service) notifyOfAlarm(ctx context.Context, job queue.Job, userID, what string, a hearth.Alarm, email mail.AlarmRaised) error {
	user, ok, err := s.user(ctx, userID)
	if err != nil || !ok {
		return err
	}
	orgs, err := s.o.Roles(ctx, user.ID)
	if err != nil || (hearth.Caller{UserID: user.ID, Role: user.Role, Orgs: orgs}).AllowAlarm(a, hearth.MayRead) != nil {
		return err // the right to read may have ended since
	}
	n := message{
		user: user, at: s.now(), kind: hearth.NotifyAlarm, title: mail.Line(a.RuleName) + ": " + mail.Line(a.DeviceName),
		url: email.URL, severity: a.Severity, raised: what == hearth.AlarmEntryRaised,
		data: map[string]string{"alarm_id": a.ID, "rule_id": a.RuleID, "device_id": a.DeviceID, "device_name": a.DeviceName, "severity": string(a.Severity)},
	}
	if what == hearth.AlarmEntryCleared {
		n.body = "The alarm has ended."
		n.email = mail.AlarmCleared{AlarmRaised: email, ClearedAt: a.ClearedAt}
		return s.send(ctx, job.ID, n)
	}
	n.body = "The alarm is " + string(a.Severity)
	if email.Values != "" {
		n.body += "; the values are " + mail.Line(email.Values)
	} else if email.Value != "" {
		n.body += "; the value is " + mail.Line(email.Value)
	}
	if email.Threshold != "" {
		n.body += " (" + mail.Line(email.Threshold) + ")"
	}
	n.body += "."
	n.email = email
	return s.send(ctx, job.ID, n)
}
