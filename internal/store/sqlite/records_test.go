package sqlite

import (
	"context"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/record"
)

// explaining is a backend that finds nothing and keeps how SQLite would have looked for it.
type explaining struct {
	records
	plan *[]string
}

func (b explaining) View(ctx context.Context, name string, fn func(context.Context, record.Reader) error) error {
	return b.s.read(ctx, name, func(r *reader) error { return fn(ctx, explainingReader{recordReader{r}, r, b.plan}) })
}

type explainingReader struct {
	recordReader
	r    *reader
	plan *[]string
}

func (r explainingReader) Find(_ context.Context, s *record.Schema, find record.Query, _ func() (any, error)) error {
	return r.explain(findStatement(s, find))
}

func (r explainingReader) Figures(
	_ context.Context, s *record.Schema, where record.Filter, by, sum, least string,
) ([]record.Figures, error) {
	return nil, r.explain(figuresStatement(s, where, by, sum, least))
}

func (r explainingReader) explain(q *query) error {
	rows, err := r.r.conn.QueryContext(r.r.ctx, `EXPLAIN QUERY PLAN `+q.text.String(), q.args...)
	if err != nil {
		return err
	}
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return closed(rows, err)
		}
		*r.plan = append(*r.plan, detail)
	}
	return closed(rows, nil)
}

// TestListsAreServedByIndexes: rows come off an index in their order, and what is looked for is found by one.
func TestListsAreServedByIndexes(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	var plan []string
	a := record.New(explaining{records{s}, &plan})
	ctx, now := t.Context(), time.Now()
	audited := func(filter hearth.AuditFilter) func(hearth.Cursor) error {
		return func(after hearth.Cursor) error {
			_, err := a.Audit(ctx, filter, hearth.Page{Cursor: after})
			return err
		}
	}
	own := hearth.Reach{Scopes: []hearth.Scope{"user:u", "org:o"}}
	alarmed := func(filter hearth.AlarmFilter, sort string) func(hearth.Cursor) error {
		return func(after hearth.Cursor) error {
			_, err := a.Alarms(ctx, filter, hearth.Page{Sort: sort, Cursor: after})
			return err
		}
	}
	for name, tt := range map[string]struct {
		index string
		list  func(after hearth.Cursor) error
	}{
		"audit":           {"audit_at", audited(hearth.AuditFilter{})},
		"audit of a time": {"audit_at (at>", audited(hearth.AuditFilter{From: now, To: now})},
		"audit by actor":  {"audit_actor (actor_id=?", audited(hearth.AuditFilter{ActorID: "a"})},
		"audit by action": {"audit_action (action=?", audited(hearth.AuditFilter{Action: "a"})},
		"users": {"users_created", func(after hearth.Cursor) error {
			_, err := a.Users(ctx, hearth.UserFilter{}, hearth.Page{Cursor: after})
			return err
		}},
		"users of a role": {"users_role (role=?", func(after hearth.Cursor) error {
			_, err := a.Users(ctx, hearth.UserFilter{Role: "user"}, hearth.Page{Cursor: after})
			return err
		}},
		"all exports": {"exports_created", func(after hearth.Cursor) error {
			_, err := a.Exports(ctx, hearth.ExportFilter{}, hearth.Page{Cursor: after})
			return err
		}},
		"one's exports": {"exports_user (user_id=?", func(after hearth.Cursor) error {
			_, err := a.Exports(ctx, hearth.ExportFilter{UserID: "u"}, hearth.Page{Cursor: after})
			return err
		}},
		"expired exports": {"exports_by_expires_at (expires_at>", func(hearth.Cursor) error { _, err := a.ExpiredExports(ctx, now, 10); return err }},
		"a device's commands": {"commands_by_device_id_seq_id (device_id=?", func(after hearth.Cursor) error {
			_, err := a.Commands(ctx, hearth.CommandFilter{DeviceID: "d"}, hearth.Page{Cursor: after})
			return err
		}},
		"commands of a state": {"commands_by_device_id_state_seq_id_while_turn (device_id=? AND state=?", func(after hearth.Cursor) error {
			_, err := a.Commands(ctx, hearth.CommandFilter{DeviceID: "d", State: "failed"}, hearth.Page{Cursor: after})
			return err
		}},
		"pending commands": {"commands_by_device_id_turn_id_while_turn (device_id=?", func(after hearth.Cursor) error {
			_, err := a.Commands(ctx, hearth.CommandFilter{DeviceID: "d", State: "sent"}, hearth.Page{Cursor: after})
			return err
		}},
		"counts of pending commands": {"COVERING INDEX commands_by_device_id_turn_id_while_turn (device_id=?", func(hearth.Cursor) error {
			_, err := a.CountPendingCommands(ctx, []string{"d", "e"})
			return err
		}},
		"delivered commands": {"commands_by_device_id_state_seq_id_while_turn (device_id=? AND state=?", func(after hearth.Cursor) error {
			_, err := a.Commands(ctx, hearth.CommandFilter{DeviceID: "d", State: "delivered"}, hearth.Page{Cursor: after})
			return err
		}},
		"a pending command by number": {"commands_by_device_id_turn_id_while_turn (device_id=?", func(hearth.Cursor) error {
			_, _ = a.CommandByNumber(ctx, "d", 3)
			return nil
		}},
		"a delivered command by number": {"commands_by_device_id_state_seq_id_while_turn (device_id=? AND state=?", func(hearth.Cursor) error {
			_, _ = a.CommandByNumber(ctx, "d", 3)
			return nil
		}},
		"the next command": {"commands_by_device_id_turn_id_while_turn (device_id=?", func(hearth.Cursor) error { _, _ = a.NextCommand(ctx, "d", 5, now); return nil }},
		"due commands":     {"commands_by_ended_due (ended=?", func(hearth.Cursor) error { _, err := a.DueCommands(ctx, 1); return err }},
		"all rules": {"rules_by_created_at_id", func(after hearth.Cursor) error {
			_, err := a.Rules(ctx, hearth.Reach{All: true}, hearth.Page{Cursor: after})
			return err
		}},
		"one's rules": {"rules_by_scope_created_at_id (scope=?", func(after hearth.Cursor) error {
			_, err := a.Rules(ctx, own, hearth.Page{Cursor: after})
			return err
		}},
		"rules to judge by":    {"rules_by_scope_created_at_id (scope=?", func(hearth.Cursor) error { _, err := a.RulesOf(ctx, "user:u"); return err }},
		"all alarms":           {"alarms_by_raised_at_id", alarmed(hearth.AlarmFilter{Reach: hearth.Reach{All: true}}, "")},
		"all alarms by rank":   {"alarms_by_rank_id", alarmed(hearth.AlarmFilter{Reach: hearth.Reach{All: true}}, "severity")},
		"one's alarms":         {"alarms_by_scope_raised_at_id (scope=?", alarmed(hearth.AlarmFilter{Reach: own}, "raised_at")},
		"one's active alarms":  {"alarms_by_scope_state_raised_at_id (scope=? AND state=?", alarmed(hearth.AlarmFilter{Reach: own, State: "active"}, "")},
		"one's alarms by rank": {"alarms_by_scope_rank_id (scope=?", alarmed(hearth.AlarmFilter{Reach: own}, "-severity")},
		"a rule's alarms":      {"alarms_by_rule_id_state_raised_at_id (rule_id=? AND state=?", alarmed(hearth.AlarmFilter{Reach: hearth.Reach{All: true}, RuleID: "r", State: "active"}, "")},
		"a device's alarms":    {"alarms_by_device_id_raised_at_id (device_id=?", alarmed(hearth.AlarmFilter{Reach: hearth.Reach{All: true}, DeviceID: "d"}, "")},
		"due watches":          {"alarm_watches_by_due (due>", func(hearth.Cursor) error { _, err := a.DueWatches(ctx, 1); return err }},
		"rules about silence":  {"rules_by_silence (silence=", func(hearth.Cursor) error { _, err := a.SilenceRules(ctx, 1); return err }},
		"readings that wait":   {"alarm_readings_by_received_at (received_at<", func(hearth.Cursor) error { _, err := a.UnjudgedDevices(ctx, now, 1); return err }},
		"one's schedules": {"export_schedules_user (user_id=?", func(after hearth.Cursor) error {
			_, err := a.ExportSchedules(ctx, "u", "", hearth.Page{Cursor: after})
			return err
		}},
		"notifications": {"notifications_user (user_id=?", func(after hearth.Cursor) error {
			_, err := a.Notifications(ctx, "u", hearth.NotificationFilter{}, hearth.Page{Cursor: after})
			return err
		}},
		"notification channels": {"notification_channels_by_user_id_created_at_id (user_id=?", func(after hearth.Cursor) error {
			_, err := a.Channels(ctx, "u", hearth.Page{Cursor: after})
			return err
		}},
		"all notification channels": {"notification_channels_by_created_at_id", func(after hearth.Cursor) error {
			_, err := a.Channels(ctx, "", hearth.Page{Cursor: after})
			return err
		}},
		"overdue digests": {"notification_digests_by_due_at_id (due_at>", func(after hearth.Cursor) error {
			_, err := a.OverdueDigests(ctx, now, hearth.Page{Cursor: after})
			return err
		}},
		"unread": {"notifications_by_user_id_read_at_created_at_id (user_id=? AND read_at=?", func(after hearth.Cursor) error {
			_, err := a.Notifications(ctx, "u", hearth.NotificationFilter{Unread: true}, hearth.Page{Cursor: after})
			return err
		}},
		"open sessions": {"sessions_by_user_id_ended_at_created_at_id (user_id=? AND ended_at=?", func(hearth.Cursor) error { _, err := a.Sessions(ctx, "u", now); return err }},
		"all organizations": {"organizations_created", func(after hearth.Cursor) error {
			_, err := a.Organizations(ctx, hearth.OrganizationFilter{}, hearth.Page{Cursor: after})
			return err
		}},
		"members":          {"members_joined (organization_id=?", func(after hearth.Cursor) error { _, err := a.Members(ctx, "o", hearth.Page{Cursor: after}); return err }},
		"roles":            {"members_user (user_id=?", func(hearth.Cursor) error { _, err := a.Roles(ctx, "u"); return err }},
		"an invitation":    {"(hash=?", func(hearth.Cursor) error { _, _ = a.InvitationByHash(ctx, []byte("h")); return nil }},
		"a user by e-mail": {"(email=?", func(hearth.Cursor) error { _, _ = a.UserByEmail(ctx, "e"); return nil }},
		"a token":          {"(hash=?", func(hearth.Cursor) error { _, _ = a.DeviceTokenByHash(ctx, []byte("h")); return nil }},
		"tokens":           {"(device_id=?", func(hearth.Cursor) error { _, err := a.DeviceTokens(ctx, "d"); return err }},
		"an API key":       {"(hash=?", func(hearth.Cursor) error { _, _ = a.APIKeyByHash(ctx, []byte("h")); return nil }},
		"API keys":         {"(user_id=?", func(after hearth.Cursor) error { _, err := a.APIKeys(ctx, "u", hearth.Page{Cursor: after}); return err }},
		"provisioning keys": {"provisioning_keys_by_scope_created_at_id (scope=?", func(after hearth.Cursor) error {
			_, err := a.ProvisioningKeys(ctx, hearth.Reach{Scopes: []hearth.Scope{"user:u"}}, hearth.Page{Cursor: after})
			return err
		}},
		"all provisioning keys": {"provisioning_keys_by_created_at_id", func(after hearth.Cursor) error {
			_, err := a.ProvisioningKeys(ctx, hearth.Reach{All: true}, hearth.Page{Cursor: after})
			return err
		}},
		"integrations": {"integrations_by_created_at_id", func(after hearth.Cursor) error {
			_, err := a.Integrations(ctx, hearth.Page{Cursor: after})
			return err
		}},
		"devices of an integration": {"(integration_id=?", func(hearth.Cursor) error { _, err := a.IntegrationDevices(ctx, "i"); return err }},
		"webhooks": {"webhooks_by_scope_created_at_id (scope=?", func(after hearth.Cursor) error {
			_, err := a.Webhooks(ctx, hearth.Reach{Scopes: []hearth.Scope{"user:u"}}, hearth.Page{Cursor: after})
			return err
		}},
		"webhooks of a scope": {"(scope=?", func(hearth.Cursor) error { _, err := a.WebhooksOf(ctx, "user:u"); return err }},
		"all webhooks": {"webhooks_by_created_at_id", func(after hearth.Cursor) error {
			_, err := a.Webhooks(ctx, hearth.Reach{All: true}, hearth.Page{Cursor: after})
			return err
		}},
		"deliveries": {"webhook_deliveries_by_webhook_id_created_at_id (webhook_id=?", func(after hearth.Cursor) error {
			_, err := a.Deliveries(ctx, hearth.DeliveryFilter{WebhookID: "w"}, hearth.Page{Cursor: after})
			return err
		}},
		"failed deliveries": {"(webhook_id=? AND state=?", func(after hearth.Cursor) error {
			_, err := a.Deliveries(ctx, hearth.DeliveryFilter{WebhookID: "w", State: hearth.DeliveryFailed}, hearth.Page{Cursor: after})
			return err
		}},
		"lines":          {"(webhook_id=?", func(hearth.Cursor) error { _, err := a.DeliveryLines(ctx, "w", 9); return err }},
		"a line":         {"(line=? AND state=?", func(hearth.Cursor) error { _, _ = a.FirstDelivery(ctx, "l"); return nil }},
		"webhook events": {"(queue=?", func(hearth.Cursor) error { _, err := a.PendingWebhookEvents(ctx, 9); return err }},
		"connections":    {"(device_id>?", func(hearth.Cursor) error { _, err := a.DeviceConnections(ctx, "d", 9); return err }},
		"watches":        {"(device_id=?", func(hearth.Cursor) error { _, err := a.DeviceWatches(ctx, "d"); return err }},
	} {
		for _, after := range []hearth.Cursor{{}, {Key: "1", ID: "2"}} {
			plan = nil
			if err := tt.list(after); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if text := strings.Join(plan, "\n"); !strings.Contains(text, tt.index) || strings.Contains(text, "B-TREE") {
				t.Errorf("%s after %v: not by %s alone:\n%s", name, after, tt.index, text)
			}
		}
	}
}
