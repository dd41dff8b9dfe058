package judge_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/judge"
)

// noon is where the seconds of timelines count from: a Wednesday.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) // never written to

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

// secondsOf is at backwards.
func secondsOf(t time.Time) int { return int(t.Sub(noon) / time.Second) }

func threshold(operator hearth.Operator, value float64) hearth.Condition {
	return hearth.Condition{Event: "t", Operator: operator, Value: hearth.Number(value)}
}

func ruleOf(t testing.TB, c hearth.Condition, s *hearth.RuleSchedule) *judge.Rule {
	t.Helper()
	rule := hearth.Rule{ID: "r", Name: "r", OwnerID: "u", Condition: c, Schedule: s, Severity: hearth.SeverityMajor, Version: 1}
	if problems := rule.Validate(""); len(problems) > 0 {
		t.Fatal(problems)
	}
	r, problem := judge.New(rule)
	if problem != "" {
		t.Fatal(problem)
	}
	return r
}

// device is a device with one rule, whose state is kept between judgements as a store keeps it.
type device struct {
	rule    *judge.Rule
	life    judge.Life
	newest  map[string]hearth.Reading
	watch   hearth.Watch
	number  int
	all     []judge.Change
	changes []string // as texts
}

func (d *device) judge(now time.Time, do func(*judge.Judge)) {
	j := judge.Begin(d.watch, []*judge.Rule{d.rule}, d.life, now, func(string) string { return "" }, func() string {
		d.number++
		return strconv.Itoa(d.number)
	})
	if j.Unheard() {
		j.Listen(d.newest)
	}
	do(j)
	var changes []judge.Change
	d.watch, changes = j.End()
	d.all = append(d.all, changes...)
	for _, c := range changes {
		text := fmt.Sprintf("%s %s@%d", c.AlarmID, c.Kind, secondsOf(c.At))
		if c.Reading != nil {
			text += "=" + c.Reading.Value.String()
		}
		d.changes = append(d.changes, text)
	}
}

// value reads a value of a timeline: a number, true, false, or a text.
func value(text string) hearth.Value {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return hearth.Number(n)
	}
	if b, err := strconv.ParseBool(text); err == nil {
		return hearth.Boolean(b)
	}
	return hearth.Text(text)
}

// play runs a timeline: words separated by spaces, "20@5" for a reading of t of second 5 that comes in then, "20@5/9" for one that comes in at second 9, "door=true@5"
// for one of another event, "a+b" for a batch, "tick@7" for the time alone, "hand@7" for a user who clears the alarm, "sign@7" for a sign of
// life that waits, "heard@7" for one that is known, and "until@7" for a connection that is good until then.
func (d *device) play(t *testing.T, timeline string) {
	t.Helper()
	for word := range strings.FieldsSeq(timeline) {
		var readings []hearth.Reading
		received := 0
		for part := range strings.SplitSeq(word, "+") {
			what, when, _ := strings.Cut(part, "@")
			when, arrived, late := strings.Cut(when, "/")
			second, err := strconv.Atoi(when)
			if err != nil {
				t.Fatal(word, err)
			}
			received = max(received, second)
			if late {
				received, _ = strconv.Atoi(arrived)
			}
			event, text, named := strings.Cut(what, "=")
			if !named {
				event, text = "t", what
			}
			readings = append(readings, hearth.Reading{Event: event, Value: value(text), At: at(second)})
		}
		switch {
		case strings.HasPrefix(word, "tick@"):
			d.judge(at(received), func(j *judge.Judge) { j.Tick(at(received)) })
		case strings.HasPrefix(word, "sign@"):
			d.judge(at(received), func(j *judge.Judge) { j.Batch(nil, at(received)) })
		case strings.HasPrefix(word, "heard@"):
			d.life.Heard = at(received)
		case strings.HasPrefix(word, "until@"):
			d.life.Until = at(received)
		case strings.HasPrefix(word, "hand@"):
			for id, s := range d.watch.Rules {
				s.ByHand = true
				d.watch.Rules[id] = s
			}
		default:
			d.judge(at(received), func(j *judge.Judge) { j.Batch(readings, at(received)) })
		}
	}
}

func number(n float64) *hearth.Value {
	v := hearth.Number(n)
	return &v
}

func TestTimelines(t *testing.T) {
	t.Parallel()
	hot := threshold(hearth.Greater, 30)
	lasting := hot
	lasting.For = 10 * time.Second
	banded := hot
	banded.ClearValue = number(28)
	slow := banded
	slow.ClearFor = 10 * time.Second
	text := hearth.Condition{Event: "t", Operator: hearth.Equal, Value: hearth.Text("open")}
	both := hearth.Condition{Expression: "t > 30 && door == false"}
	nested := hearth.Condition{Expression: `max(t, latest["a.b"]) - 1 > 30`, For: 10 * time.Second}
	at1215 := &hearth.RuleSchedule{TimeZone: "UTC", Days: []time.Weekday{time.Wednesday}, Start: 12*60 + 15, End: 13 * 60}
	for name, tt := range map[string]struct {
		condition hearth.Condition
		schedule  *hearth.RuleSchedule
		timeline  string
		want      string
		due       int // seconds; 0 for none
	}{
		"at once":                            {condition: hot, timeline: "20@0 31@5", want: "1 raised@5=31"},
		"the limit itself is not beyond it":  {condition: hot, timeline: "30@0", want: ""},
		"gte has the limit":                  {condition: threshold(hearth.GreaterOrEqual, 30), timeline: "30@0", want: "1 raised@0=30"},
		"lt":                                 {condition: threshold(hearth.Less, 30), timeline: "30@0 29@1", want: "1 raised@1=29"},
		"lte":                                {condition: threshold(hearth.LessOrEqual, 30), timeline: "30@0", want: "1 raised@0=30"},
		"ne":                                 {condition: threshold(hearth.NotEqual, 30), timeline: "30@0 open@1 29@2", want: "1 raised@2=29"},
		"a repeat counts and raises nothing": {condition: hot, timeline: "31@0 32@1 33@2", want: "1 raised@0=31, 1 seen@1=32, 1 seen@2=33"},
		"it ends":                            {condition: hot, timeline: "31@0 30@1 31@2", want: "1 raised@0=31, 1 cleared@1, 2 raised@2=31"},
		"a batch raises and clears":          {condition: hot, timeline: "20@3+31@1+20@0", want: "1 raised@1=31, 1 cleared@3"},
		"late readings change nothing":       {condition: hot, timeline: "20@10 31@5/11 31@12 20@11/13", want: "1 raised@12=31"},
		"a reading twice counts once":        {condition: hot, timeline: "31@0 31@0/3 31@0/4", want: "1 raised@0=31"},
		"another value of the same time":     {condition: hot, timeline: "31@0 20@0/1", want: "1 raised@0=31, 1 cleared@0"},
		"another type meets nothing":         {condition: hot, timeline: "open@0 true@1 31@2 open@3", want: "1 raised@2=31, 1 cleared@3"},
		"a text":                             {condition: text, timeline: "shut@0 open@1 1@2", want: "1 raised@1=open, 1 cleared@2"},
		"for: a later reading confirms":      {condition: lasting, timeline: "31@0 32@9 33@10 34@11", want: "1 raised@10=33, 1 seen@11=34"},
		"for: the reading may come later":    {condition: lasting, timeline: "31@0 32@60/5", want: "1 raised@10=32"},
		"for: it runs by the clock":          {condition: lasting, timeline: "31@0 tick@9 tick@10", want: "1 raised@10=31"},
		"for: from when the reading came in": {condition: lasting, timeline: "31@0/100 tick@109", want: "", due: 110},
		"for: then it is of the reading":     {condition: lasting, timeline: "31@0/100 tick@110", want: "1 raised@10=31"},
		"for: what speaks against it":        {condition: lasting, timeline: "31@0 30@9 tick@20 31@21", want: "", due: 31},
		"for: no reading confirmed it":       {condition: lasting, timeline: "31@0+20@60/61", want: ""},
		"for: the clock was before":          {condition: lasting, timeline: "31@0 20@60", want: "1 raised@10=31, 1 cleared@60"},
		"for: counts on from the first":      {condition: lasting, timeline: "31@0 32@5 tick@9", want: "", due: 10},
		"hysteresis":                         {condition: banded, timeline: "31@0 29@1 31@2 28@3 29@4", want: "1 raised@0=31, 1 seen@2=31, 1 cleared@3"},
		"clear for: a reading confirms":      {condition: slow, timeline: "31@0 27@1 28@11", want: "1 raised@0=31, 1 cleared@11"},
		"clear for: the clock":               {condition: slow, timeline: "31@0 27@1 tick@10 tick@11", want: "1 raised@0=31, 1 cleared@11"},
		"clear for: the band begins it anew": {condition: slow, timeline: "31@0 27@1 29@9 27@10 tick@19", want: "1 raised@0=31", due: 20},
		"clear for: a repeat ends it":        {condition: slow, timeline: "31@0 27@1 31@9 tick@19", want: "1 raised@0=31, 1 seen@9=31"},
		"by hand: it must end first":         {condition: hot, timeline: "31@0 hand@1 32@2 30@3 33@4", want: "1 raised@0=31, 2 raised@4=33"},
		"by hand: with the band":             {condition: banded, timeline: "31@0 hand@1 29@2 31@3 28@4 31@5", want: "1 raised@0=31, 2 raised@5=31"},
		"expression":                         {condition: both, timeline: "31@0 door=true@1 door=false@2 32@3 door=true@4", want: "1 raised@2=false, 1 seen@3=32, 1 cleared@4"},
		"expression: a batch is one moment":  {condition: both, timeline: "20@0+door=false@0 31@5+door=true@5", want: ""},
		"expression: another type":           {condition: both, timeline: "hot@0+door=false@0 31@1", want: "1 raised@1=31"},
		"expression: a late other event":     {condition: both, timeline: "31@5 door=false@4/6 door=true@3/7", want: "1 raised@5=false"},
		"expression: names and functions":    {condition: nested, timeline: "1@0 a.b=32@1 tick@10 tick@11", want: "1 raised@11=32"},
		"schedule: nothing outside":          {condition: hot, schedule: at1215, timeline: "31@0 20@60 tick@900", want: ""},
		"schedule: it begins":                {condition: hot, schedule: at1215, timeline: "31@0 tick@899 tick@900", want: "1 raised@900=31"},
		"schedule: counts from its start":    {condition: lasting, schedule: at1215, timeline: "31@0 32@905", want: "", due: 910},
		"schedule: a reading confirms":       {condition: lasting, schedule: at1215, timeline: "31@0 32@911/909", want: "1 raised@910=32"},
		"schedule: the end is excluded":      {condition: hot, schedule: at1215, timeline: "31@3600", want: "", due: 7*24*3600 + 900},
		"schedule: an alarm outlasts it":     {condition: hot, schedule: at1215, timeline: "31@3599 31@3600 20@3601", want: "1 raised@3599=31, 1 seen@3600=31, 1 cleared@3601"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &device{rule: ruleOf(t, tt.condition, tt.schedule)}
			d.play(t, tt.timeline)
			if got := strings.Join(d.changes, ", "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			due := 0
			if !d.watch.Due.IsZero() {
				due = secondsOf(d.watch.Due)
			}
			if due != tt.due {
				t.Errorf("due at %d, want %d", due, tt.due)
			}
		})
	}
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	weekend := []time.Weekday{time.Saturday, time.Sunday}
	all := []time.Weekday{time.Sunday, time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday}
	night := hearth.RuleSchedule{TimeZone: "Europe/Berlin", Days: weekend, Start: 22 * 60, End: 6 * 60}
	for name, tt := range map[string]struct {
		schedule hearth.RuleSchedule
		since    string
		lasting  time.Duration
		want     string
	}{
		"inside":                        {night, "2026-03-07T23:00:00+01:00", 0, "2026-03-07T23:00:00+01:00"},
		"past midnight is of its start": {night, "2026-03-09T05:00:00+01:00", 0, "2026-03-09T05:00:00+01:00"}, // Monday, of Sunday
		"the night of Friday is not":    {night, "2026-03-07T05:00:00+01:00", 0, "2026-03-07T22:00:00+01:00"},
		"too long for what is left":     {night, "2026-03-09T05:00:00+01:00", 2 * time.Hour, "2026-03-15T00:00:00+01:00"},
		"longer than any window":        {night, "2026-03-09T05:00:00+01:00", 8 * time.Hour, ""},
		"clocks go forward":             {night, "2026-03-28T21:00:00+01:00", 6*time.Hour + 59*time.Minute, "2026-03-29T05:59:00+02:00"}, // the window has 7 hours
		"clocks go back":                {night, "2026-10-24T21:00:00+02:00", 8*time.Hour + 30*time.Minute, "2026-10-25T05:30:00+01:00"},
		"a start that is left out":      {hearth.RuleSchedule{TimeZone: "Europe/Berlin", Days: all, Start: 2*60 + 30, End: 5 * 60}, "2026-03-29T00:00:00+01:00", 0, "2026-03-29T03:30:00+02:00"},
		"all day, on and on":            {hearth.RuleSchedule{TimeZone: "UTC", Days: all}, "2026-03-07T05:00:00Z", 10 * 24 * time.Hour, "2026-03-17T05:00:00Z"},
		"two days of a week":            {hearth.RuleSchedule{TimeZone: "UTC", Days: weekend}, "2026-03-04T12:00:00Z", 30 * time.Hour, "2026-03-08T06:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			since, err := time.Parse(time.RFC3339, tt.since)
			if err != nil {
				t.Fatal(err)
			}
			c := threshold(hearth.Greater, 30)
			c.For = tt.lasting
			d := &device{rule: ruleOf(t, c, &tt.schedule)}
			d.judge(since, func(j *judge.Judge) {
				j.Batch([]hearth.Reading{{Event: "t", Value: hearth.Number(31), At: since}}, since)
			})
			got := ""
			if len(d.changes) > 0 {
				got = since.Add(tt.lasting).Format(time.RFC3339)
			} else if !d.watch.Due.IsZero() {
				got = d.watch.Due.In(since.Location()).Format(time.RFC3339)
			}
			if a, b := parse(t, got), parse(t, tt.want); !a.Equal(b) {
				t.Errorf("raised at %s, want %s", got, tt.want)
			}
		})
	}
}

func parse(t *testing.T, text string) (at time.Time) {
	t.Helper()
	if text == "" {
		return at
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestARuleThatChangesClearsItsAlarms(t *testing.T) {
	t.Parallel()
	r := ruleOf(t, threshold(hearth.Greater, 30), nil)
	d := &device{rule: r}
	d.play(t, "31@0")
	changed := r.Rule
	changed.Version++
	for name, rules := range map[string][]*judge.Rule{"changed": {mustNew(t, changed)}, "gone": nil} {
		j := judge.Begin(d.watch, rules, judge.Life{}, at(5), func(id string) string { return "because of " + id }, func() string { return "2" })
		j.Batch([]hearth.Reading{{Event: "t", Value: hearth.Number(32), At: at(4)}}, at(5))
		watch, changes := j.End()
		want := 1
		if name == "changed" {
			want = 2 // it judges from the next reading on
		}
		if len(changes) != want || changes[0].Kind != judge.Cleared || changes[0].AlarmID != "1" || !changes[0].At.Equal(at(5)) || changes[0].Reason != "because of r" {
			t.Errorf("%s: %+v", name, changes)
		}
		if len(watch.Rules) != want-1 || len(watch.Values) != want-1 {
			t.Errorf("%s: keeps %+v", name, watch)
		}
	}
	if len(d.watch.Rules) != 1 || len(d.watch.Values) != 1 {
		t.Error("what was known before is changed")
	}
}

func mustNew(t *testing.T, rule hearth.Rule) *judge.Rule {
	t.Helper()
	r, problem := judge.New(rule)
	if problem != "" {
		t.Fatal(problem)
	}
	return r
}

func TestExpressionsAreBounded(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"t > 30":                          "",
		`latest["a.b"] >= 1 || !door`:     "",
		"not door and abs(t - 1) < 2":     "",
		`mode == "auto"`:                  "",
		"t":                               "", // a boolean, perhaps
		"":                                "is not understood",
		"1 > 0":                           "must name an event",
		"t + 1":                           "is not understood: it is a number",
		"1 + 2":                           "is not understood",
		"t >":                             "is not understood: unexpected an end (at 4)",
		"t > 30 ? true : false":           "is not understood: unexpected ? (at 8)",
		"a.b > 1":                         `write latest["a.b"]`,
		`latest["a b"] > 1`:               "must not have the event",
		"latest[t] > 1":                   "must not have",
		"t in [1,2]":                      "is not understood: unexpected in",
		`mode matches "a+"`:               "is not understood: unexpected matches",
		"all(t, t > 1)":                   "must not have the function all",
		"len(t) > 1":                      "must not have the function len",
		"let x = t; x > 1":                "must not have let",
		"t ** 9 > 1":                      "is not understood: unexpected *",
		"t % 2 == 0":                      "is not understood: unexpected %",
		"now() > t":                       "must not have the function now",
		"t > 30; t < 1":                   "is not understood: unexpected ;",
		"abs(t, 1) > 1":                   "abs has one operand",
		"min() > 1":                       "is not understood: unexpected )",
		"t > 1 && 2":                      "&& is of a number here, not of a boolean",
		`t + "a" > 1`:                     "+ is of a string here, not of a number",
		`true > "a" && t`:                 "compares a boolean with a string",
		`mode == "auto`:                   "is not understood",
		`mode == 'it\'s'`:                 "",
		"t > 1e3 and t < 0x10":            "is not understood: unexpected 0x10",
		"t > \xff":                        "is not understood",
		strings.Repeat("(", 900) + "t":    "is not understood",
		strings.Repeat("!", 900) + "t":    "is not understood",
		"t" + strings.Repeat("+t", 200):   "is not understood",
		"t > 1" + strings.Repeat("0", 90): "",
	} {
		_, problem := judge.New(hearth.Rule{Condition: hearth.Condition{Expression: text}})
		if text == "" { // then it is a threshold
			continue
		}
		if want == "" && problem != "" || want != "" && !strings.Contains(problem, want) {
			t.Errorf("%.60s: %q, want %q", text, problem, want)
		}
	}
}

// FuzzExpressions holds that whatever a user writes is refused or computes, quickly.
func FuzzExpressions(f *testing.F) {
	for _, text := range []string{"t > 30 && door == false", `max(t, latest["a.b"], 3) / 0 > -1e300`, `mode == "ab"`, "!t", "t == t", "-t < t"} {
		f.Add(text, 1.5, "x")
	}
	f.Fuzz(func(t *testing.T, text string, n float64, s string) {
		if len(text) > hearth.MaxExpression {
			return
		}
		r, problem := judge.New(hearth.Rule{Condition: hearth.Condition{Expression: text}})
		if r == nil || problem != "" {
			return
		}
		var readings []hearth.Reading
		for i, event := range r.Events() {
			v := []hearth.Value{hearth.Number(n), hearth.Text("x" + s), hearth.Boolean(n > 0)}[i%3]
			readings = append(readings, hearth.Reading{Event: event, Value: v, At: at(1)})
		}
		start := time.Now()
		judge.Replay(r, readings, judge.Life{}, at(1))
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}
