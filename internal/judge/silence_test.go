package judge_test

import (
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/judge"
)

func noData(event string, seconds int) hearth.Condition {
	return hearth.Condition{NoData: &hearth.NoData{Event: event, For: time.Duration(seconds) * time.Second}}
}

func offlineFor(seconds int) hearth.Condition {
	return hearth.Condition{OfflineFor: time.Duration(seconds) * time.Second}
}

// always is a time up to which outages are known that no test reaches.
const always = 1 << 20

func outages(seconds ...int) (all []hearth.Outage) {
	for i := 0; i < len(seconds); i += 2 {
		all = append(all, hearth.Outage{From: at(seconds[i]), To: at(seconds[i+1])})
	}
	return all
}

func TestSilences(t *testing.T) {
	t.Parallel()
	at1215 := &hearth.RuleSchedule{TimeZone: "UTC", Days: []time.Weekday{time.Wednesday}, Start: 12*60 + 15, End: 13 * 60}
	for name, tt := range map[string]struct {
		condition hearth.Condition
		schedule  *hearth.RuleSchedule
		outages   []hearth.Outage
		known     int // seconds; 0 for always
		timeline  string
		want      string
		due       int // milliseconds; 0 for none
	}{
		"no reading since the device was made":    {condition: noData("", 10), timeline: "tick@9 tick@11", want: "1 raised@10"},
		"it is judged a little later":             {condition: noData("", 10), timeline: "tick@10", due: 10_200},
		"readings keep it away":                   {condition: noData("", 10), timeline: "20@5 20@14 tick@20", due: 24_200},
		"a reading ends it":                       {condition: noData("", 10), timeline: "20@5 tick@16 20@30 tick@35", want: "1 raised@15, 1 cleared@30", due: 40_200},
		"the reading that ends it is found first": {condition: noData("", 10), timeline: "20@5 20@40", want: "1 raised@15, 1 cleared@40", due: 50_200},
		"it counts from when readings come in":    {condition: noData("", 10), timeline: "20@-900/5 tick@14", due: 15_200},
		"readings of the future count as now":     {condition: noData("", 10), timeline: "20@900/5 tick@16", want: "1 raised@15"},
		"late readings are data":                  {condition: noData("", 10), timeline: "20@5 20@1/14 tick@16", due: 24_200},
		"another event is none of it":             {condition: noData("t", 10), timeline: "20@5 door=true@12 tick@16", want: "1 raised@15"},
		"any event will do":                       {condition: noData("", 10), timeline: "20@5 door=true@12 tick@16", due: 22_200},
		"by hand: a reading must come first":      {condition: noData("", 10), timeline: "20@0 tick@11 hand@12 tick@30 20@40 tick@60", want: "1 raised@10, 2 raised@50"},
		"hearth was down":                         {condition: noData("", 10), outages: outages(2, 32), timeline: "20@0 tick@39", due: 40_200},
		"hearth was down for a part of it":        {condition: noData("", 10), outages: outages(-50, 3, 5, 6, 12, 20, 40, 50), timeline: "20@0 tick@23", want: "1 raised@22"},
		"hearth was down before":                  {condition: noData("", 10), outages: outages(-50, -5), timeline: "20@0 tick@11", want: "1 raised@10"},
		"it is not known whether hearth was up":   {condition: noData("", 10), known: 9, timeline: "20@0 tick@11", due: 12_000},
		"it lasts until the schedule begins":      {condition: noData("", 10), schedule: at1215, timeline: "20@0 tick@909 tick@911", want: "1 raised@910"},
		"the schedule is over first":              {condition: noData("", 3600), schedule: at1215, timeline: "20@0 tick@7000"},
		"down while the schedule runs":            {condition: noData("", 10), schedule: at1215, outages: outages(100, 905), timeline: "20@0 tick@914 tick@916", want: "1 raised@915"},
		"offline: it was never heard":             {condition: offlineFor(10), timeline: "tick@9 tick@11", want: "1 raised@10"},
		"offline: it was heard":                   {condition: offlineFor(10), timeline: "heard@5 tick@14 tick@16", want: "1 raised@15"},
		"offline: it is heard again":              {condition: offlineFor(10), timeline: "heard@5 tick@16 heard@30 tick@31", want: "1 raised@15, 1 cleared@30", due: 40_200},
		"offline: a sign of life that waits":      {condition: offlineFor(10), timeline: "heard@5 tick@16 sign@30", want: "1 raised@15, 1 cleared@30", due: 40_200},
		"offline: readings are signs of life":     {condition: offlineFor(10), timeline: "heard@5 20@12 tick@16", due: 22_200},
		"offline: a connection keeps it online":   {condition: offlineFor(10), timeline: "until@60 heard@5 tick@16", due: 60_200},
		"offline: until the connection is lost":   {condition: offlineFor(10), timeline: "until@60 heard@5 tick@61", want: "1 raised@60"},
		"offline: no data is no sign of it":       {condition: noData("", 10), timeline: "sign@5 heard@6 tick@11", want: "1 raised@10"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &device{rule: ruleOf(t, tt.condition, tt.schedule), life: judge.Life{Created: at(0), Outages: tt.outages, Known: at(always)}}
			if tt.known > 0 {
				d.life.Known = at(tt.known)
			}
			d.play(t, tt.timeline)
			if got := strings.Join(d.changes, ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			due := 0
			if !d.watch.Due.IsZero() {
				due = int(d.watch.Due.Sub(noon) / time.Millisecond)
			}
			if due != tt.due {
				t.Errorf("due at %d, want %d", due, tt.due)
			}
		})
	}
}

func TestANewRuleKnowsTheLastReading(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		condition hearth.Condition
		newest    map[string]int // seconds by event
		made      int            // when the rule was
		want      string
	}{
		"it is long silent":                  {condition: noData("", 10), newest: map[string]int{"t": 0, "u": 30}, made: 100, want: "1 raised@40"},
		"of one event":                       {condition: noData("t", 10), newest: map[string]int{"t": 25, "u": 30}, made: 100, want: "1 raised@35"},
		"a reading may have come in later":   {condition: noData("t", 10), newest: map[string]int{"t": 0}, made: 100, want: "1 raised@30"},
		"a reading of the future is of now":  {condition: noData("", 10), newest: map[string]int{"t": 500}, made: 100, want: ""},
		"there was none: since it was made":  {condition: noData("", 10), made: 90, want: "1 raised@100"},
		"none, and it was made only just":    {condition: noData("", 10), made: 100, want: ""},
		"of that event there was none":       {condition: noData("x", 10), newest: map[string]int{"t": 0}, made: 50, want: "1 raised@60"},
		"offline knows the last sign itself": {condition: offlineFor(10), newest: map[string]int{"t": 0}, made: 100, want: "1 raised@30"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ruleOf(t, tt.condition, nil)
			rule := r.Rule
			rule.CreatedAt = at(tt.made)
			d := &device{rule: mustNew(t, rule), life: judge.Life{Created: at(0), Known: at(always), Heard: at(20)}}
			d.newest = map[string]hearth.Reading{}
			for event, second := range tt.newest {
				d.newest[event] = hearth.Reading{Event: event, At: at(second)}
			}
			d.judge(at(101), func(j *judge.Judge) { j.Tick(at(101)) })
			if got := strings.Join(d.changes, ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestASilenceIsFoundInStoredReadings(t *testing.T) {
	t.Parallel()
	readings := []hearth.Reading{{Event: "t", At: at(0)}, {Event: "t", At: at(5)}, {Event: "t", At: at(60)}}
	got := judge.Replay(ruleOf(t, noData("t", 10), nil), readings, judge.Life{Created: at(-5), Outages: outages(10, 20), Known: at(always)}, at(100))
	if len(got) != 2 || !got[0].RaisedAt.Equal(at(25)) || !got[0].ClearedAt.Equal(at(60)) || got[0].Value != nil || !got[1].RaisedAt.Equal(at(70)) || !got[1].ClearedAt.IsZero() {
		t.Errorf("found %+v", got)
	}
}
