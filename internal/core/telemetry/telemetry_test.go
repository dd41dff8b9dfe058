package telemetry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
	"hearth/internal/core/devices"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// now is the time of all tests.
var now = time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)

var (
	ann   = hearth.Caller{UserID: "ann", Role: hearth.RoleUser, Orgs: map[string]hearth.OrgRole{"org": hearth.OrgViewer}}
	bob   = hearth.Caller{UserID: "bob", Role: hearth.RoleUser, Orgs: map[string]hearth.OrgRole{"org": hearth.OrgMember}}
	admin = hearth.Caller{UserID: "root", Role: hearth.RoleAdmin}
)

// bundle is a service over a real store with the devices a1 and a2 of ann, b1 of bob and o1 of an organization.
type bundle struct {
	*Service
	store   *sqlite.Store
	fleet   *devices.Service
	events  *recorder
	heard   *recorder
	devices map[string]hearth.Device
}

// recorder keeps the events that it receives.
type recorder struct {
	mu      sync.Mutex
	events  []hearth.Event
	reaches []hearth.Reach
}

func (r *recorder) Publish(events ...hearth.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
}

func (r *recorder) LogsChanged(_ context.Context, reach hearth.Reach) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reaches = append(r.reaches, reach)
}

// count returns the logs that were published one by one and in summaries.
func (r *recorder) count() (single, summed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, event := range r.events {
		switch data := event.Data.(type) {
		case hearth.Log:
			single++
		case hearth.LogSummary:
			summed += data.Count
		}
	}
	return single, summed
}

func setup(t *testing.T, change func(*Options)) *bundle {
	t.Helper()
	clock := func() time.Time { return now }
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir()), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bundle{store: store, events: &recorder{}, heard: &recorder{}, devices: map[string]hearth.Device{}}
	if b.fleet, err = devices.New(devices.Options{Store: store, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.fleet.Stop)
	owner := hearth.User{ID: "bob", Name: "Bob", Email: "bob@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x")}
	if err := store.CreateUser(t.Context(), owner, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if err := store.CreateOrganization(t.Context(), hearth.Organization{ID: "org", Name: "Org"}, owner.ID, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	for _, d := range []hearth.Device{
		{ID: "a1", OwnerID: "ann"}, {ID: "a2", OwnerID: "ann"}, {ID: "b1", OwnerID: "bob"}, {ID: "o1", OwnerID: "bob", OrganizationID: "org"},
	} {
		d.Name, d.Type, d.Status, d.Interval, d.CreatedAt, d.UpdatedAt = d.ID, "sensor", hearth.StatusActive, 60, now, now
		made, err := store.CreateDevices(t.Context(), []hearth.Device{d}, hearth.SideEffects{})
		if err != nil {
			t.Fatal(err)
		}
		b.devices[d.ID] = made[0]
	}
	options := Options{Store: store, Audit: store, Directory: b.fleet, Clock: clock, Publisher: b.events, Listener: b.heard}
	if change != nil {
		change(&options)
	}
	if b.Service, err = New(options); err != nil {
		t.Fatal(err)
	}
	return b
}

func entry(device int64, value float64) hearth.LogEntry {
	return hearth.LogEntry{Device: device, Event: "e", Value: hearth.Number(value), At: now.UnixMilli()}
}

func (b *bundle) all(t *testing.T) int64 {
	t.Helper()
	n, err := b.store.CountLogs(t.Context(), hearth.Reach{All: true})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestABatchIsStoredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	future, past := entry(0, 1), entry(0, 1)
	future.At = now.Add(hearth.MaxLogFuture).UnixMilli() + 1
	past.At = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() - 1
	badEvent := entry(0, 1)
	badEvent.Event = "a b"
	const foreign = "is not one of your devices"
	for _, c := range []struct {
		name    string
		caller  hearth.Caller
		devices []string
		entries []hearth.LogEntry
		code    hearth.Code
		fields  []hearth.FieldError
	}{
		{"own devices", ann, []string{"a1", "a2"}, []hearth.LogEntry{entry(0, 1), entry(1, 2), entry(0, 3)}, "", nil},
		{"a member's organization", bob, []string{"o1"}, []hearth.LogEntry{entry(0, 1)}, "", nil},
		{"an admin", admin, []string{"a1", "b1"}, []hearth.LogEntry{entry(0, 1), entry(1, 2)}, "", nil},
		{"a device itself", hearth.Caller{DeviceID: "a1"}, []string{"a1"}, []hearth.LogEntry{entry(0, 1)}, "", nil},
		{"nothing", ann, nil, nil, "", nil},
		{"an unknown device", ann, []string{"a1", "x"}, []hearth.LogEntry{entry(0, 1), entry(1, 2)}, hearth.CodeValidationFailed,
			[]hearth.FieldError{{Location: "body[1].device_id", Message: foreign}}},
		{"another user's device", ann, []string{"b1", "a1"}, []hearth.LogEntry{entry(1, 1), entry(1, 1), entry(0, 2)}, hearth.CodeValidationFailed,
			[]hearth.FieldError{{Location: "body[2].device_id", Message: foreign}}},
		{"a device that may only be read", ann, []string{"o1"}, []hearth.LogEntry{entry(0, 1)}, hearth.CodeForbidden, nil},
		{"a device for another", hearth.Caller{DeviceID: "a1"}, []string{"a1", "a2"}, []hearth.LogEntry{entry(0, 1), entry(1, 1)}, hearth.CodeNotFound, nil},
		{"a device for one that is not there", hearth.Caller{DeviceID: "a1"}, []string{"x"}, []hearth.LogEntry{entry(0, 1)}, hearth.CodeNotFound, nil},
		{"wrong entries", ann, []string{"a1"}, []hearth.LogEntry{entry(0, 1), future, past, badEvent, entry(0, 1e301)}, hearth.CodeValidationFailed,
			[]hearth.FieldError{
				{Location: "body[1].timestamp", Message: "is more than 24 hours in the future"},
				{Location: "body[2].timestamp", Message: "must be of the years 1 to 9999"},
				{Location: "body[3].event", Message: "must be 1 to 64 letters, digits and _.:*/-"},
				{Location: "body[4].value", Message: "must be a finite number of at most 1e300"},
			}},
		{"too many entries", ann, []string{"a1"}, slices.Repeat([]hearth.LogEntry{entry(0, 1)}, hearth.MaxLogBatch+1), hearth.CodeValidationFailed, nil},
		{"every field of every entry", ann, []string{"a1", "x"}, []hearth.LogEntry{entry(0, 1), {Device: 1, Event: "a b", Value: hearth.Number(1e301), At: future.At}}, hearth.CodeValidationFailed,
			[]hearth.FieldError{
				{Location: "body[1].device_id", Message: foreign},
				{Location: "body[1].event", Message: "must be 1 to 64 letters, digits and _.:*/-"},
				{Location: "body[1].value", Message: "must be a finite number of at most 1e300"},
				{Location: "body[1].timestamp", Message: "is more than 24 hours in the future"},
			}},
	} {
		before := b.all(t)
		_, err := b.Ingest(t.Context(), c.caller, Batch{Devices: c.devices, Entries: slices.Clone(c.entries)})
		if hearth.ErrorCode(err) != c.code {
			t.Errorf("%s: got %v, want %q", c.name, err, c.code)
			continue
		}
		stored := b.all(t) - before
		if want := int64(len(c.entries)); c.code == "" && stored != want || c.code != "" && stored != 0 {
			t.Errorf("%s: %d stored", c.name, stored)
		}
		if failure, ok := errors.AsType[*hearth.Error](err); ok && c.fields != nil {
			if diff := cmp.Diff(c.fields, failure.Fields); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		}
	}
}

func TestTwentyWrongLogsAreNamedWithTheirFields(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	wrong := hearth.LogEntry{Event: "a b", Value: hearth.Number(1e301), At: entry(0, 1).At}
	_, err := b.Ingest(t.Context(), ann, Batch{Devices: []string{"x"}, Entries: slices.Repeat([]hearth.LogEntry{wrong}, 100)})
	failure, ok := errors.AsType[*hearth.Error](err)
	if !ok || len(failure.Fields) != 20*3 || failure.Fields[59].Location != "body[19].value" {
		t.Errorf("got %v: %+v", err, failure)
	}
}

func TestASingleLogComesBackAsItIsListed(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, c := range []struct {
		caller hearth.Caller
		device string
		code   hearth.Code
	}{
		{ann, "b1", hearth.CodeNotFound}, {ann, "x", hearth.CodeNotFound}, {ann, "o1", hearth.CodeForbidden},
		{hearth.Caller{DeviceID: "a1"}, "a2", hearth.CodeNotFound}, {hearth.Caller{}, "a1", hearth.CodeNotFound},
	} {
		if _, err := b.Add(t.Context(), c.caller, Single{DeviceID: c.device, Entry: entry(0, 1)}); hearth.ErrorCode(err) != c.code {
			t.Errorf("%s for %s: got %v, want %s", c.caller.Key(), c.device, err, c.code)
		}
	}
	bad := entry(0, 1)
	bad.Event = ""
	if _, err := b.Add(t.Context(), ann, Single{DeviceID: "a1", Entry: bad}); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
		t.Errorf("an empty event: %v", err)
	}
	// Many at once share writes, and each gets its own log.
	const n = 300
	logs := make([]hearth.Log, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			logs[i], err = b.Add(t.Context(), ann, Single{DeviceID: []string{"a1", "a2"}[i%2], Entry: entry(0, float64(i))})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	byID := map[string]hearth.Log{}
	for _, id := range []string{"a1", "a2"} {
		list, err := b.Logs(t.Context(), ann, Query{DeviceID: id, Span: everything, Page: hearth.Page{Sort: NewestFirst, Limit: 200, Count: true}})
		if err != nil || list.Total != n/2 {
			t.Fatalf("%d logs, %v", list.Total, err)
		}
		for _, l := range list.Items {
			byID[l.ID] = l
		}
	}
	for i, l := range logs {
		if l.Value != hearth.Number(float64(i)) || byID[l.ID] != l {
			t.Errorf("log %d came back as %+v, is listed as %+v", i, l, byID[l.ID])
		}
	}
}

var everything = hearth.Span{From: time.Unix(0, 0).UTC(), To: now.Add(48 * time.Hour)}

func keyed(key string) *hearth.IdempotencyRequest {
	return &hearth.IdempotencyRequest{
		IdempotencyRecord: hearth.IdempotencyRecord{
			Caller: "user:ann", Key: key, Fingerprint: "f", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		},
		Seal: func(created any) ([]byte, error) { return fmt.Appendf(nil, "%v", created), nil },
	}
}

func TestARepeatedRequestIsAnsweredAsTheFirst(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	log, err := b.Add(t.Context(), ann, Single{DeviceID: "a1", Entry: entry(0, 7), Idempotency: keyed("k")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Add(t.Context(), ann, Single{DeviceID: "a1", Entry: entry(0, 7), Idempotency: keyed("k")})
	unnumbered := log
	unnumbered.ID = ""
	replayed, ok := errors.AsType[*hearth.Replayed](err)
	if !ok || string(replayed.Record.Created) != fmt.Sprint(unnumbered) || hearth.LogID(replayed.Record.FirstLog) != log.ID {
		t.Errorf("got %v, %+v", err, replayed)
	}
	for range 2 {
		_, err = b.Ingest(t.Context(), ann, Batch{Devices: []string{"a1"}, Entries: []hearth.LogEntry{entry(0, 1), entry(0, 2)}, Idempotency: keyed("l")})
	}
	if replayed, ok = errors.AsType[*hearth.Replayed](err); !ok || string(replayed.Record.Created) != "{2 0}" {
		t.Errorf("got %v", err)
	}
	if n := b.all(t); n != 3 {
		t.Errorf("%d logs are stored, want 3", n)
	}
}

func TestPagesGiveEveryLogOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var entries []hearth.LogEntry
	for i := range 500 {
		e := entry(0, float64(i))
		e.At = now.UnixMilli() - int64(i%7)*1000 // many of the same time
		if i%5 == 0 {
			e.Event = "other"
		}
		entries = append(entries, e)
	}
	if _, err := b.Ingest(t.Context(), ann, Batch{Devices: []string{"a1"}, Entries: entries}); err != nil {
		t.Fatal(err)
	}
	for _, sort := range []string{OldestFirst, NewestFirst} {
		for event, want := range map[string]int{"": 500, "e": 400, "other": 100, "none": 0} {
			query := Query{DeviceID: "a1", Span: everything, Sliding: true, Event: event, Page: hearth.Page{Sort: sort, Limit: 33, Count: true}}
			seen := map[string]bool{}
			var last time.Time
			for {
				list, err := b.Logs(t.Context(), ann, query)
				if err != nil {
					t.Fatal(err)
				}
				if list.Total != int64(want) {
					t.Errorf("%s %q: the total is %d, want %d", sort, event, list.Total, want)
				}
				for _, l := range list.Items {
					if seen[l.ID] || !last.IsZero() && (sort == OldestFirst) != l.At.After(last) && !l.At.Equal(last) {
						t.Fatalf("%s: %+v came after %v", sort, l, last)
					}
					seen[l.ID], last = true, l.At
				}
				if list.Next.IsZero() {
					break
				}
				// What arrives meanwhile, and a range that moves on, change nothing.
				query.Span.To = query.Span.To.Add(time.Second)
				if query.Page.Cursor, err = hearth.ParseCursor(list.Next.String(), sort); err != nil {
					t.Fatal(err)
				}
			}
			if len(seen) != want {
				t.Errorf("%s %q: %d logs, want %d", sort, event, len(seen), want)
			}
		}
	}
}

func TestACursorOfAnotherListIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for _, cursor := range []hearth.Cursor{
		{Sort: OldestFirst, Key: "1,2,3", ID: "4"}, {Sort: NewestFirst, Key: "1,2", ID: "4"}, {Sort: NewestFirst, Key: "1,2,x", ID: "4"},
		{Sort: NewestFirst, Key: "1,2,3", ID: "-4"}, {Sort: NewestFirst, Key: "1,2,3", ID: "4"}, {Sort: NewestFirst, ID: "4"},
	} {
		_, err := b.Logs(t.Context(), ann, Query{DeviceID: "a1", Span: everything, Page: hearth.Page{Sort: NewestFirst, Cursor: cursor}})
		if hearth.ErrorCode(err) != hearth.CodeValidationFailed {
			t.Errorf("%+v: %v", cursor, err)
		}
	}
}

func TestEveryLogIsPublishedAloneOrInASummary(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	const n = 500
	var entries []hearth.LogEntry
	for i := range n {
		entries = append(entries, entry(int64(i%2), float64(i)))
	}
	for range 3 {
		if _, err := b.Ingest(t.Context(), ann, Batch{Devices: []string{"a1", "a2"}, Entries: slices.Clone(entries)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	single, summed := b.events.count()
	if single != 2*eventBurst || single+summed != 3*n {
		t.Errorf("%d logs were published alone and %d in summaries", single, summed)
	}
	for _, event := range b.events.events {
		if s, ok := event.Data.(hearth.LogSummary); ok && len(s.Latest) != 1 {
			t.Errorf("a summary has %v", s)
		}
	}
	if len(b.events.events) > 2*eventBurst+6 {
		t.Errorf("%d events for 3 batches", len(b.events.events))
	}
	for _, event := range b.events.events {
		if event.Scope != hearth.UserScope("ann") || event.Type != hearth.EventDeviceLog {
			t.Fatalf("a wrong event: %+v", event)
		}
	}
	want := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("ann")}}
	if diff := cmp.Diff([]hearth.Reach{want, want, want}, b.heard.reaches); diff != "" {
		t.Error(diff)
	}
	if got := b.PerSecond(want); got != 3*n/10 {
		t.Errorf("the rate is %v", got)
	}
}

func TestADeviceIsWatchedWhateverOthersSend(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	storm := make([]hearth.LogEntry, 5000)
	for i := range storm {
		storm[i] = entry(0, float64(i))
		storm[i].Event = fmt.Sprint("e", i%100)
		storm[i].At += int64(i)
	}
	if _, err := b.Ingest(t.Context(), ann, Batch{Devices: []string{"a1"}, Entries: storm}); err != nil {
		t.Fatal(err)
	}
	var calm []hearth.LogEntry
	for i := range eventBurst {
		calm = append(calm, entry(0, float64(i)))
	}
	if _, err := b.Ingest(t.Context(), ann, Batch{Devices: []string{"a2"}, Entries: calm}); err != nil {
		t.Fatal(err)
	}
	single := 0
	var latest map[string]hearth.LatestLog
	for _, event := range b.events.events {
		switch data := event.Data.(type) {
		case hearth.Log:
			if event.DeviceID == "a2" {
				single++
			}
		case hearth.LogSummary:
			latest = data.Latest
		}
	}
	if single != eventBurst {
		t.Errorf("%d of %d logs were published one by one", single, eventBurst)
	}
	if len(latest) != hearth.MaxSummaryEvents {
		t.Fatalf("a summary names %d events", len(latest))
	}
	for event, newest := range latest {
		i := int(newest.Value.Number())
		if i < 4900 || event != fmt.Sprint("e", i%100) || newest.At.UnixMilli() != now.UnixMilli()+int64(i) {
			t.Errorf("the latest of %s is %v", event, newest)
		}
	}
}

func TestThePublisherRemembersABoundedNumberOfDevices(t *testing.T) {
	t.Parallel()
	events := &recorder{}
	p := newPublisher(Options{Publisher: events, Clock: func() time.Time { return now }})
	const sent = eventBurst + 1
	for i := range maxFlows {
		p.devices[int64(-i-1)] = &flow{device: "other", pending: 1}
	}
	entries := make([]hearth.LogEntry, sent)
	for i := range entries {
		entries[i] = entry(7, float64(i))
	}
	p.publish(appended{devices: []*hearth.Device{{ID: "d", Key: 7}}, counts: []int{sent}, entries: entries})
	if len(p.devices) > maxFlows {
		t.Errorf("%d devices are remembered", len(p.devices))
	}
	if single, summed := events.count(); single != eventBurst || summed != 2 {
		t.Errorf("%d logs were published alone and %d in summaries", single, summed)
	}
}

func TestOnlyLogsOfFollowedDevicesAreMadeEvents(t *testing.T) {
	t.Parallel()
	events := &recorder{}
	p := newPublisher(Options{
		Publisher: events, Clock: func() time.Time { return now },
		Followed: func(scope hearth.Scope, id string) bool { return scope == hearth.UserScope("ann") && id == "d" },
	})
	for _, device := range []*hearth.Device{{ID: "e", Key: 8, OwnerID: "ann"}, {ID: "d", Key: 7, OwnerID: "bob"}, {ID: "d", Key: 7, OwnerID: "ann"}} {
		p.publish(appended{devices: []*hearth.Device{device}, counts: []int{1}, entries: []hearth.LogEntry{entry(device.Key, 1)}})
	}
	p.flush()
	if single, summed := events.count(); single != 1 || summed != 0 {
		t.Errorf("%d logs were published alone and %d in summaries, want the one that is followed", single, summed)
	}
}

func TestStoredLogsAreReportedAndImportsAreNot(t *testing.T) {
	t.Parallel()
	var reported []string
	b := setup(t, func(o *Options) {
		o.Reported = func(devices []*hearth.Device) {
			for _, d := range devices {
				reported = append(reported, d.ID)
			}
		}
	})
	ctx := t.Context()
	if _, err := b.Ingest(ctx, ann, Batch{Devices: []string{"a1", "a2"}, Entries: []hearth.LogEntry{entry(1, 1)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Add(ctx, ann, Single{DeviceID: "a1", Entry: entry(0, 1)}); err != nil {
		t.Fatal(err)
	}
	imported := Batch{Devices: []string{"a1"}, Entries: []hearth.LogEntry{entry(0, 1)}, Checkpoint: &hearth.Checkpoint{ID: "i", Rows: 1, Mark: []byte("x")}}
	if _, err := b.Ingest(ctx, ann, imported); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a2", "a1"}; !slices.Equal(reported, want) {
		t.Errorf("logs of %v were reported, want %v", reported, want)
	}
}

func TestOldLogsGoAndNewOnesStay(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.Retention = 24 * time.Hour })
	var entries []hearth.LogEntry
	for hour := range 72 {
		e := entry(0, 1)
		e.At = now.Add(-time.Duration(hour) * time.Hour).UnixMilli()
		entries = append(entries, e)
	}
	if _, err := b.Ingest(t.Context(), ann, Batch{Devices: []string{"a1"}, Entries: entries}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Whole hours go: of the hour that the retention ends in, nothing is removed.
	if n := b.all(t); n != 25 {
		t.Errorf("%d logs are left, want 25", n)
	}
	if last := b.heard.reaches[len(b.heard.reaches)-1]; !last.All {
		t.Errorf("nobody was told: %+v", b.heard.reaches)
	}
}
