package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
)

var (
	errCrash = errors.New("the process died")
	noon     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// The collections that tests look into.
const (
	collEmails   = "emails"
	collTries    = "login_tries"
	collSessions = "sessions"
	collRefresh  = "refresh_tokens"
)

func atNoon() time.Time { return noon }

// once returns an idempotency record that counts on what was created.
func once(key string) *hearth.IdempotencyRecord {
	return &hearth.IdempotencyRecord{
		Caller: "user:ann", Key: key, Fingerprint: "f", Operation: "test", Created: []byte("first"),
		CreatedAt: noon, ExpiresAt: noon.Add(hearth.IdempotencyTTL),
	}
}

func entries(actions ...string) (all []hearth.AuditEntry) {
	for _, action := range actions {
		all = append(all, hearth.AuditEntry{
			At: noon, ActorID: "user:ann", Action: action, Result: "ok", Changes: map[string]hearth.Change{"a": {Before: 1, After: 2}},
		})
	}
	return all
}

func outboxJob(n int) hearth.OutboxJob {
	return hearth.OutboxJob{ID: fmt.Sprintf("0195b000-0000-7000-8000-%012d", n), Kind: "test", Queue: "export", Payload: []byte("{}")}
}

func person(id string, role hearth.Role) hearth.User {
	return hearth.User{ID: id, Name: id, Email: id + "@example.com", Role: role, PasswordHash: []byte("x"), CreatedAt: noon, UpdatedAt: noon}
}

// furnish stores what bigWrite changes.
func furnish(t *testing.T, s *Store) {
	t.Helper()
	for _, u := range []hearth.User{person("ann", hearth.RoleAdmin), person("bob", hearth.RoleAdmin)} {
		if err := s.CreateUser(t.Context(), u, hearth.SideEffects{Audit: entries("user.create")}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 2 {
		_, _, err := s.CreateSession(t.Context(), hearth.NewSession{
			Session:     hearth.Session{ID: fmt.Sprintf("s%d", n), UserID: "ann", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)},
			RefreshHash: []byte(fmt.Sprintf("r%d", n)),
			Decide:      func(u hearth.User, _, _ bool) (hearth.UserChange, error) { return hearth.UserChange{User: u}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.UpdateTries(t.Context(), []byte("tries"), func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error) {
		return hearth.Tries{Failed: 3, UpdatedAt: noon}, hearth.SideEffects{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bigWrite is a write of every kind of operation at once: a login that demotes, renames and clears, ends other sessions, and
// writes everything in one atomic step.
func bigWrite(ctx context.Context, s *Store) error {
	_, _, err := s.CreateSession(ctx, hearth.NewSession{
		Session:     hearth.Session{ID: "new", UserID: "ann", CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)},
		RefreshHash: []byte("rnew"),
		Decide: func(u hearth.User, _, _ bool) (hearth.UserChange, error) {
			u.Email, u.Role, u.LastLoginAt = "other@example.com", hearth.RoleUser, noon
			return hearth.UserChange{
				User: u, EndSessions: hearth.EndPassword, KeepSession: "s1", ClearTries: [][]byte{[]byte("tries")},
				SideEffects: hearth.SideEffects{Idempotency: once("big"), Audit: entries("a", "b"), Jobs: []hearth.OutboxJob{outboxJob(1), outboxJob(2)}},
			}, nil
		},
	})
	return err
}

// content returns everything that is stored, but for what differs between two runs that come to the same. It fails for anything
// that belongs to an unfinished step.
func content(t *testing.T, s *Store) map[string][]bson.M {
	t.Helper()
	all := map[string][]bson.M{}
	for _, coll := range []string{collUsers, collEmails, collTries, collSessions, collRefresh, steps.Guards, steps.Audit, steps.AuditHead, steps.Outbox, steps.Commits} {
		docs, err := steps.FindAll[bson.M](t.Context(), s.Collection(coll), bson.D{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			if d["lock"] != nil || d["draft"] != nil || d["open"] != nil {
				t.Errorf("%s has unfinished work: %v", coll, d)
			}
			for _, varies := range []string{"purge_at", "ref", "v"} {
				delete(d, varies)
			}
			if coll == steps.Commits {
				if d["aborted"] == true {
					continue
				}
				delete(d, "_id")
			}
			if coll == collRefresh && d["session"] == "new" && !has(t, s, collSessions, "new") {
				continue // a note of a step that did not come about means nothing
			}
			all[coll] = append(all[coll], d)
		}
		slices.SortFunc(all[coll], func(a, b bson.M) int {
			return strings.Compare(fmt.Sprint(a["_id"]), fmt.Sprint(b["_id"]))
		})
	}
	return all
}

func has(t *testing.T, s *Store, coll, id string) bool {
	t.Helper()
	exists, err := s.Exists(t.Context(), coll, steps.ByID(id))
	if err != nil {
		t.Fatal(err)
	}
	return exists
}

// verifyChain checks that the audit has no gap, and returns the number of entries.
func verifyChain(t *testing.T, s *Store) int {
	t.Helper()
	chain, err := s.AuditChain(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	var head hearth.AuditHead
	for _, e := range chain {
		if e.Seq != head.Seq+1 || e.PrevHash != head.Hash || e.Hash != e.Sum() {
			t.Errorf("entry %d does not follow %d", e.Seq, head.Seq)
		}
		head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
	}
	if got, err := s.AuditHead(t.Context()); err != nil || got != head {
		t.Errorf("the head is %+v, %v; want %+v", got, err, head)
	}
	return len(chain)
}

// TestACrashBetweenAnyTwoStepsLosesAndDoublesNothing kills a write before each of its commands to the server, one after the
// other, and lets another process go on.
func TestACrashBetweenAnyTwoStepsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon, Grace: time.Millisecond}
	whole := openAt(t, options)
	furnish(t, whole)
	before := content(t, whole)
	var steps []string
	whole.Crash = func(at string) error { steps = append(steps, at); return nil }
	if err := bigWrite(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	whole.Crash = nil
	after := content(t, whole)
	for _, want := range []string{"draft", "note", "lock", "decide", "apply", "sweep", "jobs", "entries", "head", "finish"} {
		if !slices.Contains(steps, want) {
			t.Fatalf("the write did not come by %q: %v", want, steps)
		}
	}
	decided := slices.Index(steps, "decide")
	for n, name := range steps {
		t.Run(fmt.Sprintf("before step %d, %s", n, name), func(t *testing.T) {
			t.Parallel()
			options := options
			options.URI = newDatabase(t)
			dying := openAt(t, options)
			furnish(t, dying)
			left := n
			dying.Crash = func(string) error {
				if left--; left < 0 {
					return errCrash
				}
				return nil
			}
			if err := bigWrite(t.Context(), dying); !errors.Is(err, errCrash) {
				t.Fatalf("the write survived: %v", err)
			}
			other := openAt(t, options) // repairs
			want := before
			if n > decided {
				want = after
			}
			if diff := cmp.Diff(want, content(t, other)); diff != "" {
				t.Errorf("after the repair (-want +got):\n%s", diff)
			}
			verifyChain(t, other)
			var replayed *hearth.Replayed
			switch err := bigWrite(t.Context(), other); {
			case n > decided && !errors.As(err, &replayed), n <= decided && err != nil:
				t.Errorf("writing again: %v", err)
			}
			if diff := cmp.Diff(after, content(t, other)); diff != "" {
				t.Errorf("after writing again (-want +got):\n%s", diff)
			}
			verifyChain(t, other)
		})
	}
}

// rename changes a user's name, and tells of it in the audit.
func rename(ctx context.Context, s *Store, add string) error {
	_, _, err := s.UpdateUser(ctx, "ann", func(u hearth.User) (hearth.UserChange, error) {
		u.Name += add
		return hearth.UserChange{User: u, SideEffects: hearth.SideEffects{Audit: entries("rename")}}, nil
	})
	return err
}

// TestWhoMeetsAnUnfinishedWriteEndsIt: no repair runs; the next write of the same document does the work.
func TestWhoMeetsAnUnfinishedWriteEndsIt(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"decide": "ann2", "apply": "ann12", "entries": "ann12"} {
		t.Run("that died before "+name, func(t *testing.T) {
			t.Parallel()
			options := Options{URI: newDatabase(t), Clock: atNoon, Grace: 20 * time.Millisecond, RepairEvery: time.Hour}
			dying, other := openAt(t, options), openAt(t, options)
			furnish(t, dying)
			dying.Crash = func(at string) error {
				if at == name {
					return errCrash
				}
				return nil
			}
			if err := rename(t.Context(), dying, "1"); !errors.Is(err, errCrash) {
				t.Fatalf("the write survived: %v", err)
			}
			if err := rename(t.Context(), other, "2"); err != nil {
				t.Fatal(err)
			}
			if u, err := other.User(t.Context(), "ann"); err != nil || u.Name != want {
				t.Errorf("the name is %q, %v; want %q", u.Name, err, want)
			}
		})
	}
}

// A write that was decided on while the clock was ahead is finished at once when the clock is right again.
func TestAWriteOfAClockThatWasAheadIsRepaired(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon, Grace: time.Hour, RepairEvery: time.Hour}
	dying := openAt(t, options)
	furnish(t, dying)
	dying.Crash = func(at string) error {
		if at == "apply" {
			return errCrash
		}
		return nil
	}
	if err := rename(t.Context(), dying, "1"); !errors.Is(err, errCrash) {
		t.Fatalf("the write survived: %v", err)
	}
	commits := dying.Collection(steps.Commits)
	unfinished := bson.D{{Key: "open", Value: bson.D{{Key: "$exists", Value: true}}}}
	ahead := bson.D{{Key: "$set", Value: bson.D{{Key: "open", Value: time.Now().Add(time.Hour).UnixMilli()}}}}
	if result, err := commits.UpdateMany(t.Context(), unfinished, ahead); err != nil || result.MatchedCount != 1 {
		t.Fatalf("%+v, %v; want one write that is not finished", result, err)
	}
	openAt(t, options) // repairs
	if n, err := commits.CountDocuments(t.Context(), unfinished); err != nil || n != 0 {
		t.Errorf("%d writes are not finished, %v", n, err)
	}
}

// TestAWriteThatWasGivenUpIsDoneAnew: another process drops a step that is slow between its lock and its decision. The slow
// one must notice, and neither write is lost.
func TestAWriteThatWasGivenUpIsDoneAnew(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon, Grace: time.Millisecond, RepairEvery: time.Hour}
	slow, quick := openAt(t, options), openAt(t, options)
	furnish(t, slow)
	var paused atomic.Bool
	reached, goOn := make(chan struct{}), make(chan struct{})
	slow.Crash = func(at string) error {
		if at == "decide" && paused.CompareAndSwap(false, true) {
			close(reached)
			<-goOn
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- rename(context.WithoutCancel(t.Context()), slow, "1") }()
	<-reached
	if err := rename(t.Context(), quick, "2"); err != nil {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if u, err := quick.User(t.Context(), "ann"); err != nil || u.Name != "ann21" {
		t.Errorf("the name is %q, %v", u.Name, err)
	}
	if n := verifyChain(t, quick); n != 4 {
		t.Errorf("the audit has %d entries, want 4", n)
	}
}

// TestARuleAboutManyDocumentsHoldsWhileOneIsBeingWritten: a demotion stops between any two of its commands; whoever demotes the
// other admin meanwhile must be refused, or else the first one's.
func TestARuleAboutManyDocumentsHoldsWhileOneIsBeingWritten(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon, Grace: 20 * time.Millisecond, RepairEvery: time.Hour}
	demote := func(s *Store, id string) error {
		_, _, err := s.UpdateUser(context.WithoutCancel(t.Context()), id, func(u hearth.User) (hearth.UserChange, error) {
			u.Role = hearth.RoleUser
			return hearth.UserChange{User: u, SideEffects: hearth.SideEffects{Audit: entries("demote")}}, nil
		})
		return err
	}
	slow, quick := openAt(t, options), openAt(t, options)
	for n := 0; ; n++ {
		for _, who := range []string{"a", "b"} {
			if err := quick.CreateUser(t.Context(), person(fmt.Sprint(who, n), hearth.RoleAdmin), hearth.SideEffects{}); err != nil {
				t.Fatal(err)
			}
		}
		left, stopped := n, ""
		reached, goOn := make(chan struct{}), make(chan struct{})
		slow.Crash = func(at string) error {
			if left--; left == -1 {
				stopped = at
				close(reached)
				<-goOn
			}
			return nil
		}
		first := make(chan error, 1)
		go func() { first <- demote(slow, fmt.Sprint("a", n)) }()
		var errs [2]error
		select {
		case <-reached:
			errs[1] = demote(quick, fmt.Sprint("b", n))
			close(goOn)
			errs[0] = <-first
		case errs[0] = <-first: // it has no such step
			return
		}
		refused := 0
		for _, err := range errs {
			if hearth.ErrorCode(err) == hearth.CodeConflict {
				refused++
			} else if err != nil {
				t.Errorf("stopped before step %d, %s: %v", n, stopped, err)
			}
		}
		admins, err := quick.Users(t.Context(), hearth.UserFilter{Role: hearth.RoleAdmin}, hearth.Page{})
		if err != nil || refused != 1 || len(admins.Items) != 1 {
			t.Fatalf("stopped before step %d, %s: %d demotions were refused (%v), %d admins remain, %v", n, stopped, refused, errs, len(admins.Items), err)
		}
		// The next round begins without admins but its own two.
		if _, err := quick.Collection(collUsers).DeleteMany(t.Context(), bson.D{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOneOfManyWritesWithOneKeyIsDone: a hundred at once, by two processes.
func TestOneOfManyWritesWithOneKeyIsDone(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon}
	stores := []*Store{openAt(t, options), openAt(t, options)}
	var created, replayed atomic.Int32
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			e := hearth.Export{
				ID: fmt.Sprintf("e%d", n), UserID: "ann", Status: hearth.ExportQueued, CreatedAt: noon,
			}
			err := stores[n%2].CreateExport(t.Context(), e, hearth.SideEffects{
				Idempotency: once("k"), Audit: entries("export.create"), Jobs: []hearth.OutboxJob{outboxJob(n)},
			})
			var again *hearth.Replayed
			switch {
			case err == nil:
				created.Add(1)
			case errors.As(err, &again) && string(again.Record.Created) == "first":
				replayed.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 || replayed.Load() != 99 {
		t.Errorf("%d were created and %d replayed", created.Load(), replayed.Load())
	}
	list, err := stores[0].Exports(t.Context(), hearth.ExportFilter{}, hearth.Page{Count: true})
	jobs, jobsErr := stores[0].PendingOutbox(t.Context(), 10)
	if err != nil || jobsErr != nil || list.Total != 1 || len(jobs) != 1 || verifyChain(t, stores[1]) != 1 {
		t.Errorf("stored are %d exports and %d jobs (%v, %v)", list.Total, len(jobs), err, jobsErr)
	}
	other := *once("k")
	other.Fingerprint = "another"
	err = stores[1].Record(t.Context(), hearth.SideEffects{Idempotency: &other})
	if hearth.ErrorCode(err) != hearth.CodeIdempotencyMismatch {
		t.Errorf("another request under the key: %v", err)
	}
}

// TestAnExpiredKeyIsFree: a key counts until it expires, whether or not the clean-up came by.
func TestAnExpiredKeyIsFree(t *testing.T) {
	t.Parallel()
	now := noon
	s := openTest(t, func() time.Time { return now })
	record := func() error {
		o := once("k")
		o.CreatedAt, o.ExpiresAt = now, now.Add(time.Hour)
		return s.Record(t.Context(), hearth.SideEffects{Idempotency: o})
	}
	if err := record(); err != nil {
		t.Fatal(err)
	}
	var replayed *hearth.Replayed
	if err := record(); !errors.As(err, &replayed) {
		t.Errorf("within the hour: %v", err)
	}
	now = now.Add(time.Hour)
	if err := record(); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	if n, err := s.DeleteExpiredIdempotencyRecords(t.Context(), now.Add(time.Hour), 10); err != nil || n != 1 {
		t.Errorf("removed %d, %v", n, err)
	}
	if _, err := s.IdempotencyRecord(t.Context(), "user:ann", "k"); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a removed record: %v", err)
	}
}

// TestProcessesShareOneChain: entries of two processes at once make one chain without gaps.
func TestProcessesShareOneChain(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon}
	stores := []*Store{openAt(t, options), openAt(t, options)}
	var wg sync.WaitGroup
	for n := range 40 {
		wg.Go(func() {
			if err := stores[n%2].AppendAudit(t.Context(), entries("x", "y")...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := verifyChain(t, stores[0]); n != 80 {
		t.Errorf("the chain has %d entries, want 80", n)
	}
}

// TestProcessesLoseNoChangeOfOneAnother: both count in one document, with an entry each.
func TestProcessesLoseNoChangeOfOneAnother(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon, OperationTimeout: time.Minute}
	stores := []*Store{openAt(t, options), openAt(t, options), openAt(t, options)}
	furnish(t, stores[0])
	before := verifyChain(t, stores[0])
	const each = 12
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for range each {
				_, _, err := s.UpdateUser(t.Context(), "ann", func(u hearth.User) (hearth.UserChange, error) {
					u.Epoch++
					return hearth.UserChange{User: u, SideEffects: hearth.SideEffects{Audit: entries("count")}}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := each * len(stores)
	if u, err := stores[0].User(t.Context(), "ann"); err != nil || u.Epoch != int64(want) {
		t.Errorf("%d changes count as %d, %v", want, u.Epoch, err)
	}
	if n := verifyChain(t, stores[1]) - before; n != want {
		t.Errorf("%d entries, want %d", n, want)
	}
}

// TestIdempotencyRecordsSurviveAnUpgrade: a record of a program that stored HTTP answers is there, without an operation.
func TestIdempotencyRecordsSurviveAnUpgrade(t *testing.T) {
	t.Parallel()
	s := openTest(t, atNoon)
	_, err := s.Collection(steps.Commits).InsertOne(t.Context(), bson.D{
		{Key: "_id", Value: "c"}, {Key: "once", Value: "user:ann\x00k"}, {Key: "fingerprint", Value: "f"}, {Key: "status", Value: 201},
		{Key: "answer", Value: []byte("sealed")}, {Key: "created", Value: steps.Millis(noon)}, {Key: "expires", Value: steps.Millis(noon.Add(time.Hour))},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.IdempotencyRecord(t.Context(), "user:ann", "k")
	if err != nil || got.Operation != "" || string(got.Created) != "sealed" || got.Fingerprint != "f" || got.FirstLog != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}
