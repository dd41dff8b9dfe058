package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
)

func TestABatchOfHeartbeatsTakesWhatItCan(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	mine, other := b.create(t, ann, NewDevice{}), b.create(t, bob, NewDevice{})
	signs := []Sign{{DeviceID: mine.ID}, {DeviceID: other.ID}, {DeviceID: "nothing"}, {DeviceID: mine.ID, Status: "odd"}, {DeviceID: mine.ID, Status: hearth.StatusError}}
	for name, c := range map[string]struct {
		caller   hearth.Caller
		accepted int
		rejected []Rejection
	}{
		"a person": {ann, 2, []Rejection{{1, hearth.CodeNotFound}, {2, hearth.CodeNotFound}, {3, hearth.CodeValidationFailed}}},
		"a device": {hearth.Caller{DeviceID: other.ID}, 1, []Rejection{
			{0, hearth.CodeNotFound}, {2, hearth.CodeNotFound}, {3, hearth.CodeNotFound}, {4, hearth.CodeNotFound},
		}},
		"a viewer": {hearth.Caller{UserID: "eve"}, 0, []Rejection{
			{0, hearth.CodeNotFound}, {1, hearth.CodeNotFound}, {2, hearth.CodeNotFound}, {3, hearth.CodeNotFound}, {4, hearth.CodeNotFound},
		}},
	} {
		accepted, rejected, err := b.Heartbeats(t.Context(), c.caller, signs)
		if err != nil || accepted != c.accepted || !slices.Equal(rejected, c.rejected) {
			t.Errorf("%s: accepted %d, rejected %v (%v)", name, accepted, rejected, err)
		}
	}
	if d, err := b.Device(t.Context(), ann, mine.ID); err != nil || d.Status != hearth.StatusError || d.LastActiveAt.IsZero() || d.Version != 1 {
		t.Errorf("stored %+v (%v)", d, err)
	}
	for _, size := range []int{0, hearth.MaxHeartbeatBatch + 1} {
		_, _, err := b.Heartbeats(t.Context(), ann, make([]Sign, size))
		wantCode(t, err, hearth.CodeValidationFailed)
	}
}

func TestAcknowledgedHeartbeatsAreStored(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), func(o *Options) { o.maxDirectory = 10 }) // so that most are pushed out of memory
	b.Start()
	var ids []string
	for range 30 {
		ids = append(ids, b.create(t, ann, NewDevice{}).ID)
	}
	start := hearth.Millis(time.Now())
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			for range 20 {
				answer, err := b.Heartbeat(context.Background(), ann, id, "")
				if err != nil {
					t.Error(err)
					return
				}
				d, err := b.store.Device(context.Background(), id)
				if err != nil || d.LastActiveAt.Before(answer.At) || answer.At.Before(start) {
					t.Errorf("acknowledged %v, stored %v (%v)", answer.At, d.LastActiveAt, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(b.directory.entries); n > 10 {
		t.Errorf("%d devices are in memory, want at most 10", n)
	}
	if rate := b.HeartbeatRate(hearth.Reach{All: true}); rate != b.HeartbeatRate(hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("ann")}}) {
		t.Errorf("the rate of all, %v, is not ann's", rate)
	}
	if rate := b.HeartbeatRate(hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("bob")}}); rate != 0 {
		t.Errorf("bob's devices beat %v times a second", rate)
	}
}

// brokenStore fails to store heartbeats.
// countedBeats counts the heartbeats that are stored.
type countedBeats struct {
	hearth.DeviceStore
	stored atomic.Int64
}

func (c *countedBeats) RecordHeartbeats(ctx context.Context, beats []hearth.Heartbeat) error {
	c.stored.Add(int64(len(beats)))
	return c.DeviceStore.RecordHeartbeats(ctx, beats)
}

func TestLogsAreASignOfLife(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	counted := &countedBeats{DeviceStore: b.store}
	at := hearth.Millis(time.Now())
	f, err := New(Options{Store: counted, Publisher: b.watcher, Clock: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	devices := make([]*hearth.Device, 0, 2)
	for range 2 {
		d := b.create(t, ann, NewDevice{})
		found, err := f.Resolve(t.Context(), ann, []string{d.ID})
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, found[0])
	}
	b.watcher.take()
	for range 100 {
		f.Reported(devices)
	}
	f.Stop()
	f.Reported(devices)
	for _, device := range devices {
		d, err := b.store.Device(t.Context(), device.ID)
		if err != nil || !d.LastActiveAt.Equal(at) || d.Connection(at) != hearth.Online || d.Version != 1 {
			t.Errorf("the device is %+v (%v)", d, err)
		}
	}
	if n := counted.stored.Load(); n != 2 {
		t.Errorf("%d signs of life were stored in one second, want one of each device", n)
	}
	if events := b.watcher.take(); len(events) > 0 {
		t.Errorf("published %v", events)
	}
}

type brokenStore struct{ hearth.DeviceStore }

func (brokenStore) RecordHeartbeats(context.Context, []hearth.Heartbeat) error {
	return hearth.Errorf(hearth.CodeStorageFull, "no space")
}

func TestAHeartbeatThatCannotBeStoredIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	d := b.create(t, ann, NewDevice{})
	b.watcher.take()
	broken, err := New(Options{Store: brokenStore{b.store}, Publisher: b.watcher})
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Stop()
	_, err = broken.Heartbeat(t.Context(), ann, d.ID, "")
	wantCode(t, err, hearth.CodeStorageFull)
	if events := b.watcher.take(); len(events) > 0 {
		t.Errorf("published %v of a heartbeat that was not stored", events)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = b.Heartbeat(done, ann, d.ID, ""); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who has gone: %v", err)
	}
}

func TestResolveGivesWhatTheCallerMayRead(t *testing.T) {
	t.Parallel()
	b := setup(t, t.TempDir(), nil)
	mine, other := b.create(t, ann, NewDevice{}), b.create(t, bob, NewDevice{})
	ids := []string{other.ID, mine.ID, "nothing", mine.ID}
	check := func(name string) {
		t.Helper()
		for range 2 {
			got, err := b.Resolve(t.Context(), ann, ids)
			if err != nil || got[0] != nil || got[2] != nil || got[1] == nil || got[3] == nil || got[1].Key != mine.Key || got[1].Name != name {
				t.Fatalf("got %v (%v)", got, err)
			}
		}
	}
	check(mine.Name)
	if _, err := b.Update(t.Context(), ann, mine.ID, Change{Name: ptr("new")}, nil); err != nil {
		t.Fatal(err)
	}
	check("new")
	if err := b.Delete(t.Context(), ann, mine.ID, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Resolve(t.Context(), ann, ids); err != nil || got[1] != nil {
		t.Errorf("a deleted device is resolved (%v)", err)
	}
}

func benchFleet(b *testing.B, count int) (*fixture, []string) {
	b.Helper()
	f := setup(b, b.TempDir(), nil)
	f.Start()
	var ids []string
	for start := 0; start < count; start += 1000 {
		inputs := make([]NewDevice, min(1000, count-start))
		for i := range inputs {
			inputs[i] = NewDevice{Name: fmt.Sprint("device ", start+i), Type: "sensor"}
		}
		devices, err := f.CreateBatch(b.Context(), ann, inputs, nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range devices {
			ids = append(ids, d.ID)
		}
	}
	return f, ids
}

func BenchmarkHeartbeat64(b *testing.B) {
	f, ids := benchFleet(b, 1000)
	work := make(chan string, 1024)
	var wg sync.WaitGroup
	f.options.Publisher = noPublisher{}
	b.ReportAllocs()
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for id := range work {
				if _, err := f.Heartbeat(context.Background(), ann, id, ""); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		work <- ids[i%len(ids)]
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "beats/s")
}

func BenchmarkResolve1000(b *testing.B) {
	f, ids := benchFleet(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Resolve(b.Context(), ann, ids); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/device")
}

func BenchmarkListPage(b *testing.B) {
	f, _ := benchFleet(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Devices(b.Context(), ann, Query{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	f, ids := benchFleet(b, 1)
	token, err := f.CreateToken(b.Context(), ann, ids[0], false, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := f.Authenticate(b.Context(), token.Secret); err != nil {
			b.Fatal(err)
		}
	}
}

// heldBeats holds the writes of more than a few heartbeats until they are released, and keeps their sizes.
type heldBeats struct {
	hearth.DeviceStore
	begun, release chan struct{}
	sizes          []int // of one write after the other
}

func (s *heldBeats) RecordHeartbeats(ctx context.Context, beats []hearth.Heartbeat) error {
	if len(beats) > fewBeats {
		s.begun <- struct{}{}
		<-s.release
		s.sizes = append(s.sizes, len(beats))
	}
	return s.DeviceStore.RecordHeartbeats(ctx, beats)
}

func TestAHeartbeatDoesNotWaitForThoseOfACrowd(t *testing.T) {
	t.Parallel()
	held := &heldBeats{begun: make(chan struct{}, 10), release: make(chan struct{})}
	b := setup(t, t.TempDir(), func(o *Options) { held.DeviceStore, o.Store = o.Store, held })
	device := b.create(t, ann, NewDevice{})
	signs := make([]Sign, 2*beatsAtOnce+1)
	for i := range signs {
		signs[i].DeviceID = device.ID
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := b.Heartbeats(context.Background(), ann, signs)
		done <- err
	}()
	<-held.begun
	if _, err := b.Heartbeat(t.Context(), ann, device.ID, ""); err != nil {
		t.Error(err)
	}
	close(held.release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if want := []int{beatsAtOnce, beatsAtOnce}; !slices.Equal(held.sizes, want) {
		t.Errorf("the long writes are of %v heartbeats, want %v", held.sizes, want)
	}
}
