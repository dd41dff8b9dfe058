package tsdbtest

import (
	"context"
	"reflect"

	"pgregory.net/rapid"

	"hearth"
)

// states compares how long values held, segment by segment.
func (m *model) states(t *rapid.T) {
	if len(m.devices) == 0 {
		return
	}
	query := hearth.StateQuery{
		Device: rapid.SampledFrom(m.devices).Draw(t, "device"), Event: rapid.SampledFrom([]string{"a", "b", "zz"}).Draw(t, "event"), Span: m.drawSpan(t),
	}
	from, to := query.Span.From.UnixMilli(), query.Span.To.UnixMilli()
	// at is the value of each moment at which it may change.
	at := map[int64]hearth.Value{}
	var moments []int64
	for _, e := range m.sorted(func(e hearth.LogEntry) bool { return e.Device == query.Device && e.Event == query.Event && e.At < to }) {
		moment := max(e.At, from)
		if _, known := at[moment]; !known {
			moments = append(moments, moment)
		}
		at[moment] = e.Value
	}
	var want []hearth.StateSegment
	for i, moment := range moments {
		end := to
		if i+1 < len(moments) {
			end = moments[i+1]
		}
		if n := len(want); n > 0 && want[n-1].Value == at[moment] {
			want[n-1].To = end
		} else if end > moment {
			want = append(want, hearth.StateSegment{Value: at[moment], From: moment, To: end})
		}
	}
	got, err := m.engine(t).States(context.Background(), query)
	must(m, err)
	if !reflect.DeepEqual(got.Segments, want) {
		m.Fatalf("%+v: the segments are %+v, want %+v", query, got.Segments, want)
	}
	held := map[hearth.Value]int64{}
	for _, s := range want {
		held[s.Value] += s.To - s.From
	}
	for _, total := range got.Totals {
		if total.Held != held[total.Value] {
			m.Fatalf("%+v: %v held for %d ms, want %d ms", query, total.Value, total.Held, held[total.Value])
		}
	}
	if len(got.Totals) != len(held) {
		m.Fatalf("%+v: %d totals, want %d", query, len(got.Totals), len(held))
	}
}
