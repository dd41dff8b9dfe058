package sqlite

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/record"
	"hearth/internal/store/storetest"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	storetest.Audit(t, func(t *testing.T) hearth.AuditStore { return openTest(t) })
}

func TestTheDatabaseRefusesToEditTheAudit(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for range 3 {
		if err := s.AppendAudit(t.Context(), hearth.AuditEntry{At: time.Now(), Action: "a.b"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		`UPDATE audit SET action='c.d' WHERE seq=2`,
		`DELETE FROM audit WHERE seq=3`,
		`DELETE FROM audit`,
		`INSERT OR REPLACE INTO audit SELECT seq, prev_hash, hash, at, actor_id, 'c.d', target, result, ip, user_agent, request_id, changes FROM audit WHERE seq=2`,
		`INSERT INTO audit SELECT 9, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes FROM audit WHERE seq=3`,
		`INSERT INTO audit SELECT 4, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes FROM audit WHERE seq=3`,
		`UPDATE audit_head SET seq=1`,
		`DELETE FROM audit_head`,
		`INSERT INTO audit_head(one, seq, hash) VALUES(2, 3, '')`,
	} {
		err := s.write(t.Context(), "Test", func(t *tx) error {
			_, err := t.exec(statement)
			return err
		})
		if err == nil {
			t.Errorf("done: %s", statement)
		}
	}
	entries, err := s.AuditChain(t.Context(), 0, 10)
	if err != nil || len(entries) != 3 || entries[1].Action != "a.b" {
		t.Errorf("the audit holds %+v, %v", entries, err)
	}
}

// aim appends so many entries of five targets, three in each millisecond.
func aim(t *testing.T, s *Store, n int) {
	t.Helper()
	entries := make([]hearth.AuditEntry, n)
	for i := range entries {
		entries[i] = hearth.AuditEntry{At: time.UnixMilli(int64(1000 + i/3)), Action: "a.b", Target: fmt.Sprint("device:", i%5), ActorID: fmt.Sprint("user:", i%2)}
	}
	if err := s.AppendAudit(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
}

// checkTargets holds the lists of two targets, page by page, against the chain.
func checkTargets(t *testing.T, s *Store) {
	t.Helper()
	chain, err := s.AuditChain(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(chain, func(a, b hearth.AuditEntry) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Seq, a.Seq)) })
	for _, filter := range []hearth.AuditFilter{{Target: "device:0"}, {Target: "device:3", ActorID: "user:1"}} {
		var got, want []int64
		for _, e := range chain {
			if e.Target == filter.Target && (filter.ActorID == "" || e.ActorID == filter.ActorID) {
				want = append(want, e.Seq)
			}
		}
		for page := (hearth.Page{Limit: 100, Count: true}); ; {
			list, err := s.Audit(t.Context(), filter, page)
			if err != nil {
				t.Fatal(err)
			}
			if list.Total != int64(len(want)) {
				t.Fatalf("%+v: %d entries, want %d", filter, list.Total, len(want))
			}
			for _, e := range list.Items {
				got = append(got, e.Seq)
			}
			if page.Cursor = list.Next; list.Next.IsZero() {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %v, want %v", filter, got, want)
		}
	}
}

// number returns what a query answers.
func number(t *testing.T, s *Store, query string) (n int) {
	t.Helper()
	err := s.write(t.Context(), "Test", func(t *tx) error { return t.row(query).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEntriesAreFoundByTargetBeforeAndAfterTheyAreIndexed(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	aim(t, s, unindexed-1)
	if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != 0 {
		t.Errorf("%d entries are indexed before there are enough", n)
	}
	checkTargets(t, s)
	aim(t, s, 1)
	aim(t, s, 200)
	s.indexer.work.Wait()
	if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != unindexed {
		t.Errorf("%d entries are indexed, want %d", n, unindexed)
	}
	checkTargets(t, s)
	const trimmed = 1000
	if n := number(t, s, `SELECT seq FROM audit_indexed`); n != unindexed {
		t.Errorf("the entries up to %d are indexed, want %d", n, unindexed)
	}
	entry := hearth.TrimEntry(time.UnixMilli(1), hearth.AuditHead{Seq: trimmed, Hash: "x"})
	if err := s.AppendAudit(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	if n, err := s.RemoveAudit(t.Context(), trimmed); err != nil || n != trimmed {
		t.Fatalf("%d entries were removed, %v", n, err)
	}
	if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != unindexed-trimmed {
		t.Errorf("%d entries are indexed after a trimming, want %d", n, unindexed-trimmed)
	}
	checkTargets(t, s)
}

// What was added by a program that was interrupted then is added again, and no entry is listed twice meanwhile.
func TestEntriesAreIndexedAfterAnInterruption(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	aim(t, s, unindexed-1)
	chain, err := s.AuditChain(t.Context(), 0, 200)
	if err != nil {
		t.Fatal(err)
	}
	var some []auditTarget
	for _, e := range []hearth.AuditEntry{chain[4], chain[0], chain[199]} {
		some = append(some, auditTarget{e.Target, e.At.UnixMilli(), e.Seq})
	}
	err = s.write(t.Context(), "Test", func(t *tx) error { return indexTargets(t, some) })
	if err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != 3 {
		t.Errorf("%d entries are indexed, want 3", n)
	}
	checkTargets(t, s)
	aim(t, s, 1)
	s.indexer.work.Wait()
	if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != unindexed {
		t.Errorf("%d entries are indexed, want %d", n, unindexed)
	}
	checkTargets(t, s)
}

// Entries of another process, and of this one before it was restarted, are read; those that were removed since are not added.
func TestEntriesThatAreNotRememberedAreIndexed(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	aim(t, s, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	aim(t, s, 1000)
	aim(t, other, 1000)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	aim(t, s, 4*unindexed)
	s.indexer.work.Wait()
	s.indexer.wake()
	s.indexer.work.Wait()
	if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != 4*unindexed {
		t.Errorf("%d entries are indexed, want %d", n, 4*unindexed)
	}
	checkTargets(t, s)
	entry := hearth.TrimEntry(time.UnixMilli(1), hearth.AuditHead{Seq: 2, Hash: "x"})
	if err := s.AppendAudit(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RemoveAudit(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	err = s.write(t.Context(), "Test", func(t *tx) error {
		return indexTargets(t, []auditTarget{{"device:9", 1000, 1}, {"device:9", 1000, 2}, {"device:9", 1000, 3}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := number(t, s, `SELECT count(*) FROM audit_targets WHERE target='device:9'`); n != 1 {
		t.Errorf("%d entries were added, want 1: the others are removed", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAListByTargetReadsItsEntriesAndThoseWithoutIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for _, after := range []hearth.Cursor{{}, {Key: "1", ID: "2"}} {
		var plan []string
		a := record.New(explaining{records{s}, &plan})
		if _, err := a.Audit(t.Context(), hearth.AuditFilter{Target: "a"}, hearth.Page{Cursor: after}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		if strings.Count(text, "SEARCH") != 3 || strings.Count(text, "B-TREE") != 1 || !strings.Contains(text, "SEARCH t USING PRIMARY KEY (target=?") ||
			!strings.Contains(text, "SEARCH audit USING INTEGER PRIMARY KEY (rowid>?") {
			t.Errorf("after %v: %s", after, text)
		}
	}
}

// TestTheTargetsOfAnOldProgramAreMoved, also where that was interrupted.
func TestTheTargetsOfAnOldProgramAreMoved(t *testing.T) {
	t.Parallel()
	for _, moved := range []int{0, 77, 200} {
		path := newFile(t)
		s, err := Open(t.Context(), Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		aim(t, s, 200)
		for _, statement := range []string{
			`CREATE INDEX audit_target ON audit(target, at)`,
			fmt.Sprint(`INSERT INTO audit_targets SELECT target, at, seq FROM audit ORDER BY target, at, seq LIMIT `, moved),
		} {
			err := s.write(t.Context(), "Test", func(t *tx) error {
				_, err := t.exec(statement)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", writerDSN(path, ""))
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		if err := errors.Join(moveTargets(t.Context(), db, 30), db.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(t.Context(), Options{Path: path}); err != nil {
			t.Fatal(err)
		}
		if n := number(t, s, `SELECT count(*) FROM audit_targets`); n != 200 {
			t.Errorf("%d entries are indexed, want 200", n)
		}
		if n := number(t, s, `SELECT count(*) FROM sqlite_master WHERE name='audit_target'`); n != 0 {
			t.Error("the old index is there")
		}
		aim(t, s, 100)
		checkTargets(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkAppendAudit(b *testing.B) {
	s := openTest(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		entry := hearth.AuditEntry{At: time.Now(), Action: "a.b", RequestID: fmt.Sprint(i), Changes: map[string]hearth.Change{"name": {Before: "a", After: "b"}}}
		if err := s.AppendAudit(b.Context(), entry); err != nil {
			b.Fatal(err)
		}
	}
}
