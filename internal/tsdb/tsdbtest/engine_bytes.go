package tsdbtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/tsdb"
)

// engineBytes: the logs of a scope take as many bytes as they may, in the tail and folded, and those that are deleted make room.
func engineBytes(t *testing.T, p *processes) {
	const limit = 200_000
	db, now := p.all[0], noon
	options := quiet(512, func() time.Time { return now })
	options.Bytes = limit
	e, err := tsdb.New(db.Backend, options)
	must(t, err)
	device, err := db.AddDevice(t.Context(), scopes[0])
	must(t, err)
	other, err := db.AddDevice(t.Context(), scopes[1])
	must(t, err)
	sent := 0
	// send stores a hundred different texts of 200 characters.
	send := func(e *tsdb.Engine, device int64) error {
		entries := make([]hearth.LogEntry, 100)
		for i := range entries {
			sent++
			text := fmt.Sprintf("%x", hashOf(sent))
			entries[i] = hearth.LogEntry{Device: device, Event: "e", Value: hearth.Text(strings.Repeat(text, 5)[:200]), At: int64(sent)}
		}
		_, err := e.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{})
		return err
	}
	refused := func(err error) bool {
		t.Helper()
		known, ok := errors.AsType[*hearth.Error](err)
		if err != nil && (!ok || known.Code != hearth.CodeQuotaExceeded || known.Limit != hearth.QuotaBytes || known.RetryAfter == 0) {
			t.Fatalf("the answer is %v, want the quota of bytes", err)
		}
		return err != nil
	}
	// fill sends until it is refused, and returns how often it was accepted.
	fill := func() (accepted int) {
		t.Helper()
		for ; !refused(send(e, device)); accepted++ {
			if accepted == 1000 {
				t.Fatal("the quota of bytes is never reached")
			}
		}
		return accepted
	}
	if n := fill(); n != limit/20_800 {
		t.Errorf("%d batches of 20,800 bytes were accepted, want %d", n, limit/20_800)
	}
	must(t, send(e, other)) // another scope has its own
	must(t, e.FoldAll(t.Context()))
	now = now.Add(time.Minute)
	bytes, err := e.LogBytes(t.Context(), scopes[0])
	must(t, err)
	if bytes < limit/20 || bytes > 2*limit {
		t.Errorf("what is stored is measured as %d bytes, of about %d", bytes, limit)
	}
	more := fill()
	// An engine that starts anew knows what is stored.
	must(t, e.FoldAll(t.Context()))
	e, err = tsdb.New(db.Backend, options)
	must(t, err)
	again := fill()
	if again > more+1 {
		t.Errorf("an engine that starts anew accepts %d batches, the one before %d", again, more)
	}
	must(t, e.FoldAll(t.Context()))
	for fill() > 0 { // what is folded is smaller than it counted
		must(t, e.FoldAll(t.Context()))
		now = now.Add(time.Minute)
	}
	_, err = e.DeleteLogs(t.Context(), hearth.LogDeletion{Device: device, Span: everything})
	must(t, err)
	if !refused(send(e, device)) {
		t.Error("what was deleted counts no more before it is measured")
	}
	now = now.Add(time.Minute)
	if fill() < 2 {
		t.Error("what was deleted makes no room")
	}
	bytes, err = e.LogBytes(t.Context(), "user:none")
	must(t, err)
	if bytes != 0 {
		t.Errorf("a scope without logs has %d bytes", bytes)
	}
}

// hashOf returns 32 bytes that do not compress.
func hashOf(n int) [32]byte { return sha256.Sum256([]byte(strconv.Itoa(n))) }
