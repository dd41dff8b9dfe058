package telemetry

import (
	"testing"
	"time"

	"hearth"
)

func TestLogsAreDeletedByThoseWhoMayEditTheDevice(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	span := hearth.Span{From: now, To: now.Add(time.Second)}
	for _, device := range []string{"a1", "o1"} {
		if _, err := b.Ingest(t.Context(), admin, Batch{Devices: []string{device}, Entries: []hearth.LogEntry{entry(0, 1), entry(0, 2)}}); err != nil {
			t.Fatal(err)
		}
	}
	b.heard.reaches = nil
	for _, c := range []struct {
		name   string
		caller hearth.Caller
		device string
		event  string
		want   int64
		code   hearth.Code
	}{
		{"another's device", bob, "a1", "", 0, hearth.CodeNotFound},
		{"a device that may only be read", ann, "o1", "", 0, hearth.CodeForbidden},
		{"a device that is not there", ann, "x", "", 0, hearth.CodeNotFound},
		{"another event", ann, "a1", "f", 0, ""},
		{"the own device", ann, "a1", "e", 2, ""},
		{"the own device again", ann, "a1", "e", 0, ""},
		{"a member's organization", bob, "o1", "", 2, ""},
	} {
		deleted, err := b.Delete(t.Context(), c.caller, Deletion{DeviceID: c.device, Span: span, Event: c.event})
		if deleted != c.want || hearth.ErrorCode(err) != c.code {
			t.Errorf("%s: %d deleted, %v; want %d, %q", c.name, deleted, err, c.want, c.code)
		}
	}
	if n := b.all(t); n != 0 {
		t.Errorf("%d logs are left", n)
	}
	if len(b.heard.reaches) != 4 || b.heard.reaches[3].Scopes[0] != hearth.OrgScope("org") {
		t.Errorf("%+v were said to have changed", b.heard.reaches)
	}
	entries, err := b.store.Audit(t.Context(), hearth.AuditFilter{Action: "logs.delete"}, hearth.Page{Limit: 10})
	if err != nil || len(entries.Items) != 4 {
		t.Fatalf("%d audit entries, %v", len(entries.Items), err)
	}
	last := entries.Items[1]
	if last.Target != "device:a1" || last.ActorID != "user:ann" || last.Changes["event"].Before != "e" || last.Changes["from"].Before != "2026-03-01T12:30:00Z" {
		t.Errorf("the entry is %+v", last)
	}
}
