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
	c := rule.Condition
	switch {
	case c.OfflineFor > 0:
		email.Threshold = "no sign of life for " + timetext.FormatDuration(c.OfflineFor)
	case c.NoData != nil:
		email.Threshold = "no " + cmp.Or(c.NoData.Event, "data") + " for " + timetext.FormatDuration(c.NoData.For)
	}
	if c.Event == "" {
		return email, nil
	}
	email.Threshold = operatorWords[c.Operator] + " " + c.Value.String()
	if c.For > 0 {
		email.Threshold += " for " + timetext.FormatDuration(c.For)
	}
	to := later(a.RaisedAt, a.LastAt)
	if what == hearth.AlarmEntryCleared {
		to = later(to, a.ClearedAt)
	}
	chart, err := s.chart(ctx, a.DeviceID, c, to)
	if len(chart.Points) > 0 {
		email.Chart = &chart
	}
	return email, err
}

var operatorWords = map[hearth.Operator]string{ // never written to
	hearth.Greater: "above", hearth.GreaterOrEqual: "at least", hearth.Less: "below", hearth.LessOrEqual: "at most", hearth.Equal: "equal to",
	hearth.NotEqual: "not equal to",
}

const (
	// charted is how long a chart covers; logStep and maxLogs bound what is read for it.
	charted = time.Hour
	logStep = 1000
	maxLogs = 20 * logStep
)

// chart returns the hour of a condition's event that ends with a time; without points where there is nothing to draw.
func (s *Service) chart(ctx context.Context, deviceID string, c hearth.Condition, to time.Time) (mail.Chart, error) {
	chart := mail.Chart{Name: c.Event, From: to.Add(-charted), To: to}
	if s.o.Logs == nil || c.Value.Kind() == hearth.TextKind {
		return chart, nil
	}
	devices, err := s.o.Devices.DevicesByID(ctx, []string{deviceID})
	if err != nil || len(devices) == 0 {
		return chart, err
	}
	query := hearth.LogQuery{
		Device: devices[0].Key, Span: hearth.Span{From: chart.From, To: to.Add(time.Millisecond)}, Event: c.Event, Limit: logStep,
	}
	var points []mail.ChartPoint // the newest first, as those must be there
	for len(points) < maxLogs {
		logs, err := s.o.Logs.Logs(ctx, query)
		if err != nil {
			return chart, err
		}
		for _, entry := range logs[:min(len(logs), logStep)] {
			if entry.Value.Kind() == c.Value.Kind() {
				points = append(points, mail.ChartPoint{At: entry.At - chart.From.UnixMilli(), Value: entry.Value.Number()})
			}
		}
		if len(logs) <= logStep {
			break
		}
		query.After = &logs[logStep-1]
	}
	slices.Reverse(points)
	chart.Points = thin(points)
	if c.Value.Kind() == hearth.NumberKind {
		limit := c.Value.Number()
		chart.Threshold = &limit
	}
	return chart, nil
}

// thin leaves of more points than a chart has the lowest and the highest of equal spans of time, and the last one.
func thin(points []mail.ChartPoint) []mail.ChartPoint {
	if len(points) <= mail.MaxChartPoints {
		return points
	}
	const spans = mail.MaxChartPoints/2 - 1
	width := charted.Milliseconds()/spans + 1
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
	if email.Value != "" {
		n.body += "; the value is " + mail.Line(email.Value)
	}
	if email.Threshold != "" {
		n.body += " (" + mail.Line(email.Threshold) + ")"
	}
	n.body += "."
	n.email = email
	return s.send(ctx, job.ID, n)
}
