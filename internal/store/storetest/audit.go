package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

// Audit is the suite for hearth.AuditStore. open returns an empty store; it is called once a test, in parallel.
func Audit(t *testing.T, open func(*testing.T) hearth.AuditStore) {
	for name, test := range map[string]func(*testing.T, hearth.AuditStore){
		"gives entries back as they were written":     auditRoundTrip,
		"chains entries without gaps":                 auditChain,
		"chains entries that are written at once":     auditConcurrent,
		"lists the newest first, page by page":        auditPages,
		"cuts by actor, action, target and time":      auditFilters,
		"refuses a cursor that it does not know":      auditBadCursor,
		"an empty store has no head and no entries":   auditEmpty,
		"removes what an entry says was trimmed":      auditTrim,
		"entries of one write are stored all or none": auditAllOrNone,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func auditEntry(n int) hearth.AuditEntry {
	return hearth.AuditEntry{
		At: epoch.Add(time.Duration(n) * time.Second), ActorID: fmt.Sprintf("user:%d", n%3), Action: []string{"device.create", "device.delete"}[n%2],
		Target: fmt.Sprintf("device:%d", n%5), Result: "ok", IP: "192.0.2.1", UserAgent: "curl/8", RequestID: fmt.Sprintf("r%d", n),
	}
}

func appendAudit(t *testing.T, s hearth.AuditStore, entries ...hearth.AuditEntry) {
	t.Helper()
	if err := s.AppendAudit(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
}

func auditList(t *testing.T, s hearth.AuditStore, filter hearth.AuditFilter, page hearth.Page) hearth.List[hearth.AuditEntry] {
	t.Helper()
	list, err := s.Audit(t.Context(), filter, page)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func auditAll(t *testing.T, s hearth.AuditStore) []hearth.AuditEntry {
	t.Helper()
	entries, err := s.AuditChain(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func auditRoundTrip(t *testing.T, s hearth.AuditStore) {
	want := auditEntry(1)
	want.UserAgent = "naïve \"agent\"\n\x01"
	want.Changes = map[string]hearth.Change{
		"name": {Before: "a", After: "<b>&\u2028"}, "tags": {After: []any{"x", "y"}}, "interval": {Before: 60.0, After: 1e300}, "gone": {Before: true},
	}
	appendAudit(t, s, want)
	got := auditAll(t, s)
	if len(got) != 1 || got[0].ChangesText == "" {
		t.Fatalf("got %+v", got)
	}
	if got[0].Sum() != got[0].Hash {
		t.Error("the hash is not of what is stored")
	}
	if listed := auditList(t, s, hearth.AuditFilter{}, hearth.Page{}).Items; !cmp.Equal(listed, got) {
		t.Errorf("the list differs from the chain: %s", cmp.Diff(got, listed))
	}
	plain := got[0]
	plain.Seq, plain.Hash, plain.PrevHash, plain.ChangesText = 0, "", "", ""
	if diff := cmp.Diff(want, plain); diff != "" {
		t.Error(diff)
	}
	encoded := auditEntry(2)
	encoded.ChangesText = `{"name":{"before":"<a>","after":{"b":1.50}}}`
	appendAudit(t, s, encoded)
	got = auditAll(t, s)
	if len(got) != 2 || got[1].ChangesText != encoded.ChangesText || got[1].Sum() != got[1].Hash {
		t.Fatalf("changes that were given as text came back as %+v", got)
	}
	if want := map[string]hearth.Change{"name": {Before: "<a>", After: map[string]any{"b": 1.5}}}; !cmp.Equal(got[1].Changes, want) {
		t.Errorf("the changes are %+v, want %+v", got[1].Changes, want)
	}
}

// checkChain holds entries against what the contract says of Seq, PrevHash and Hash.
func checkChain(t *testing.T, s hearth.AuditStore, want int) {
	t.Helper()
	entries := auditAll(t, s)
	if len(entries) != want {
		t.Fatalf("%d entries, want %d", len(entries), want)
	}
	prev := hearth.AuditHead{}
	for _, e := range entries {
		if e.Seq != prev.Seq+1 || e.PrevHash != prev.Hash || e.Hash != e.Sum() || len(e.Hash) != 64 {
			t.Fatalf("entry %d does not follow %+v: %+v", e.Seq, prev, e)
		}
		prev = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
	}
	if head, err := s.AuditHead(t.Context()); err != nil || head != prev {
		t.Errorf("the head is %+v, %v, want %+v", head, err, prev)
	}
}

func auditChain(t *testing.T, s hearth.AuditStore) {
	appendAudit(t, s, auditEntry(1), auditEntry(2))
	appendAudit(t, s)
	appendAudit(t, s, auditEntry(3))
	checkChain(t, s, 3)
	for after, want := range map[int64][]int64{0: {1, 2}, 1: {2, 3}, 2: {3}, 3: nil} {
		entries, err := s.AuditChain(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		var seqs []int64
		for _, e := range entries {
			seqs = append(seqs, e.Seq)
		}
		if !slices.Equal(seqs, want) {
			t.Errorf("after %d: %v, want %v", after, seqs, want)
		}
	}
}

func auditConcurrent(t *testing.T, s hearth.AuditStore) {
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := s.AppendAudit(context.Background(), auditEntry(i), auditEntry(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	checkChain(t, s, 200)
	entries := auditAll(t, s)
	for i := 0; i < len(entries); i += 2 {
		if entries[i].RequestID != entries[i+1].RequestID {
			t.Fatalf("the entries of one write are apart: %s, %s", entries[i].RequestID, entries[i+1].RequestID)
		}
	}
}

func auditPages(t *testing.T, s hearth.AuditStore) {
	for i := range 25 {
		e := auditEntry(i / 2) // pairs of the same time
		e.RequestID = fmt.Sprint(i)
		appendAudit(t, s, e)
	}
	late := auditEntry(0) // written last, happened first
	late.At, late.RequestID = epoch.Add(-time.Hour), "late"
	appendAudit(t, s, late)
	var got []string
	page := hearth.Page{Limit: 4, Count: true}
	for {
		list := auditList(t, s, hearth.AuditFilter{}, page)
		if want := int64(26 + len(got)/8); list.Total != want {
			t.Errorf("total %d, want %d", list.Total, want)
		}
		for _, e := range list.Items {
			got = append(got, e.RequestID)
		}
		if list.Next.IsZero() {
			break
		}
		page.Cursor = list.Next
		if len(got)%8 == 0 { // what comes in meanwhile moves nothing
			newer := auditEntry(1000)
			newer.RequestID = "newer"
			appendAudit(t, s, newer)
		}
	}
	var want []string
	for i := 24; i >= 0; i-- {
		want = append(want, fmt.Sprint(i))
	}
	want = append(want, "late")
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func auditFilters(t *testing.T, s hearth.AuditStore) {
	for i := range 30 {
		appendAudit(t, s, auditEntry(i))
	}
	for name, tt := range map[string]struct {
		filter hearth.AuditFilter
		match  func(i int) bool
	}{
		"actor":    {hearth.AuditFilter{ActorID: "user:1"}, func(i int) bool { return i%3 == 1 }},
		"action":   {hearth.AuditFilter{Action: "device.delete"}, func(i int) bool { return i%2 == 1 }},
		"target":   {hearth.AuditFilter{Target: "device:4"}, func(i int) bool { return i%5 == 4 }},
		"from":     {hearth.AuditFilter{From: epoch.Add(20 * time.Second)}, func(i int) bool { return i >= 20 }},
		"to":       {hearth.AuditFilter{To: epoch.Add(20 * time.Second)}, func(i int) bool { return i < 20 }},
		"together": {hearth.AuditFilter{ActorID: "user:1", Action: "device.delete", Target: "device:2", From: epoch, To: epoch.Add(time.Hour)}, func(i int) bool { return i%30 == 7 }},
		"none":     {hearth.AuditFilter{ActorID: "user:' OR 1=1 --"}, func(int) bool { return false }},
		"a part":   {hearth.AuditFilter{Target: "device:%"}, func(int) bool { return false }},
	} {
		var want []string
		for i := 29; i >= 0; i-- {
			if tt.match(i) {
				want = append(want, fmt.Sprintf("r%d", i))
			}
		}
		list := auditList(t, s, tt.filter, hearth.Page{Count: true, Limit: 100})
		var got []string
		for _, e := range list.Items {
			got = append(got, e.RequestID)
		}
		if !slices.Equal(got, want) || list.Total != int64(len(want)) {
			t.Errorf("%s: %v of %d, want %v", name, got, list.Total, want)
		}
	}
}

func auditBadCursor(t *testing.T, s hearth.AuditStore) {
	for _, cursor := range []hearth.Cursor{{Key: "x", ID: "1"}, {Key: "1", ID: "x"}, {ID: "1"}} {
		_, err := s.Audit(t.Context(), hearth.AuditFilter{}, hearth.Page{Cursor: cursor})
		wantCode(t, err, hearth.CodeValidationFailed)
	}
}

func auditEmpty(t *testing.T, s hearth.AuditStore) {
	checkChain(t, s, 0)
	if list := auditList(t, s, hearth.AuditFilter{}, hearth.Page{Count: true}); len(list.Items) != 0 || list.Total != 0 || !list.Next.IsZero() {
		t.Errorf("got %+v", list)
	}
}

func auditAllOrNone(t *testing.T, s hearth.AuditStore) {
	bad := auditEntry(2)
	bad.Changes = map[string]hearth.Change{"f": {After: func() {}}} // nothing that JSON can hold
	if err := s.AppendAudit(t.Context(), auditEntry(1), bad); err == nil {
		t.Error("an entry that cannot be encoded was stored")
	}
	checkChain(t, s, 0)
	appendAudit(t, s, auditEntry(3))
	checkChain(t, s, 1)
}

// auditTrim: entries go up to what an entry of a trimming names, and no further; the others stay as they are.
func auditTrim(t *testing.T, s hearth.AuditStore) {
	const n, kept = 1500, 40
	entries := make([]hearth.AuditEntry, 500)
	for at := 0; at < n; at += len(entries) {
		for i := range entries {
			entries[i] = auditEntry(at + i)
		}
		appendAudit(t, s, entries...)
	}
	refused := func(upTo int64) {
		t.Helper()
		if removed, err := s.RemoveAudit(t.Context(), upTo); err == nil || removed > 0 {
			t.Errorf("%d entries up to %d were removed, which no entry says are trimmed", removed, upTo)
		}
	}
	refused(1)
	all := auditAll(t, s)
	last := all[n-kept-1]
	appendAudit(t, s, hearth.TrimEntry(epoch, hearth.AuditHead{Seq: last.Seq, Hash: last.Hash}))
	for _, want := range []int{n - kept, 0} {
		removed, err := s.RemoveAudit(t.Context(), last.Seq)
		if err != nil || removed != want {
			t.Fatalf("%d entries were removed, %v; want %d", removed, err, want)
		}
	}
	refused(last.Seq + 1)
	left := auditAll(t, s)
	if diff := cmp.Diff(all[n-kept:], left[:kept]); diff != "" || len(left) != kept+1 {
		t.Errorf("%d entries are left, want %d: %s", len(left), kept+1, diff)
	}
	if trimmed, ok := left[kept].Trimmed(); !ok || trimmed.Seq != last.Seq || trimmed.Hash != last.Hash {
		t.Errorf("the entry of the trimming names %+v, want %d with its hash", trimmed, last.Seq)
	}
	appendAudit(t, s, auditEntry(1))
	if head, err := s.AuditHead(t.Context()); err != nil || head.Seq != n+2 {
		t.Errorf("the head is %+v, %v", head, err)
	}
	// The clock has gone back since: the later trimming counts all the same.
	next := left[0]
	appendAudit(t, s, hearth.TrimEntry(epoch.Add(-time.Hour), hearth.AuditHead{Seq: next.Seq, Hash: next.Hash}))
	if removed, err := s.RemoveAudit(t.Context(), next.Seq); err != nil || removed != 1 {
		t.Errorf("%d entries were removed after the clock went back, %v; want 1", removed, err)
	}
}
