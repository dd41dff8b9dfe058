package alarms

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"hearth"
	"hearth/internal/judge"
	"hearth/internal/newid"
	"hearth/internal/queue"
)

// maxProblems bounds the problems that one answer names.
const maxProblems = 20

// CreateRule makes a rule of what users set of one. Errors: CodeValidationFailed (a device or user that may not be named is named by its
// index, like one that does not exist), CodeNotFound (the organization), CodeForbidden, CodeConflict, CodeIdempotencyMismatch,
// *hearth.Replayed.
func (s *Service) CreateRule(ctx context.Context, caller hearth.Caller, r hearth.Rule, key *hearth.IdempotencyRequest) (hearth.Rule, error) {
	now := s.now()
	r.ID, r.OwnerID, r.Version, r.CreatedAt, r.UpdatedAt = newid.New(), caller.UserID, 1, now, now
	if r.OrganizationID == "" && caller.OnlyOrg != "" {
		return hearth.Rule{}, hearth.Errorf(hearth.CodeForbidden, "the API key is bound to an organization: name it in organization_id")
	}
	if err := caller.AllowRule(r, hearth.MayEdit); err != nil {
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return hearth.Rule{}, hearth.NotFound("organization")
		}
		return hearth.Rule{}, err
	}
	if err := s.check(ctx, caller, r, hearth.Rule{}); err != nil {
		return hearth.Rule{}, err
	}
	record, err := key.Record(r)
	if err != nil {
		return hearth.Rule{}, err
	}
	entry := caller.Entry(now, "rule.create", "rule:"+r.ID)
	entry.Changes = map[string]hearth.Change{"name": {After: r.Name}}
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}, Jobs: watchJobs(r, now)}
	if err := s.o.Rules.CreateRule(ctx, r, effects); err != nil {
		return hearth.Rule{}, err
	}
	s.changed(ctx, r.Scope())
	s.watchSoon(ctx, r)
	return r, nil
}

// check holds a rule against what it may be. What it names and named before is not looked at again.
func (s *Service) check(ctx context.Context, caller hearth.Caller, r, before hearth.Rule) error {
	if err := allowCommands(caller, r, before); err != nil {
		return err
	}
	problems := r.Validate("body.")
	if _, problem := judge.New(r); problem != "" && len(problems) == 0 {
		problems = append(problems, hearth.FieldError{Location: "body.condition.expression", Message: problem})
	}
	if len(problems) == 0 {
		of, err := s.checkDevices(ctx, caller, r, before)
		if err != nil {
			return err
		}
		users, err := s.checkUsers(ctx, r, before)
		if err != nil {
			return err
		}
		hooks, err := s.checkWebhooks(ctx, r)
		if err != nil {
			return err
		}
		problems = slices.Concat(of, users, hooks)
	}
	if len(problems) > 0 {
		return hearth.Invalid(problems[:min(len(problems), maxProblems)]...)
	}
	return nil
}

// allowCommands makes sure that an API key that may send no commands makes no rule send any. It may disable one that does.
func allowCommands(caller hearth.Caller, r, before hearth.Rule) error {
	sends := func(a hearth.Action) bool { return a.Command != nil }
	disables := !r.Enabled && reflect.DeepEqual(r.Actions, before.Actions)
	if caller.HasScope(hearth.KeyCommandsWrite) || disables || !slices.ContainsFunc(r.Actions, sends) {
		return nil
	}
	return hearth.Errorf(hearth.CodeForbidden, "the rule sends a command, and the API key lacks the scope %s", hearth.KeyCommandsWrite)
}

// checkDevices makes sure that the devices that a rule names are of its scope and the caller's.
func (s *Service) checkDevices(ctx context.Context, caller hearth.Caller, r, before hearth.Rule) (problems []hearth.FieldError, err error) {
	found, err := s.o.Directory.Resolve(ctx, caller, r.Devices.IDs)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(found))
	for i, id := range r.Devices.IDs {
		message := ""
		switch {
		case seen[id]:
			message = "is there twice"
		case slices.Contains(before.Devices.IDs, id):
		case found[i] == nil || found[i].Scope() != r.Scope():
			message = "is no device of the rule's owner"
		}
		if seen[id] = true; message != "" {
			problems = append(problems, hearth.FieldError{Location: fmt.Sprintf("body.devices.ids[%d]", i), Message: message})
		}
	}
	return problems, nil
}

// checkUsers makes sure that the users that a rule notifies are its owner or of its organization.
func (s *Service) checkUsers(ctx context.Context, r, before hearth.Rule) (problems []hearth.FieldError, err error) {
	known := map[string]bool{}
	if r.OrganizationID == "" {
		known[r.OwnerID] = true
	}
	for _, a := range before.Actions {
		for _, id := range a.Users {
			known[id] = true
		}
	}
	for i, a := range r.Actions {
		for k, id := range a.Users {
			if _, looked := known[id]; !looked {
				roles, err := s.o.Roles(ctx, id)
				if err != nil {
					return nil, err
				}
				known[id] = r.OrganizationID != "" && roles[r.OrganizationID].Valid()
			}
			if !known[id] {
				problems = append(problems, hearth.FieldError{
					Location: fmt.Sprintf("body.actions[%d].notify[%d]", i, k), Message: "is no user who may see the rule's devices",
				})
			}
		}
	}
	return problems, nil
}

// checkWebhooks makes sure that the webhooks that a rule names are of its scope.
func (s *Service) checkWebhooks(ctx context.Context, r hearth.Rule) (problems []hearth.FieldError, err error) {
	for i, a := range r.Actions {
		if a.WebhookID == "" {
			continue
		}
		hook, err := s.o.Webhook(ctx, a.WebhookID)
		if err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
			return nil, err
		}
		if err != nil || hook.Scope() != r.Scope() {
			problems = append(problems, hearth.FieldError{Location: fmt.Sprintf("body.actions[%d].webhook_id", i), Message: "is no webhook of the rule's owner"})
		}
	}
	return problems, nil
}

// Rules lists the rules that the caller may read, newest first; of one organization, if orgID is not "". CodeNotFound (the organization),
// CodeForbidden.
func (s *Service) Rules(ctx context.Context, caller hearth.Caller, orgID string, page hearth.Page) (hearth.List[hearth.Rule], error) {
	reach, err := caller.Reach(orgID)
	if err != nil {
		return hearth.List[hearth.Rule]{}, err
	}
	return s.o.Rules.Rules(ctx, reach, page)
}

// Rule returns one rule; CodeNotFound, also for one that the caller may not read.
func (s *Service) Rule(ctx context.Context, caller hearth.Caller, id string) (hearth.Rule, error) {
	r, err := s.o.Rules.Rule(ctx, id)
	if err == nil {
		err = caller.AllowRule(r, hearth.MayRead)
	}
	if err != nil {
		return hearth.Rule{}, err
	}
	return r, nil
}

// UpdateRule changes a rule: change gets what is set and returns what shall be. check sees the rule first, and its error stops the change;
// it may be nil. The rule's alarms are cleared, unless nothing changes. Errors: CodeNotFound, CodeForbidden, CodeValidationFailed, and
// those of change and check.
func (s *Service) UpdateRule(
	ctx context.Context, caller hearth.Caller, id string, change func(hearth.Rule) (hearth.Rule, error), check func(hearth.Rule) error,
) (hearth.Rule, error) {
	old, err := s.Rule(ctx, caller, id)
	if err == nil {
		err = caller.AllowRule(old, hearth.MayEdit)
	}
	if err != nil {
		return hearth.Rule{}, err
	}
	if check != nil {
		if err := check(old); err != nil {
			return hearth.Rule{}, err
		}
	}
	wanted, err := change(old)
	if err == nil {
		err = s.check(ctx, caller, wanted, old)
	}
	if err != nil {
		return hearth.Rule{}, err
	}
	if reflect.DeepEqual(wanted, old) {
		return old, nil
	}
	now := s.now()
	entry := caller.Entry(now, "rule.update", "rule:"+id)
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{entry}, Jobs: append(watchJobs(wanted, now), clearJob(id, now))}
	after, err := s.o.Rules.UpdateRule(ctx, id, func(r hearth.Rule) (hearth.Rule, error) {
		if r.Version != old.Version {
			return r, hearth.Errorf(hearth.CodeConflict, "the rule was changed at the same time")
		}
		r = wanted
		r.UpdatedAt = now
		return r, nil
	}, effects)
	if err != nil {
		return hearth.Rule{}, err
	}
	s.changed(ctx, after.Scope())
	s.clearSoon(ctx, id)
	s.watchSoon(ctx, after)
	return after, nil
}

// DeleteRule removes a rule, and clears its alarms. check as in UpdateRule. CodeNotFound, CodeForbidden.
func (s *Service) DeleteRule(ctx context.Context, caller hearth.Caller, id string, check func(hearth.Rule) error) error {
	r, err := s.Rule(ctx, caller, id)
	if err != nil {
		return err
	}
	now := s.now()
	entry := caller.Entry(now, "rule.delete", "rule:"+id)
	entry.Changes = map[string]hearth.Change{"name": {Before: r.Name}}
	effects := hearth.SideEffects{Audit: []hearth.AuditEntry{entry}, Jobs: []hearth.OutboxJob{clearJob(id, now)}}
	err = s.o.Rules.DeleteRule(ctx, id, func(r hearth.Rule) error {
		if err := caller.AllowRule(r, hearth.MayEdit); err != nil || check == nil {
			return err
		}
		return check(r)
	}, effects)
	if err != nil {
		return err
	}
	s.changed(ctx, r.Scope())
	s.clearSoon(ctx, id)
	return nil
}

// jobClear is the kind of job that clears the alarms of a rule that was changed, disabled or deleted.
const jobClear = "alarms.clear"

type clearPayload struct {
	RuleID string `json:"rule_id"`
}

func clearJob(ruleID string, now time.Time) hearth.OutboxJob {
	payload, err := json.Marshal(clearPayload{ruleID})
	if err != nil {
		panic("alarms: an id always encodes: " + err.Error())
	}
	return hearth.OutboxJob{ID: queue.NewID(now), Kind: jobClear, Queue: string(queue.Notification), Payload: payload}
}

func (s *Service) clearJob(ctx context.Context, task *queue.Task) error {
	var payload clearPayload
	if err := json.Unmarshal(task.Job.Payload, &payload); err != nil {
		return queue.Permanent(err)
	}
	return s.clearOf(ctx, payload.RuleID)
}

// clearSoon clears some alarms of a rule before its change is answered; the job clears the others.
func (s *Service) clearSoon(ctx context.Context, ruleID string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.clearOf(ctx, ruleID); err != nil {
		s.o.Logger.WarnContext(ctx, "alarms of a changed rule are cleared later", "rule", ruleID, "err", err)
	}
}

// clearOf judges the devices with an active alarm of a rule, some of which may be of a version of before.
func (s *Service) clearOf(ctx context.Context, ruleID string) error {
	page := hearth.Page{Limit: hearth.MaxLimit, Sort: "raised_at"}
	for {
		list, err := s.o.Alarms.Alarms(ctx, hearth.AlarmFilter{Reach: hearth.Reach{All: true}, RuleID: ruleID, State: hearth.AlarmActive}, page)
		if err != nil {
			return err
		}
		ids := make([]string, len(list.Items))
		for i, a := range list.Items {
			ids[i] = a.DeviceID
		}
		for part := range slices.Chunk(slices.Compact(slices.Sorted(slices.Values(ids))), duePart) {
			if err := s.judgeThese(ctx, part, false); err != nil {
				return err
			}
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			return nil
		}
	}
}
