package app_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/calendar"
	"hearth/internal/core/account"
	"hearth/internal/core/analytics"
	"hearth/internal/core/devices"
	"hearth/internal/importer"
	"hearth/internal/realdata"
)

// built returns a program that does not serve, with an admin.
func built(t *testing.T) (*app.Program, hearth.User) {
	t.Helper()
	a := app.NewProgram(t, apitest.Config(t))
	return a, a.CreateUser(t, account.NewUser{Name: "Ann", Email: annsMail, Password: apitest.Password, Role: hearth.RoleAdmin})
}

func TestEveryFactOfRealDataComesBack(t *testing.T) {
	t.Parallel()
	for name := range realDataSets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := realData(t, name)
			if data.progress.Rows != data.want.Rows || int64(data.progress.Devices) != data.want.Devices {
				t.Errorf("imported %d rows and %d devices, want %d and %d", data.progress.Rows, data.progress.Devices, data.want.Rows, data.want.Devices)
			}
			a := app.NewProgram(t, data.config(t))
			f := &factCheck{T: t, app: a, caller: hearth.Caller{UserID: data.user.ID, Role: data.user.Role}, want: data.want, ids: map[string]string{}}
			f.whole()
			f.events(data.file)
			f.types()
			f.days()
			f.hours()
			again, err := a.Importer().File(t.Context(), importer.Import{File: data.file, Columns: importer.DefaultColumns(), Owner: "ANN@example.com"})
			if err != nil || again.Rows != 0 || again.Before != data.want.Rows {
				t.Errorf("importing again: %+v %v", again, err)
			}
			f.whole()
		})
	}
}

type factCheck struct {
	*testing.T
	app    *app.Program
	caller hearth.Caller
	want   realdata.Facts
	ids    map[string]string // by name
}

func near(got, want float64) bool {
	return math.Abs(got-want) <= 1e-9*math.Max(math.Abs(got), math.Abs(want))
}

// all is the range of all rows.
func (f *factCheck) all() analytics.Range {
	return analytics.Range{Span: hearth.Span{From: f.want.FirstTimestamp, To: f.want.LastTimestamp.Add(time.Millisecond)}}
}

func dayOf(t *testing.T, text string) analytics.Range {
	t.Helper()
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return analytics.Range{Span: hearth.Span{From: day, To: day.AddDate(0, 0, 1)}}
}

func (f *factCheck) whole() {
	f.Helper()
	d, err := f.app.Analytics().Dashboard(f.Context(), analytics.Ask{Caller: f.caller, Range: f.all()})
	if err != nil {
		f.Fatal(err)
	}
	var sum float64
	for _, v := range f.want.ValuesPerEvent {
		sum += v.Sum
	}
	if d.TotalLogs != f.want.Rows || d.Count != f.want.Rows || d.Counts.Total != f.want.Devices || !near(d.Sum, sum) {
		f.Errorf("%d logs, %d in range, %d devices, sum %v; want %d, %d, %v", d.TotalLogs, d.Count, d.Counts.Total, d.Sum, f.want.Rows, f.want.Devices, sum)
	}
	for i, top := range f.want.Top {
		if got := d.Devices[i]; got.Device.Name != top.Device || got.Count != top.Rows {
			f.Errorf("place %d is %s with %d rows, want %s with %d", i, got.Device.Name, got.Count, top.Device, top.Rows)
		}
	}
	var inTrend int64
	for _, p := range d.Trend {
		inTrend += p.Count
	}
	if inTrend != f.want.Rows || len(d.Events) != len(f.want.RowsPerEvent) {
		f.Errorf("%d rows in the trend, %d events", inTrend, len(d.Events))
	}
	// What the first and last moment cut off is not counted.
	inner := analytics.Range{Span: hearth.Span{From: f.want.FirstTimestamp.Add(time.Millisecond), To: f.want.LastTimestamp}}
	if d, err = f.app.Analytics().Dashboard(f.Context(), analytics.Ask{Caller: f.caller, Range: inner}); err != nil || d.Count >= f.want.Rows-1 {
		f.Errorf("%d rows within, %v", d.Count, err)
	}
}

func (f *factCheck) events(file string) {
	_, events, err := f.app.Analytics().Events(f.Context(), analytics.Ask{Caller: f.caller, Range: f.all()})
	if err != nil {
		f.Fatal(err)
	}
	if len(events) != len(f.want.RowsPerEvent) {
		f.Errorf("%d events, want %d", len(events), len(f.want.RowsPerEvent))
	}
	values := valuesOf(f.T, file)
	for _, e := range events {
		want := f.want.ValuesPerEvent[e.Event]
		if e.Count != f.want.RowsPerEvent[e.Event] || e.Min != want.Min || e.Max != want.Max || !near(e.Sum, want.Sum) || !near(e.Average(), want.Mean) {
			f.Errorf("%s: %+v, want %d rows, %+v", e.Event, e, f.want.RowsPerEvent[e.Event], want)
		}
		sorted := values[e.Event]
		slices.Sort(sorted)
		for q, got := range map[float64]float64{0.5: e.P50, 0.95: e.P95, 0.99: e.P99} {
			if exact := sorted[max(0, int(math.Ceil(q*float64(len(sorted))-1e-6))-1)]; math.Abs(got-exact) > 0.01*math.Abs(exact) {
				f.Errorf("%s: the %v quantile is %v, exactly %v", e.Event, q, got, exact)
			}
		}
	}
}

// valuesOf reads the values of each event straight from the file.
func valuesOf(t *testing.T, file string) map[string][]float64 {
	t.Helper()
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	text, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]float64{}
	scanner := bufio.NewScanner(text)
	scanner.Scan()
	for scanner.Scan() {
		fields := strings.Split(scanner.Text(), ",")
		value, err := strconv.ParseFloat(fields[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		values[fields[2]] = append(values[fields[2]], value)
	}
	return values
}

func (f *factCheck) usage(name string, span analytics.Range) analytics.Usage {
	f.Helper()
	u, err := f.app.Analytics().Usage(f.Context(), analytics.UsageAsk{Caller: f.caller, DeviceID: f.ids[name], Range: span, Interval: analytics.Interval{Unit: calendar.Hour}})
	if err != nil {
		f.Fatal(err)
	}
	return u
}

func (f *factCheck) types() {
	page := hearth.Page{Limit: hearth.MaxLimit}
	list, err := f.app.Store().Devices(f.Context(), hearth.DeviceFilter{Reach: hearth.Reach{All: true}}, page)
	if err != nil || !list.Next.IsZero() {
		f.Fatalf("%d devices, %v", len(list.Items), err)
	}
	got := map[string]int64{}
	for _, device := range list.Items {
		f.ids[device.Name] = device.ID
		got[device.Type] += f.usage(device.Name, f.all()).Summary.Count
	}
	for kind, rows := range f.want.RowsPerType {
		if got[kind] != rows {
			f.Errorf("%d rows of type %s, want %d", got[kind], kind, rows)
		}
	}
	if len(got) != len(f.want.RowsPerType) {
		f.Errorf("%d types, want %d", len(got), len(f.want.RowsPerType))
	}
}

func (f *factCheck) days() {
	for day, want := range f.want.RowsPerDay {
		count := func(event string) int64 {
			_, trend, err := f.app.Analytics().Trends(f.Context(), analytics.TrendAsk{
				Ask: analytics.Ask{Caller: f.caller, Range: dayOf(f.T, day)}, Unit: calendar.Day, Event: event,
			})
			if err != nil || len(trend) > 1 || len(trend) == 1 && time.UnixMilli(trend[0].At).UTC().Format(time.DateOnly) != day {
				f.Fatalf("%s %s: %+v %v", day, event, trend, err)
			}
			if len(trend) == 0 {
				return 0
			}
			return trend[0].Count
		}
		if got := count(""); got != want.Total {
			f.Errorf("%d rows on %s, want %d", got, day, want.Total)
		}
		for event, rows := range want.PerEvent {
			if got := count(event); got != rows {
				f.Errorf("%d rows of %s on %s, want %d", got, event, day, rows)
			}
		}
	}
}

func (f *factCheck) hours() {
	day := dayOf(f.T, f.want.RowsPerHour.Day)
	for name, want := range f.want.RowsPerHour.Devices {
		counts, sums := make([]int64, 24), make([]float64, 24)
		for _, p := range f.usage(name, day).Trend {
			hour := time.UnixMilli(p.At).UTC().Hour()
			counts[hour], sums[hour] = p.Count, p.Sum
		}
		// The facts give one event's hours where a device has several: temperature, as the sums show.
		if !slices.Equal(counts, want.Counts) {
			u, err := f.app.Analytics().Usage(f.Context(), analytics.UsageAsk{
				Caller: f.caller, DeviceID: f.ids[name], Range: day, Interval: analytics.Interval{Unit: calendar.Hour}, Event: "temperature",
			})
			if err != nil {
				f.Fatal(err)
			}
			clear(counts)
			clear(sums)
			for _, p := range u.Trend {
				hour := time.UnixMilli(p.At).UTC().Hour()
				counts[hour], sums[hour] = p.Count, p.Sum
			}
		}
		for hour := range 24 {
			if counts[hour] != want.Counts[hour] || !near(sums[hour], want.Sums[hour]) {
				f.Errorf("%s at %d: %d rows, sum %v; want %d, %v", name, hour, counts[hour], sums[hour], want.Counts[hour], want.Sums[hour])
			}
		}
	}
}

func TestAServerSeesWhatAnImportBesideItBringsIn(t *testing.T) {
	t.Parallel()
	server, user := built(t)
	follow := server.FollowWrites()
	caller := hearth.Caller{UserID: user.ID, Role: user.Role}
	fixed := analytics.Range{Span: hearth.Span{From: time.UnixMilli(0), To: time.UnixMilli(4e12)}}
	want := func(count int, logs int64) {
		t.Helper()
		list, err := server.Devices().Devices(t.Context(), caller, devices.Query{})
		if err != nil || len(list.Items) != count {
			t.Errorf("the server lists %d devices, want %d: %v", len(list.Items), count, err)
		}
		d, err := server.Analytics().Dashboard(t.Context(), analytics.Ask{Caller: caller, Range: fixed})
		if err != nil || d.Count != logs {
			t.Errorf("the server counts %d logs, want %d: %v", d.Count, logs, err)
		}
	}
	if err := follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(0, 0)
	file := filepath.Join(t.TempDir(), "rows.csv")
	text := "device,type,event,value,timestamp\na,s,e,1,2020-01-01T00:00:00Z\nb,s,e,1,2020-01-01T00:00:00Z\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Import(t.Context(), app.Settings{Config: server.Config()}, importer.Import{File: file, Columns: importer.DefaultColumns()}); err != nil {
		t.Fatal(err)
	}
	if err := follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(2, 2)
	// Where no other process wrote, no write of another is seen.
	others, ok := server.Store().(interface {
		ForeignWrites(ctx context.Context) (uint64, error)
	})
	if !ok {
		t.Fatalf("a %T does not count the writes of others", server.Store())
	}
	before, err := others.ForeignWrites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after, err := others.ForeignWrites(t.Context()); err != nil || after != before {
		t.Errorf("writes of others were seen where there were none: %d, %d, %v", before, after, err)
	}
}
