package storetest

import (
	"testing"
	"time"

	"hearth"
)

func rollupsOrder(t *testing.T, s LogStore) {
	devices := createDevices(t, s, device(1), device(2))
	appendLogs(t, s,
		entry(devices[1], "b", 1, time.Hour), entry(devices[0], "b", 2, time.Hour), entry(devices[0], "a", 3, time.Hour),
		entry(devices[1], "a", 4, 0), entry(devices[1], "a", 6, time.Second), entry(devices[0], "z", 5, 0),
	)
	got := rolledUp(t, s, hearth.RollupQuery{
		Reach: hearth.Reach{All: true}, Span: everything,
		Groupings: []hearth.Grouping{{ByDevice: true, ByEvent: true, Step: hearth.StepHour}, {Step: hearth.StepDay}, {}, {ByEvent: true}},
	})
	one := func(v float64) hearth.Stats { return hearth.Stats{Count: 1, Sum: v, Min: v, Max: v} }
	sameDevices(t, got[0], []hearth.Rollup{
		{Device: devices[0].Key, Event: "z", At: at(0), Stats: one(5)},
		{Device: devices[1].Key, Event: "a", At: at(0), Stats: hearth.Stats{Count: 2, Sum: 10, Min: 4, Max: 6}},
		{Device: devices[0].Key, Event: "a", At: at(time.Hour), Stats: one(3)},
		{Device: devices[0].Key, Event: "b", At: at(time.Hour), Stats: one(2)},
		{Device: devices[1].Key, Event: "b", At: at(time.Hour), Stats: one(1)},
	})
	sameDevices(t, got[1], []hearth.Rollup{{At: at(-12 * time.Hour), Stats: hearth.Stats{Count: 6, Sum: 21, Min: 1, Max: 6}}})
	sameDevices(t, got[2], []hearth.Rollup{{Stats: hearth.Stats{Count: 6, Sum: 21, Min: 1, Max: 6}}})
	sameDevices(t, got[3], []hearth.Rollup{
		{Event: "a", Stats: hearth.Stats{Count: 3, Sum: 13, Min: 3, Max: 6}},
		{Event: "b", Stats: hearth.Stats{Count: 2, Sum: 3, Min: 1, Max: 2}},
		{Event: "z", Stats: one(5)},
	})
}

func rollupsCutHour(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	for i := range 120 {
		appendLogs(t, s, entry(d, "a", float64(i), time.Duration(i)*time.Minute))
	}
	span := hearth.Span{From: noon.Add(10*time.Minute + time.Millisecond), To: noon.Add(80 * time.Minute)}
	for _, devices := range [][]int64{nil, {d.Key}} {
		got := rolledUp(t, s, hearth.RollupQuery{Reach: hearth.Reach{All: true}, Devices: devices, Span: span, Groupings: []hearth.Grouping{
			{Step: hearth.StepHour}, {Sketch: true}, {Step: hearth.StepMinute},
		}})
		sameDevices(t, got[0], []hearth.Rollup{
			{At: at(0), Stats: hearth.Stats{Count: 49, Sum: 49 * 35, Min: 11, Max: 59}},
			{At: at(time.Hour), Stats: hearth.Stats{Count: 20, Sum: 20 * 69.5, Min: 60, Max: 79}},
		})
		if len(got[1]) != 1 || got[1][0].Count != 69 || got[1][0].Sketch.Count() != 69 {
			t.Errorf("got %+v, want 69 logs", got[1])
		}
		if len(got[2]) != 69 || got[2][0].At != at(11*time.Minute) {
			t.Errorf("%d minutes, want 69", len(got[2]))
		}
	}
}

func rollupsEmpty(t *testing.T, s LogStore) {
	d := createDevices(t, s, device(1))[0]
	appendLogs(t, s, entry(d, "a", 1, 0))
	for _, query := range []hearth.RollupQuery{
		{Reach: hearth.Reach{All: true}, Span: hearth.Span{From: noon.Add(time.Millisecond), To: noon.Add(time.Hour)}},
		{Reach: hearth.Reach{All: true}, Span: hearth.Span{From: noon.Add(time.Hour), To: noon}},
		{Reach: hearth.Reach{All: true}, Span: everything, Event: "b"},
		{Span: everything},
	} {
		query.Groupings = []hearth.Grouping{{}, {ByDevice: true, ByEvent: true, Step: hearth.StepDay, Sketch: true}}
		for i, groups := range rolledUp(t, s, query) {
			if len(groups) > 0 {
				t.Errorf("%+v: grouping %d has %+v", query, i, groups)
			}
		}
	}
}
