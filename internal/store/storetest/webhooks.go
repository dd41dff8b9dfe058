package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
)

// WebhookStore is what the suite of webhooks is about.
type WebhookStore interface {
	hearth.WebhookStore
	organizations
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
	Record(ctx context.Context, effects hearth.SideEffects) error
	WebhookSignal() <-chan struct{}
}

// Webhooks is the suite for hearth.WebhookStore. open returns an empty store; it is called once a test, in parallel.
func Webhooks(t *testing.T, open func(*testing.T) WebhookStore) {
	for name, test := range map[string]func(*testing.T, WebhookStore){
		"returns, changes and deletes webhooks":                    hooksRoundTrip,
		"lists the webhooks within reach, newest first":            hooksPages,
		"bounds the webhooks of a scope":                           hooksBound,
		"an organization takes its webhooks and deliveries along":  hooksOfOrganization,
		"returns events apart from the jobs of the queue":          hooksEvents,
		"stores a delivery once, by several processes at once":     hooksOnce,
		"lists deliveries, newest first, by state":                 hooksDeliveries,
		"a line goes on in order, and goes when nothing waits":     hooksLine,
		"a delivery that steps aside lets the next one go":         hooksAside,
		"a claim is one process's, and is lost by another claim":   hooksClaim,
		"a delivery that arrives while a line ends is not missed":  hooksRace,
		"a delivery is retried in a line of its own":               hooksRetry,
		"removes the deliveries that ended first":                  hooksRemoval,
		"notes connections with their events, those that are news": hooksConnections,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// hook returns a webhook of ann's; n makes ids and times that ascend.
func hook(n int) hearth.Webhook {
	at := epoch.Add(time.Duration(n) * time.Second)
	return hearth.Webhook{
		ID: fmt.Sprintf("0195b000-0000-7000-b000-%012d", n), Name: "pager", URL: "https://example.com/hook", UserID: "ann",
		Events: []hearth.WebhookEvent{hearth.WebhookDeviceOnline}, Enabled: true, Secret: []byte("secret"), Version: 1, CreatedAt: at, UpdatedAt: at,
	}
}

func createHook(t *testing.T, s WebhookStore, w hearth.Webhook) hearth.Webhook {
	t.Helper()
	if err := s.CreateWebhook(t.Context(), w, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// sent returns a delivery to a webhook in a line; n makes ids and times that ascend.
func sent(w hearth.Webhook, line string, n int) hearth.WebhookDelivery {
	at := epoch.Add(time.Duration(n) * time.Second)
	return hearth.WebhookDelivery{
		ID: fmt.Sprintf("0195b000-0000-7000-c000-%012d", n), WebhookID: w.ID, Event: hearth.WebhookDeviceOnline, Body: json.RawMessage(`{"a": "<>"}`),
		State: hearth.DeliveryPending, Line: w.ID + "/" + line, Seq: fmt.Sprintf("%03d", n), CreatedAt: at, NextAt: at,
	}
}

func deliver(t *testing.T, s WebhookStore, all ...hearth.WebhookDelivery) {
	t.Helper()
	if err := s.CreateDeliveries(t.Context(), all, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

// takeOver claims the first line of a webhook.
func takeOver(t *testing.T, s WebhookStore, w hearth.Webhook) hearth.DeliveryLine {
	t.Helper()
	lines, err := s.DeliveryLines(t.Context(), w.ID, 1)
	if err != nil || len(lines) != 1 {
		t.Fatalf("lines: %v, %v", lines, err)
	}
	until := epoch.Add(time.Hour)
	if ok, err := s.ClaimLine(t.Context(), lines[0], until); err != nil || !ok {
		t.Fatalf("claimed: %t, %v", ok, err)
	}
	lines[0].NextAt = until
	return lines[0]
}

// attempted ends an attempt of the first delivery of a line, which must be that one.
func attempted(t *testing.T, s WebhookStore, line *hearth.DeliveryLine, want string, change func(*hearth.WebhookDelivery)) (more bool) {
	t.Helper()
	d, err := s.FirstDelivery(t.Context(), line.ID)
	if err != nil || d.ID != want {
		t.Fatalf("the first delivery is %s, %v, want %s", d.ID, err, want)
	}
	change(&d)
	until := line.NextAt.Add(time.Minute)
	more, err = s.EndAttempt(t.Context(), *line, d, until)
	if err != nil {
		t.Fatal(err)
	}
	line.NextAt = until
	return more
}

func succeed(d *hearth.WebhookDelivery) {
	d.State, d.NextAt, d.EndedAt = hearth.DeliverySucceeded, time.Time{}, d.CreatedAt.Add(time.Second)
	d.Attempts = append(d.Attempts, hearth.DeliveryAttempt{At: d.CreatedAt, Status: 204, Took: 5 * time.Millisecond})
}

// linesOf returns when the lines of a webhook are due.
func linesOf(t *testing.T, s WebhookStore, w hearth.Webhook) map[string]time.Time {
	t.Helper()
	lines, err := s.DeliveryLines(t.Context(), w.ID, 100)
	if err != nil {
		t.Fatal(err)
	}
	due := map[string]time.Time{}
	for _, l := range lines {
		due[l.ID] = l.NextAt
	}
	return due
}

func hooksRoundTrip(t *testing.T, s WebhookStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	full := hook(2)
	full.OrganizationID, full.Events, full.DisabledReason = "team", hearth.WebhookEvents(), hearth.WebhookFailing
	full.OldSecret, full.OldSecretUntil, full.FailingSince = []byte("old"), epoch.Add(time.Hour), epoch.Add(time.Minute)
	for _, want := range []hearth.Webhook{hook(1), full} {
		got, err := s.Webhook(t.Context(), createHook(t, s, want).ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
		of, err := s.WebhooksOf(t.Context(), want.Scope())
		if err != nil {
			t.Fatal(err)
		}
		same(t, of, []hearth.Webhook{want})
	}
	orphan := hook(3)
	orphan.OrganizationID = "gone"
	wantCode(t, s.CreateWebhook(t.Context(), orphan, hearth.SideEffects{}), hearth.CodeNotFound)
	job := hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}
	refusal := hearth.Errorf(hearth.CodeForbidden, "no")
	_, err := s.UpdateWebhook(t.Context(), full.ID, func(w hearth.Webhook) (hearth.Webhook, error) { return w, refusal }, job)
	wantCode(t, err, hearth.CodeForbidden)
	wantCode(t, s.DeleteWebhook(t.Context(), full.ID, func(hearth.Webhook) error { return refusal }, job), hearth.CodeForbidden)
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("a refusal left %v, %v", jobs, err)
	}
	after, err := s.UpdateWebhook(t.Context(), full.ID, func(w hearth.Webhook) (hearth.Webhook, error) {
		w.Name, w.Enabled, w.Version = "new", false, 2
		return w, nil
	}, hearth.SideEffects{JobsAfter: func() ([]hearth.OutboxJob, error) { return []hearth.OutboxJob{outboxJob(1)}, nil }})
	if err != nil || after.Name != "new" || after.Version != 2 {
		t.Errorf("changed: %+v, %v", after, err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 1 {
		t.Errorf("the change left %v, %v", jobs, err)
	}
	deliver(t, s, sent(full, "a", 1))
	if err := s.DeleteWebhook(t.Context(), full.ID, func(hearth.Webhook) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Webhook(t.Context(), full.ID)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.Delivery(t.Context(), full.ID, sent(full, "a", 1).ID)
	wantCode(t, err, hearth.CodeNotFound)
	deliver(t, s, sent(full, "a", 2)) // nowhere
	same(t, linesOf(t, s, full), map[string]time.Time{})
}

func hooksPages(t *testing.T, s WebhookStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	for n := range 6 {
		w := hook(n)
		switch n % 3 {
		case 1:
			w.UserID = "bob"
		case 2:
			w.OrganizationID = "team"
		}
		createHook(t, s, w)
	}
	for name, tt := range map[string]struct {
		reach hearth.Reach
		want  []int
	}{
		"all":    {hearth.Reach{All: true}, []int{5, 4, 3, 2, 1, 0}},
		"ann's":  {hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("ann"), hearth.OrgScope("team")}}, []int{5, 3, 2, 0}},
		"team's": {hearth.Reach{Scopes: []hearth.Scope{hearth.OrgScope("team")}}, []int{5, 2}},
		"none":   {hearth.Reach{}, nil},
	} {
		var want, got []string
		for _, n := range tt.want {
			want = append(want, hook(n).ID)
		}
		page := hearth.Page{Limit: 2, Count: true}
		for {
			list, err := s.Webhooks(t.Context(), tt.reach, page)
			if err != nil || list.Total != int64(len(want)) {
				t.Fatalf("%s: a total of %d, %v", name, list.Total, err)
			}
			for _, w := range list.Items {
				got = append(got, w.ID)
			}
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		same(t, got, want)
	}
}

func hooksBound(t *testing.T, s WebhookStore) {
	for n := range hearth.MaxWebhooks {
		createHook(t, s, hook(n))
	}
	wantCode(t, s.CreateWebhook(t.Context(), hook(hearth.MaxWebhooks), hearth.SideEffects{}), hearth.CodeConflict)
	other := hook(hearth.MaxWebhooks)
	other.UserID = "bob"
	createHook(t, s, other)
}

func hooksOfOrganization(t *testing.T, s WebhookStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	bound := hook(1)
	bound.OrganizationID = "team"
	createHook(t, s, bound)
	free := createHook(t, s, hook(2))
	deliver(t, s, sent(bound, "a", 1), sent(free, "a", 2))
	if _, err := s.DeleteOrganization(t.Context(), "team", hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Webhook(t.Context(), bound.ID)
	wantCode(t, err, hearth.CodeNotFound)
	waiting, err := s.WaitingWebhooks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, waiting, map[string]time.Time{free.ID: sent(free, "a", 2).NextAt})
}

func hooksEvents(t *testing.T, s WebhookStore) {
	event := outboxJob(1)
	event.Queue = hearth.WebhookQueue
	if err := s.Record(t.Context(), hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(2), event}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.WebhookSignal():
	default:
		t.Error("the write was answered before the signal")
	}
	jobs, err := s.PendingWebhookEvents(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	same(t, jobs, []hearth.OutboxJob{event})
	if err := s.DeleteOutbox(t.Context(), []string{event.ID}); err != nil {
		t.Fatal(err)
	}
	if jobs, err := s.PendingWebhookEvents(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("left are %v, %v", jobs, err)
	}
}

func hooksOnce(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	var all []hearth.WebhookDelivery
	for n := range 40 {
		all = append(all, sent(w, fmt.Sprint(n%4), n))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range all {
				if err := s.CreateDeliveries(t.Context(), all[:i+1], hearth.SideEffects{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	counts, err := s.CountDeliveries(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, counts, map[hearth.DeliveryState]int64{hearth.DeliveryPending: 40})
	if due := linesOf(t, s, w); len(due) != 4 || !due[all[1].Line].Equal(all[1].NextAt) {
		t.Errorf("the lines are %v", due)
	}
}

func hooksDeliveries(t *testing.T, s WebhookStore) {
	w, other := createHook(t, s, hook(1)), createHook(t, s, hook(2))
	full := sent(w, "a", 3)
	full.DeviceID, full.Tries = "device", 2
	full.Attempts = []hearth.DeliveryAttempt{{At: epoch, Status: 500, Took: 3 * time.Millisecond, Error: "e", Excerpt: "x"}, {At: epoch, Error: "no"}}
	done := sent(w, "b", 2)
	succeed(&done)
	deliver(t, s, sent(w, "a", 1), done, full, sent(other, "a", 4))
	got, err := s.Delivery(t.Context(), w.ID, full.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, full)
	_, err = s.Delivery(t.Context(), other.ID, full.ID)
	wantCode(t, err, hearth.CodeNotFound)
	for state, want := range map[hearth.DeliveryState][]string{
		"": {full.ID, done.ID, sent(w, "a", 1).ID}, hearth.DeliveryPending: {full.ID, sent(w, "a", 1).ID}, hearth.DeliverySucceeded: {done.ID},
		hearth.DeliveryFailed: nil,
	} {
		var ids []string
		page := hearth.Page{Limit: 1, Count: true}
		for {
			list, err := s.Deliveries(t.Context(), hearth.DeliveryFilter{WebhookID: w.ID, State: state}, page)
			if err != nil || list.Total != int64(len(want)) {
				t.Fatalf("%q: a total of %d, %v", state, list.Total, err)
			}
			for _, d := range list.Items {
				ids = append(ids, d.ID)
			}
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		same(t, ids, want)
	}
	if due := linesOf(t, s, w); len(due) != 1 {
		t.Errorf("one that has ended waits in %v", due)
	}
}

func hooksLine(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	deliver(t, s, sent(w, "a", 2), sent(w, "a", 1))
	line := takeOver(t, s, w)
	again := epoch.Add(5 * time.Second)
	if attempted(t, s, &line, sent(w, "a", 1).ID, func(d *hearth.WebhookDelivery) { d.Tries, d.NextAt = 1, again }) {
		t.Error("the next one goes on while the first waits")
	}
	same(t, linesOf(t, s, w), map[string]time.Time{line.ID: again})
	line = takeOver(t, s, w)
	if !attempted(t, s, &line, sent(w, "a", 1).ID, succeed) {
		t.Error("there is another one")
	}
	same(t, linesOf(t, s, w), map[string]time.Time{line.ID: line.NextAt})
	if attempted(t, s, &line, sent(w, "a", 2).ID, succeed) {
		t.Error("there is no other one")
	}
	same(t, linesOf(t, s, w), map[string]time.Time{})
	want := sent(w, "a", 2)
	succeed(&want)
	got, err := s.Delivery(t.Context(), w.ID, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

func hooksAside(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	deliver(t, s, sent(w, "a", 1), sent(w, "a", 2))
	line, aside, later := takeOver(t, s, w), w.ID+"/aside", epoch.Add(time.Minute)
	if !attempted(t, s, &line, sent(w, "a", 1).ID, func(d *hearth.WebhookDelivery) { d.Line, d.NextAt = aside, later }) {
		t.Error("the next one does not go on")
	}
	same(t, linesOf(t, s, w), map[string]time.Time{line.ID: line.NextAt, aside: later})
	attempted(t, s, &line, sent(w, "a", 2).ID, succeed)
	same(t, linesOf(t, s, w), map[string]time.Time{aside: later})
}

func hooksClaim(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	deliver(t, s, sent(w, "a", 1))
	lines, err := s.DeliveryLines(t.Context(), w.ID, 10)
	if err != nil || len(lines) != 1 {
		t.Fatalf("lines: %v, %v", lines, err)
	}
	var claims atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ok, err := s.ClaimLine(t.Context(), lines[0], epoch.Add(time.Hour+time.Duration(i)*time.Second))
			if err != nil {
				t.Error(err)
			}
			if ok {
				claims.Add(1)
			}
		})
	}
	wg.Wait()
	if claims.Load() != 1 {
		t.Errorf("%d processes have the line", claims.Load())
	}
	lost := takeOver(t, s, w)
	other := lost
	other.NextAt = lost.NextAt.Add(time.Hour)
	if ok, err := s.ClaimLine(t.Context(), lost, other.NextAt); err != nil || !ok {
		t.Fatal(ok, err)
	}
	d := sent(w, "a", 1)
	succeed(&d)
	_, err = s.EndAttempt(t.Context(), lost, d, epoch)
	wantCode(t, err, hearth.CodeConflict)
	if got, err := s.Delivery(t.Context(), w.ID, d.ID); err != nil || got.State != hearth.DeliveryPending {
		t.Errorf("who lost the line made it %+v, %v", got, err)
	}
	if err := s.DropLine(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	if err := s.DropLine(t.Context(), other); err != nil { // one waits in it
		t.Fatal(err)
	}
	if due := linesOf(t, s, w); len(due) != 1 {
		t.Errorf("the line of a pending delivery is gone: %v", due)
	}
}

func hooksRace(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	for n := range 20 {
		first, second := sent(w, "a", 2*n), sent(w, "a", 2*n+1)
		deliver(t, s, first)
		line := takeOver(t, s, w)
		succeed(&first)
		var wg sync.WaitGroup
		wg.Go(func() { deliver(t, s, second) })
		if _, err := s.EndAttempt(t.Context(), line, first, epoch); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		line = takeOver(t, s, w) // fails where the second has no line
		succeed(&second)
		if _, err := s.EndAttempt(t.Context(), line, second, epoch); err != nil {
			t.Fatal(err)
		}
	}
}

func hooksRetry(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	d := sent(w, "a", 1)
	d.State, d.Tries, d.NextAt, d.EndedAt = hearth.DeliveryFailed, 10, time.Time{}, epoch
	deliver(t, s, d)
	again := func(d hearth.WebhookDelivery) (hearth.WebhookDelivery, error) {
		d.State, d.Tries, d.NextAt, d.EndedAt, d.Line = hearth.DeliveryPending, 0, epoch.Add(time.Minute), time.Time{}, w.ID+"/own"
		return d, nil
	}
	_, err := s.RetryDelivery(t.Context(), hook(2).ID, d.ID, again, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeNotFound)
	for range 2 {
		got, err := s.RetryDelivery(t.Context(), w.ID, d.ID, again, hearth.SideEffects{})
		if err != nil || got.State != hearth.DeliveryPending {
			t.Fatal(got, err)
		}
		same(t, linesOf(t, s, w), map[string]time.Time{w.ID + "/own": epoch.Add(time.Minute)})
	}
}

func hooksRemoval(t *testing.T, s WebhookStore) {
	w := createHook(t, s, hook(1))
	for n := range 5 {
		d := sent(w, "a", n)
		if n != 2 {
			succeed(&d)
		}
		deliver(t, s, d)
	}
	before := epoch.Add(4 * time.Second) // of those that ended up to 3
	for _, want := range []int{2, 1, 0} {
		if n, err := s.RemoveDeliveries(t.Context(), w.ID, before, 2); err != nil || n != want {
			t.Errorf("removed %d, %v, want %d", n, err, want)
		}
	}
	counts, err := s.CountDeliveries(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, counts, map[hearth.DeliveryState]int64{hearth.DeliveryPending: 1, hearth.DeliverySucceeded: 1})
}

func hooksConnections(t *testing.T, s WebhookStore) {
	n := 0
	note := func(want int, now ...hearth.DeviceConnection) {
		t.Helper()
		var news []int
		err := s.NoteConnections(t.Context(), now, func(i int) ([]hearth.OutboxJob, error) {
			n++
			news = append(news, i)
			return []hearth.OutboxJob{outboxJob(n)}, nil
		})
		if err != nil || len(news) != want {
			t.Errorf("%v has the news %v, %v", now, news, err)
		}
	}
	a, b := hearth.DeviceConnection{DeviceID: "a", Connection: hearth.Online}, hearth.DeviceConnection{DeviceID: "b", Connection: hearth.Offline}
	note(2, a, b)
	note(0, a)
	a.Connection = hearth.Offline
	note(1, a, b)
	got, err := s.DeviceConnections(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, []hearth.DeviceConnection{a, b})
	if got, err := s.DeviceConnections(t.Context(), "a", 10); err != nil || len(got) != 1 || got[0] != b {
		t.Errorf("behind a: %v, %v", got, err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 3 {
		t.Errorf("the jobs are %v, %v", jobs, err)
	}
}
