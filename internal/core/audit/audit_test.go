package audit_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/audit"
	"hearth/internal/newid"
	"hearth/internal/store/archive"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func closed(t *testing.T, store *sqlite.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func fill(t *testing.T, store *sqlite.Store, n int) {
	t.Helper()
	entries := make([]hearth.AuditEntry, n)
	for i := range entries {
		entries[i] = hearth.AuditEntry{
			At: time.Now(), ActorID: "user:1", Action: "device.update", Target: fmt.Sprint("device:", i), Result: "ok",
			Changes: map[string]hearth.Change{"name": {Before: "a", After: fmt.Sprint(i)}},
		}
	}
	if err := store.AppendAudit(t.Context(), entries...); err != nil {
		t.Fatal(err)
	}
}

// A process that can write the file can remove the triggers first; the chain shows the change.
func TestVerifyFindsWhatWasEdited(t *testing.T) {
	t.Parallel()
	const entries = 2500
	for name, tt := range map[string]struct {
		edit  string
		fault int64 // 0: none
	}{
		"nothing":                   {`SELECT 1`, 0},
		"the actor":                 {`UPDATE audit SET actor_id='user:2' WHERE seq=1200`, 1200},
		"the time":                  {`UPDATE audit SET at=at+1 WHERE seq=1`, 1},
		"the changes":               {`UPDATE audit SET changes=replace(changes, '"a"', '"b"') WHERE seq=7`, 7},
		"the changes, respelt":      {`UPDATE audit SET changes=changes||' ' WHERE seq=7`, 7},
		"the changes, no JSON":      {`UPDATE audit SET changes='{' WHERE seq=8`, 8},
		"text moved between fields": {`UPDATE audit SET action=action||'x', target=substr(target, 2) WHERE seq=9`, 9},
		"a hash":                    {`UPDATE audit SET hash=prev_hash WHERE seq=2000`, 2000},
		"one gone":                  {`DELETE FROM audit WHERE seq=1500`, 1500},
		"the first gone":            {`DELETE FROM audit WHERE seq=1`, 1},
		"the newest gone":           {`DELETE FROM audit WHERE seq>2499`, 2500},
		"all gone":                  {`DELETE FROM audit`, 1},
		"one gone, closed up":       {`DELETE FROM audit WHERE seq=1500; UPDATE audit SET seq=seq-1 WHERE seq>1500`, 1500},
		"two swapped":               {`UPDATE audit SET seq=-1 WHERE seq=5; UPDATE audit SET seq=5 WHERE seq=6; UPDATE audit SET seq=6 WHERE seq=-1`, 5},
		"the head":                  {`UPDATE audit_head SET hash='00'`, 2500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := sqlitetest.File(t, t.TempDir())
			store := open(t, path)
			fill(t, store, entries)
			closed(t, store)
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			for _, trigger := range []string{"audit_chain", "audit_next", "audit_no_update", "audit_no_delete", "audit_head_forward", "audit_head_no_delete"} {
				if _, err := db.Exec(`DROP TRIGGER ` + trigger); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := db.Exec(tt.edit); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			store = open(t, path)
			defer closed(t, store)
			told := int64(0)
			verdict, err := audit.New(store, nil, 0).Verify(t.Context(), func(done, total int64) {
				if done < told || total < done {
					t.Errorf("progress went from %d to %d of %d", told, done, total)
				}
				told = done
			})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.fault == 0 && (verdict.Fault != nil || verdict.Entries != entries || len(verdict.Head) != 64 || told != entries):
				t.Errorf("an untouched audit: %+v, progress %d", verdict, told)
			case tt.fault != 0 && (verdict.Fault == nil || verdict.Fault.Seq != tt.fault || verdict.Entries != tt.fault-1):
				t.Errorf("%+v, %v, want the first fault at %d", verdict, verdict.Fault, tt.fault)
			}
		})
	}
}

// What is older than the retention is trimmed in two steps; the rest is still proved, also in a copy of the store.
func TestTheAuditIsTrimmedAndTheRestIsProved(t *testing.T) {
	t.Parallel()
	path := sqlitetest.File(t, t.TempDir())
	store := open(t, path)
	now := time.Now()
	clock := func() time.Time { return now }
	service := audit.New(store, clock, 30*24*time.Hour)
	cleaned := func(removed int) {
		t.Helper()
		if n, err := service.CleanUp(t.Context()); err != nil || n != removed {
			t.Fatalf("%d entries were removed, %v; want %d", n, err, removed)
		}
	}
	verified := func(s *sqlite.Store, trimmed, entries int64) {
		t.Helper()
		verdict, err := audit.New(s, clock, 0).Verify(t.Context(), nil)
		if err != nil || verdict.Fault != nil || verdict.Trimmed != trimmed || verdict.Entries != entries {
			t.Fatalf("%+v, %v; want %d entries after %d", verdict, err, entries, trimmed)
		}
	}
	fill(t, store, 1500)
	cleaned(0)
	verified(store, 0, 1500)
	now = now.Add(31 * 24 * time.Hour)
	cleaned(0) // an entry says so
	verified(store, 1500, 1)
	if entries, err := store.AuditChain(t.Context(), 0, 2000); err != nil || len(entries) != 1501 {
		t.Fatalf("%d entries are there before the next trimming, %v", len(entries), err)
	}
	now = now.Add(-31 * 24 * time.Hour) // it was ahead
	cleaned(0)
	verified(store, 1500, 1)
	now = now.Add(31 * 24 * time.Hour)
	fill(t, store, 10)
	cleaned(1500)
	cleaned(0)
	verified(store, 1500, 11)
	if _, err := store.RemoveAudit(t.Context(), 1501); err == nil {
		t.Error("an entry that no trimming names was removed")
	}

	// A copy begins where the store does, and goes on.
	other := open(t, sqlitetest.File(t, t.TempDir()))
	defer closed(t, other)
	restore := archive.Restore{Source: "test"}
	if _, err := other.BeginRestore(t.Context(), restore); err != nil {
		t.Fatal(err)
	}
	for part, err := range store.Archive(t.Context()) {
		if err == nil {
			err = other.RestorePart(t.Context(), part, restore)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := other.EndRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	verified(other, 1500, 11)
	fill(t, other, 1)
	verified(other, 1500, 12)

	// Who removes more than the entry says is found.
	closed(t, store)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`DROP TRIGGER audit_no_delete; DELETE FROM audit WHERE action <> 'audit.trim' AND seq = (SELECT max(seq) FROM audit)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	store = open(t, path)
	defer closed(t, store)
	if verdict, err := audit.New(store, clock, 0).Verify(t.Context(), nil); err != nil || verdict.Fault == nil || verdict.Fault.Seq != 1511 {
		t.Errorf("%+v, %v; want a fault at 1511", verdict, err)
	}
}

func TestVerifyHoldsWhileTheAuditGrows(t *testing.T) {
	t.Parallel()
	store := open(t, sqlitetest.File(t, t.TempDir()))
	defer closed(t, store)
	fill(t, store, 1500)
	verdict, err := audit.New(store, nil, 0).Verify(t.Context(), func(int64, int64) { fill(t, store, 10) })
	if err != nil || verdict.Fault != nil || verdict.Entries < 1500 {
		t.Errorf("%+v, %v", verdict, err)
	}
}

func TestOnlyAdminsReadTheAudit(t *testing.T) {
	t.Parallel()
	store := open(t, sqlitetest.File(t, t.TempDir()))
	defer closed(t, store)
	fill(t, store, 3)
	for name, tt := range map[string]struct {
		caller hearth.Caller
		code   hearth.Code
	}{
		"an admin": {hearth.Caller{UserID: "1", Role: hearth.RoleAdmin}, ""},
		"a user":   {hearth.Caller{UserID: "1", Role: hearth.RoleUser}, hearth.CodeForbidden},
		"a device": {hearth.Caller{DeviceID: "1", Role: hearth.RoleAdmin}, hearth.CodeForbidden},
		"nobody":   {hearth.Caller{Role: hearth.RoleAdmin}, hearth.CodeForbidden},
	} {
		list, err := audit.New(store, nil, 0).Entries(t.Context(), tt.caller, hearth.AuditFilter{}, hearth.Page{})
		if hearth.ErrorCode(err) != tt.code || tt.code == "" && len(list.Items) != 3 {
			t.Errorf("%s: %d entries, %v", name, len(list.Items), err)
		}
	}
}

// An id alone finds its object, whatever that is, and ids are read in either case.
func TestAnIDAloneFindsItsEntries(t *testing.T) {
	t.Parallel()
	store := open(t, sqlitetest.File(t, t.TempDir()))
	defer closed(t, store)
	admin := hearth.Caller{UserID: newid.New(), Role: hearth.RoleAdmin}
	kinds := targetKinds(t)
	if len(kinds) < 12 {
		t.Fatalf("only %d kinds of targets: the test lost its targets", len(kinds))
	}
	service := audit.New(store, nil, 0)
	t.Log(kinds)
	for _, kind := range kinds {
		id := newid.New()
		entry := hearth.AuditEntry{At: time.Now(), ActorID: admin.Actor(), Action: "thing.update", Target: kind + ":" + id, Result: "ok"}
		if err := store.AppendAudit(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		for _, filter := range []hearth.AuditFilter{
			{Target: id}, {Target: strings.ToUpper(id)}, {Target: kind + ":" + strings.ToUpper(id)},
			{Target: id, ActorID: admin.UserID}, {Target: id, ActorID: "user:" + strings.ToUpper(admin.UserID)},
		} {
			found, err := service.Entries(t.Context(), admin, filter, hearth.Page{})
			if err != nil || len(found.Items) != 1 || found.Items[0].Target != entry.Target {
				t.Errorf("%+v finds %+v (%v), want the entry of %s", filter, found.Items, err, entry.Target)
			}
		}
	}
}

// targetKinds returns the kinds of targets that the sources name behind an action.
func targetKinds(t *testing.T) []string {
	t.Helper()
	kinds := map[string]bool{}
	named := regexp.MustCompile(`"[a-z_]+\.[a-z_]+", "([a-z_]+):" ?\+|Target[:=]? +=? ?"([a-z_]+):" ?\+|target := "([a-z_]+):" ?\+`)
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for line := range strings.Lines(string(source)) {
			if !strings.Contains(line, `:"`) { // what most lines lack: the expression is slow
				continue
			}
			for _, found := range named.FindAllStringSubmatch(line, -1) {
				kinds[found[1]+found[2]+found[3]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(kinds))
}
