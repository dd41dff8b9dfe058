package tsdbtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// engineEvents: a device and a scope have so many event names and no more, whatever the order in which they come.
func engineEvents(t *testing.T, p *processes) {
	db, now := p.all[0], noon
	options := quiet(512, func() time.Time { return now })
	options.Events, options.DeviceEvents = 5, 3
	e, err := tsdb.New(db.Backend, options)
	must(t, err)
	device := func(scope hearth.Scope) int64 {
		key, err := db.AddDevice(t.Context(), scope)
		must(t, err)
		return key
	}
	a, b, other := device(scopes[0]), device(scopes[0]), device(scopes[1])
	send := func(device int64, names ...string) error {
		entries := make([]hearth.LogEntry, len(names))
		for i, name := range names {
			entries[i] = hearth.LogEntry{Device: device, Event: name, Value: hearth.Number(1), At: int64(i)}
		}
		_, err := e.AppendLogs(context.Background(), entries, nil, hearth.SideEffects{})
		return err
	}
	refused := func(err error, quota string) {
		t.Helper()
		known, ok := errors.AsType[*hearth.Error](err)
		if !ok || known.Code != hearth.CodeQuotaExceeded || known.Limit != quota || known.RetryAfter == 0 {
			t.Errorf("the answer is %v, want the quota %s", err, quota)
		}
	}
	must(t, send(a, "one", "two", "one"))
	refused(send(a, "three", "four"), hearth.QuotaDeviceEvents)
	keys, err := db.Backend.EventKeys(t.Context(), []string{"one", "three", "four"}, false)
	must(t, err)
	if len(keys) != 1 {
		t.Errorf("refused names have keys: %v", keys)
	}
	must(t, send(a, "three"))
	refused(send(a, "four"), hearth.QuotaDeviceEvents)
	must(t, send(b, "four", "five", "one"))
	refused(send(device(scopes[0]), "six"), hearth.QuotaEvents)
	must(t, send(device(scopes[0]), "five"))
	must(t, send(other, "six")) // another scope's names are its own

	// What is folded counts as what is in the tail does; an engine that starts anew knows both.
	must(t, e.FoldAll(t.Context()))
	e, err = tsdb.New(db.Backend, options)
	must(t, err)
	must(t, send(a, "one", "two", "three"))
	refused(send(a, "five"), hearth.QuotaDeviceEvents)
	refused(send(device(scopes[0]), "seven"), hearth.QuotaEvents)

	// What was deleted makes room, once it is looked for anew.
	_, err = e.DeleteLogs(t.Context(), hearth.LogDeletion{Device: a, Span: everything, Event: "two"})
	must(t, err)
	now = now.Add(time.Minute)
	must(t, send(a, "five"))
}
