package notify

import (
	"context"
	"errors"
	"strings"

	"hearth"
	"hearth/internal/mail"
	"hearth/internal/queue"
)

// AlarmKind is the kind of the jobs whose payload is hearth.AlarmNotice.
const AlarmKind = hearth.JobAlarm

// Alarms is what this package reads of alarms and of whom they are for.
type Alarms interface {
	// Alarm returns one alarm; CodeNotFound.
	Alarm(ctx context.Context, id string) (hearth.Alarm, error)
	// Members lists the members of an organization.
	Members(ctx context.Context, orgID string, page hearth.Page) (hearth.List[hearth.Member], error)
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
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.notifyOfAlarm(ctx, job, id, notice.What, a))
	}
	return errors.Join(errs...)
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

func (s *Service) notifyOfAlarm(ctx context.Context, job queue.Job, userID, what string, a hearth.Alarm) error {
	user, ok, err := s.user(ctx, userID)
	if err != nil || !ok {
		return err
	}
	orgs, err := s.o.Roles(ctx, user.ID)
	if err != nil || (hearth.Caller{UserID: user.ID, Role: user.Role, Orgs: orgs}).AllowAlarm(a, hearth.MayRead) != nil {
		return err // the right to read may have ended since
	}
	email := mail.AlarmRaised{
		Rule: a.RuleName, Device: a.DeviceName, Severity: string(a.Severity), At: a.RaisedAt, URL: s.o.PublicURL + "/alarms/" + a.ID,
	}
	if a.Value != nil {
		email.Value = a.Value.String()
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
	n.body = "The alarm is " + string(a.Severity) + "."
	if email.Value != "" {
		n.body = "The alarm is " + string(a.Severity) + "; the value is " + mail.Line(email.Value) + "."
	}
	n.email = email
	return s.send(ctx, job.ID, n)
}
