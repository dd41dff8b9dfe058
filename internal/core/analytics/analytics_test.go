package analytics

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
	"hearth/internal/calendar"
	"hearth/internal/kv/memkv"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

var now = time.Date(2026, 3, 10, 12, 30, 0, 0, time.UTC)

var (
	ann   = hearth.Caller{UserID: "ann", Role: hearth.RoleUser, Orgs: map[string]hearth.OrgRole{"org": hearth.OrgViewer}}
	bob   = hearth.Caller{UserID: "bob", Role: hearth.RoleUser}
	admin = hearth.Caller{UserID: "root", Role: hearth.RoleAdmin}
)

// counted is a store that counts the questions about rollups.
type counted struct {
	*sqlite.Store
	rollups atomic.Int64
}

func (c *counted) Rollups(ctx context.Context, query hearth.RollupQuery) ([][]hearth.Rollup, error) {
	c.rollups.Add(1)
	return c.Store.Rollups(ctx, query)
}

type bundle struct {
	*Service
	store *counted
	now   atomic.Int64
	keys  map[string]int64
}

func (b *bundle) clock() time.Time { return time.UnixMilli(b.now.Load()).UTC() }

// setup returns a service over a real store with devices a0 to a14 of ann, b0 of bob and o0 of an organization.
func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{keys: map[string]int64{}}
	b.now.Store(now.UnixMilli())
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir()), Clock: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	b.store = &counted{Store: store}
	cache, err := memkv.NewCache(memkv.CacheOptions{Clock: b.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	owner := hearth.User{ID: "bob", Name: "Bob", Email: "bob@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x")}
	if err := store.CreateUser(t.Context(), owner, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if err := store.CreateOrganization(t.Context(), hearth.Organization{ID: "org", Name: "Org"}, owner.ID, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	devices := []hearth.Device{{ID: "b0", OwnerID: "bob"}, {ID: "o0", OwnerID: "bob", OrganizationID: "org"}}
	for i := range 15 {
		devices = append(devices, hearth.Device{ID: fmt.Sprint("a", i), OwnerID: "ann"})
	}
	for i := range devices {
		d := &devices[i]
		d.Name, d.Type, d.Status, d.Interval, d.CreatedAt, d.UpdatedAt = "name of "+d.ID, "sensor", hearth.StatusActive, 60, now, now
	}
	devices[2].LastActiveAt = now.Add(-time.Second)
	devices, err = store.CreateDevices(t.Context(), devices, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		b.keys[d.ID] = d.Key
	}
	b.Service, err = New(Options{
		Logs: b.store, Devices: store, Cache: cache, Clock: b.clock,
		Flow: func(context.Context, hearth.Caller, hearth.Reach) Flow {
			return Flow{HeartbeatsPerSecond: 1.5, LogsPerSecond: 2.5, Connections: 3}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write stores logs of a device, as telemetry does it.
func (b *bundle) write(t *testing.T, device string, logs ...hearth.LogEntry) {
	t.Helper()
	for i := range logs {
		logs[i].Device = b.keys[device]
		if logs[i].Event == "" {
			logs[i].Event = "e"
		}
		if logs[i].At == 0 {
			logs[i].At = b.now.Load()
		}
	}
	if _, err := b.store.AppendLogs(t.Context(), logs, nil, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	found, err := b.store.DevicesByID(t.Context(), []string{device})
	if err != nil {
		t.Fatal(err)
	}
	b.LogsChanged(t.Context(), hearth.Reach{Scopes: []hearth.Scope{found[0].Scope()}})
}

func (b *bundle) dashboard(t *testing.T, ask Ask) Dashboard {
	t.Helper()
	d, err := b.Dashboard(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var lastDay = Range{Sliding: 24 * time.Hour}

func TestADashboardCoversWhatTheCallerMayRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 15 {
		for range i + 1 {
			b.write(t, fmt.Sprint("a", i), hearth.LogEntry{Value: hearth.Number(float64(i))})
		}
	}
	b.write(t, "a0", hearth.LogEntry{Value: hearth.Number(1000), At: now.Add(-48 * time.Hour).UnixMilli()})
	b.write(t, "b0", hearth.LogEntry{Value: hearth.Number(5), Event: "of bob"})
	b.write(t, "o0", hearth.LogEntry{Value: hearth.Number(7), Event: "of org"})

	d := b.dashboard(t, Ask{Caller: ann, Range: lastDay})
	if d.TotalLogs != 122 || d.Count != 121 || d.Sum != 1120+7 || d.Counts != (hearth.DeviceCounts{Total: 16, Active: 16, Online: 1}) {
		t.Errorf("%d logs, %d in range, sum %v, %+v", d.TotalLogs, d.Count, d.Sum, d.Counts)
	}
	if len(d.Devices) != 10 || d.Devices[0].Device.ID != "a14" || d.Devices[0].Count != 15 || d.Devices[9].Device.ID != "a5" ||
		d.Devices[0].Device.Name != "name of a14" {
		t.Errorf("the devices are %+v", d.Devices)
	}
	if len(d.Events) != 2 || d.Events[0].Event != "e" || d.Events[0].Count != 120 || d.Events[1].Sum != 7 {
		t.Errorf("the events are %+v", d.Events)
	}
	if len(d.Trend) != 1 || d.Trend[0].At != now.Truncate(time.Hour).UnixMilli() || d.Trend[0].Count != 121 {
		t.Errorf("the trend is %+v", d.Trend)
	}
	if d := b.dashboard(t, Ask{Caller: bob, Range: lastDay}); d.Count != 1 || d.Sum != 5 || d.Counts.Total != 1 {
		t.Errorf("bob's is %+v", d)
	}
	if d := b.dashboard(t, Ask{Caller: ann, OrganizationID: "org", Range: lastDay}); d.Count != 1 || d.Sum != 7 {
		t.Errorf("the organization's is %+v", d)
	}
	if d := b.dashboard(t, Ask{Caller: admin, Range: lastDay}); d.Count != 122 || d.TotalLogs != 123 || d.Counts.Total != 17 {
		t.Errorf("the admin's is %+v", d)
	}
	if _, err := b.Dashboard(t.Context(), Ask{Caller: bob, OrganizationID: "org", Range: lastDay}); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a foreign organization: %v", err)
	}
	if _, err := b.Dashboard(t.Context(), Ask{Caller: hearth.Caller{DeviceID: "a0"}, Range: lastDay}); hearth.ErrorCode(err) != hearth.CodeForbidden {
		t.Errorf("a device: %v", err)
	}
	week, more := Range{Sliding: 7 * 24 * time.Hour}, Range{Sliding: 7*24*time.Hour + time.Millisecond}
	if d := b.dashboard(t, Ask{Caller: ann, Range: week}); d.Count != 122 || len(d.Trend) != 2 || d.Trend[1].At%hour == 0 && d.Trend[1].At%(24*hour) == 0 {
		t.Errorf("the week is %+v", d.Trend)
	}
	if d := b.dashboard(t, Ask{Caller: ann, Range: more}); d.Count != 122 || len(d.Trend) != 2 || d.Trend[1].At != now.Truncate(24*time.Hour).UnixMilli() {
		t.Errorf("more than a week is %+v", d.Trend)
	}
}

const hour = int64(time.Hour / time.Millisecond)

func TestAWriteShowsInTheVeryNextAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fixed := Range{Span: hearth.Span{From: now.Add(-time.Hour), To: now.Add(time.Hour)}}
	asks := map[string]func() int64{
		"the dashboard": func() int64 { return b.dashboard(t, Ask{Caller: ann, Range: lastDay}).Count },
		"a fixed range": func() int64 { return b.dashboard(t, Ask{Caller: ann, Range: fixed}).Count },
		"of all time":   func() int64 { return b.dashboard(t, Ask{Caller: ann, Range: fixed}).TotalLogs },
		"the admin's":   func() int64 { return b.dashboard(t, Ask{Caller: admin, Range: fixed}).Count },
		"events": func() int64 {
			_, events, err := b.Events(t.Context(), Ask{Caller: ann, Range: fixed})
			if err != nil {
				t.Fatal(err)
			}
			var n int64
			for _, e := range events {
				n += e.Count
			}
			return n
		},
		"trends": func() int64 {
			_, trend, err := b.Trends(t.Context(), TrendAsk{Ask: Ask{Caller: ann, Range: fixed}, Unit: calendar.Minute})
			if err != nil {
				t.Fatal(err)
			}
			var n int64
			for _, p := range trend {
				n += p.Count
			}
			return n
		},
		"usage": func() int64 {
			u, err := b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a1", Range: fixed, Interval: Interval{Unit: calendar.Hour}})
			if err != nil {
				t.Fatal(err)
			}
			return u.Summary.Count
		},
		"a comparison": func() int64 {
			us, err := b.Comparison(t.Context(), ComparisonAsk{Ask: Ask{Caller: ann, Range: fixed}, DeviceIDs: []string{"a0", "a1"}})
			if err != nil {
				t.Fatal(err)
			}
			return us[1].Summary.Count
		},
	}
	for n := range int64(5) {
		for name, ask := range asks {
			for range 2 { // once computed, once from the cache
				if got := ask(); got != n {
					t.Errorf("%s counts %d, want %d", name, got, n)
				}
			}
		}
		b.write(t, "a1", hearth.LogEntry{Value: hearth.Number(1)})
	}
	before := b.store.rollups.Load()
	for _, ask := range asks {
		ask()
		ask()
	}
	// "of all time" is the fixed dashboard again.
	if asked := b.store.rollups.Load() - before; asked != int64(len(asks))-1 {
		t.Errorf("the store was asked %d times for %d answers", asked, len(asks))
	}
	// A deleted device takes its logs with it.
	if err := b.store.DeleteDevice(t.Context(), "a1", func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	b.Publish(hearth.Event{Type: hearth.EventDeviceDeleted, Scope: hearth.UserScope("ann"), DeviceID: "a1"})
	for _, name := range []string{"the dashboard", "a fixed range", "of all time", "the admin's", "events", "trends"} {
		if got := asks[name](); got != 0 {
			t.Errorf("%s counts %d logs of a deleted device", name, got)
		}
	}
	// Another user's write does not end ann's answers.
	before = b.store.rollups.Load()
	b.write(t, "b0", hearth.LogEntry{Value: hearth.Number(1)})
	asks["a fixed range"]()
	if b.store.rollups.Load() != before {
		t.Error("another's write ended a kept answer")
	}
}

func TestARangeThatEndsNowMovesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a1", hearth.LogEntry{Value: hearth.Number(1), At: now.Add(30 * time.Minute).UnixMilli()}, hearth.LogEntry{Value: hearth.Number(1), At: now.Add(time.Second - time.Hour).UnixMilli()})
	ask := Ask{Caller: ann, Range: Range{Sliding: time.Hour}}
	for minutes, want := range []int64{1, 0, 0} {
		if got := b.dashboard(t, ask).Count; got != want {
			t.Errorf("after %d minutes: %d logs, want %d", minutes, got, want)
		}
		b.now.Add(time.Minute.Milliseconds())
	}
	b.now.Store(now.Add(30 * time.Minute).UnixMilli())
	if got := b.dashboard(t, ask).Count; got != 1 {
		t.Errorf("a log of this very millisecond is not counted: %d", got)
	}
}

func TestManyAskersCauseOneQuestion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fixed := Range{Span: hearth.Span{From: now.Add(-time.Hour), To: now}}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := b.Dashboard(t.Context(), Ask{Caller: ann, Range: fixed}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := b.store.rollups.Load(); n != 1 {
		t.Errorf("100 askers caused %d questions", n)
	}
}

func TestUsageSumsUpOneDevice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var values []float64
	for i := range 1000 {
		v := math.Pow(1.01, float64(i)) - 50
		values = append(values, v)
		b.write(t, "a3", hearth.LogEntry{Value: hearth.Number(v), At: now.Add(-time.Duration(i) * time.Minute).UnixMilli(), Event: []string{"x", "y"}[i%2]})
	}
	u, err := b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a3", Range: lastDay, Interval: Interval{Unit: calendar.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(values)
	s := u.Summary
	if s.Count != 1000 || s.Min != values[0] || s.Max != values[999] {
		t.Errorf("the summary is %+v", s)
	}
	for q, got := range map[float64]float64{0.5: s.P50, 0.95: s.P95, 0.99: s.P99} {
		want := values[int(q*999)]
		if math.Abs(got-want) > 0.01*math.Abs(want) {
			t.Errorf("the %v quantile is %v, want %v", q, got, want)
		}
	}
	var sum float64
	for _, v := range values {
		sum += v
	}
	if math.Abs(s.Sum-sum) > 1e-9*math.Abs(sum) || math.Abs(s.Average()-sum/1000) > 1e-9*math.Abs(sum) {
		t.Errorf("the sum is %v, want %v", s.Sum, sum)
	}
	if len(u.Trend) != 18 || u.Trend[0].At%hour != 0 || u.Device.Name != "name of a3" {
		t.Errorf("%d buckets, the first at %d", len(u.Trend), u.Trend[0].At)
	}
	x, err := b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a3", Range: lastDay, Interval: Interval{Unit: calendar.Day}, Event: "x"})
	if err != nil || x.Summary.Count != 500 || len(x.Trend) != 2 {
		t.Errorf("of one event: %+v %v", x.Summary, err)
	}
	none, err := b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a4", Range: lastDay, Interval: Interval{Unit: calendar.Hour}})
	if err != nil || none.Summary != (Summary{}) || len(none.Trend) != 0 {
		t.Errorf("of nothing: %+v %v", none, err)
	}
	for _, c := range []struct {
		caller hearth.Caller
		device string
		code   hearth.Code
	}{{bob, "a3", hearth.CodeNotFound}, {ann, "none", hearth.CodeNotFound}, {ann, "o0", ""}, {admin, "a3", ""}} {
		_, err := b.Usage(t.Context(), UsageAsk{Caller: c.caller, DeviceID: c.device, Range: lastDay, Interval: Interval{Unit: calendar.Hour}})
		if hearth.ErrorCode(err) != c.code {
			t.Errorf("%s asks for %s: %v", c.caller.UserID, c.device, err)
		}
	}
}

func TestComparisonsAreOfTwoToTwentyReadableDevices(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a2", hearth.LogEntry{Value: hearth.Number(4)})
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprint("a", i)
	}
	for _, c := range []struct {
		ids  []string
		org  string
		code hearth.Code
	}{
		{[]string{"a2", "a1"}, "", ""}, {[]string{"a2", "o0"}, "", ""}, {[]string{"a1"}, "", hearth.CodeValidationFailed},
		{nil, "", hearth.CodeValidationFailed}, {many, "", hearth.CodeValidationFailed}, {[]string{"a1", "a1"}, "", hearth.CodeValidationFailed},
		{[]string{"a1", "b0"}, "", hearth.CodeNotFound}, {[]string{"a1", "none"}, "", hearth.CodeNotFound},
		{[]string{"o0", "a1"}, "org", hearth.CodeNotFound}, {[]string{"a1", "a2"}, "foreign", hearth.CodeNotFound},
	} {
		got, err := b.Comparison(t.Context(), ComparisonAsk{Ask: Ask{Caller: ann, OrganizationID: c.org, Range: lastDay}, DeviceIDs: c.ids})
		if hearth.ErrorCode(err) != c.code {
			t.Errorf("%v: %v, want %q", c.ids, err, c.code)
			continue
		}
		for i, u := range got {
			if u.Device.ID != c.ids[i] || (u.Summary.Count == 1) != (u.Device.ID == "a2") {
				t.Errorf("%v: place %d is %s with %d logs", c.ids, i, u.Device.ID, u.Summary.Count)
			}
		}
	}
}

func TestTrendsHaveABoundedNumberOfBuckets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	century := Range{Span: hearth.Span{From: now.AddDate(-100, 0, 0), To: now}}
	for unit, code := range map[calendar.Unit]hearth.Code{
		calendar.Minute: hearth.CodeValidationFailed, calendar.Hour: hearth.CodeValidationFailed, calendar.Day: "", calendar.Month: "",
	} {
		_, _, err := b.Trends(t.Context(), TrendAsk{Ask: Ask{Caller: ann, Range: century}, Unit: unit})
		if hearth.ErrorCode(err) != code {
			t.Errorf("an interval of a %s: %v", unit, err)
		}
	}
	eternity := Range{Span: hearth.Span{From: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}}
	if _, err := b.Dashboard(t.Context(), Ask{Caller: ann, Range: eternity}); hearth.ErrorCode(err) != hearth.CodeValidationFailed {
		t.Errorf("a dashboard of eternity: %v", err)
	}
	if _, _, err := b.Events(t.Context(), Ask{Caller: ann, Range: eternity}); err != nil {
		t.Errorf("events of eternity: %v", err)
	}
}

func TestRealtimeTellsWhatGoesOnNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got, err := b.Realtime(t.Context(), ann, "")
	if err != nil {
		t.Fatal(err)
	}
	want := Realtime{
		At: now, Counts: hearth.DeviceCounts{Total: 16, Active: 16, Online: 1},
		Flow: Flow{HeartbeatsPerSecond: 1.5, LogsPerSecond: 2.5, Connections: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := b.Realtime(t.Context(), bob, "org"); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a foreign organization: %v", err)
	}
}

func TestBucketsStartWhereTheZoneSays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := func(text string) int64 {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.UnixMilli()
	}
	zone := func(name string) *time.Location {
		z, err := hearth.TimeZone(name)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	var logs []hearth.LogEntry
	for i, text := range []string{
		"2025-10-25T21:59:59.999Z", "2025-10-25T22:00:00Z", "2025-10-26T22:59:59Z", "2025-10-26T23:00:00Z", // Berlin: the 25th, the 26th (25 hours), the 27th
		"2026-01-31T18:29:59Z", "2026-01-31T18:30:00Z", // Kolkata: January, February
	} {
		logs = append(logs, hearth.LogEntry{Event: "e", Value: hearth.Number(float64(i)), At: at(text)})
	}
	b.write(t, "a1", logs...)
	span := Range{Span: hearth.Span{From: now.AddDate(-1, 0, 0), To: now}}
	for name, tt := range map[string]struct {
		interval Interval
		want     map[string]int64
	}{
		"days of Berlin": {Interval{calendar.Day, zone("Europe/Berlin")}, map[string]int64{
			"2025-10-24T22:00:00Z": 1, "2025-10-25T22:00:00Z": 2, "2025-10-26T23:00:00Z": 1, "2026-01-30T23:00:00Z": 2,
		}},
		"months of Kolkata": {Interval{calendar.Month, zone("Asia/Kolkata")}, map[string]int64{
			"2025-09-30T18:30:00Z": 4, "2025-12-31T18:30:00Z": 1, "2026-01-31T18:30:00Z": 1,
		}},
		"weeks of UTC": {Interval{calendar.Week, nil}, map[string]int64{
			"2025-10-20T00:00:00Z": 4, "2026-01-26T00:00:00Z": 2,
		}},
		"hours of Kolkata": {Interval{calendar.Hour, zone("Asia/Kolkata")}, map[string]int64{
			"2025-10-25T21:30:00Z": 2, "2025-10-26T22:30:00Z": 2, "2026-01-31T17:30:00Z": 1, "2026-01-31T18:30:00Z": 1,
		}},
		"days of UTC": {Interval{Unit: calendar.Day}, map[string]int64{
			"2025-10-25T00:00:00Z": 2, "2025-10-26T00:00:00Z": 2, "2026-01-31T00:00:00Z": 2,
		}},
	} {
		for range 2 { // once computed, once from the cache
			u, err := b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a1", Range: span, Interval: tt.interval})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]int64{}
			for _, p := range u.Trend {
				got[time.UnixMilli(p.At).UTC().Format(time.RFC3339)] = p.Count
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got)\n%s", name, diff)
			}
		}
	}
}

func TestIncreasesOfCounters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start := now.Add(-3 * time.Hour).Truncate(time.Hour).UnixMilli()
	write := func(device string, minute int64, v hearth.Value) {
		b.write(t, device, hearth.LogEntry{Event: "energy", Value: v, At: start + minute*60_000})
	}
	for _, log := range []struct {
		minute int64
		value  float64
	}{{-90, 90}, {0, 100}, {30, 110}, {61, 5}, {62, 8}, {130, 8}} { // replaced after 110: 5 counts whole
		write("a1", log.minute, hearth.Number(log.value))
	}
	write("a2", 10, hearth.Number(1000)) // the very first reading of this one
	write("a2", 70, hearth.Number(1004))
	write("a1", 20, hearth.Text("offline"))
	span := Range{Span: hearth.Span{From: time.UnixMilli(start), To: time.UnixMilli(start + 3*hour)}}

	u, err := b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a1", Range: span, Interval: Interval{Unit: calendar.Hour}, Event: "energy"})
	if err != nil {
		t.Fatal(err)
	}
	if c := u.Summary.Change; c == nil || c.First != hearth.Number(100) || c.Last != hearth.Number(8) || c.Increase != 10+10+5+3 {
		t.Errorf("the change of the range is %+v", c)
	}
	var got []hearth.ValueChange
	for _, p := range u.Trend {
		got = append(got, *p.Change)
	}
	want := []hearth.ValueChange{
		{First: hearth.Number(100), Last: hearth.Number(110), Increase: 20},
		{First: hearth.Number(5), Last: hearth.Number(8), Increase: 8},
		{First: hearth.Number(8), Last: hearth.Number(8), Increase: 0},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the changes are %+v, want %+v", got, want)
	}
	_, trend, err := b.Trends(t.Context(), TrendAsk{Ask: Ask{Caller: ann, Range: span}, Unit: calendar.Hour, Event: "energy"})
	if err != nil || len(trend) != 3 || trend[0].Change.Increase != 20 || trend[1].Change.Increase != 12 {
		t.Errorf("%v, the trend is %+v", err, trend)
	}
	// A late reading and a deleted one count as if they had always, or never, been there.
	write("a1", 45, hearth.Number(112))
	if u, err = b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a1", Range: span, Interval: Interval{Unit: calendar.Hour}, Event: "energy"}); err != nil {
		t.Fatal(err)
	}
	if u.Summary.Change.Increase != 30 || u.Trend[0].Change.Increase != 22 {
		t.Errorf("after a late reading: %+v", u.Summary.Change)
	}
	if u, err = b.Usage(t.Context(), UsageAsk{Caller: ann, DeviceID: "a1", Range: span, Interval: Interval{Unit: calendar.Hour}}); err != nil || u.Summary.Change != nil {
		t.Errorf("without an event: %v, %+v", err, u.Summary.Change)
	}
}
