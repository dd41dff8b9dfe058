package storetest

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
)

// AlarmStore is what the suite of rules and alarms is about.
type AlarmStore interface {
	hearth.RuleStore
	hearth.AlarmStore
	hearth.DeviceStore
	hearth.LogStore
	hearth.OrganizationStore
	CreateUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
}

// Alarms is the suite for rules and alarms. open returns an empty store; it is called once a test, in parallel.
func Alarms(t *testing.T, open func(t *testing.T) AlarmStore) {
	for name, test := range map[string]func(*testing.T, AlarmStore){
		"rules come back as they were stored":        ruleRoundTrip,
		"rules of several scopes are one list":       rulesOfScopes,
		"a rule goes with its organization":          ruleOrganization,
		"readings wait from the commit on":           unjudgedReadings,
		"a judgement is one step":                    judgement,
		"a refused judgement changes nothing":        refusedJudgement,
		"each reading is judged once":                judgedOnce,
		"alarms are listed by every filter":          alarmLists,
		"a user changes an alarm and what is known":  alarmUpdate,
		"watches are due in order":                   dueWatches,
		"alarms go with their device, and with time": alarmsGo,
		"rules about silence are found":              silenceRules,
		"signs of life wait like readings":           signsOfLife,
		"uptime comes back as it was stored":         uptimeRoundTrip,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func alarmRule(n int) hearth.Rule {
	return hearth.Rule{
		ID: fmt.Sprintf("rule-%03d", n), Name: "Hot", OwnerID: "ann", Enabled: true, Severity: hearth.SeverityMajor, Version: 1,
		Condition: hearth.Condition{Event: "t", Operator: hearth.Greater, Value: hearth.Number(30)},
		CreatedAt: epoch.Add(time.Duration(n) * time.Second), UpdatedAt: epoch,
	}
}

func mustCreateRules(t *testing.T, s AlarmStore, rules ...hearth.Rule) {
	t.Helper()
	for _, r := range rules {
		if err := s.CreateRule(t.Context(), r, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
}

func ruleRoundTrip(t *testing.T, s AlarmStore) {
	full := (&recordMaker{n: 9}).rules()
	for i := range full {
		full[i].OrganizationID = ""
		full[i].OwnerID = "ann"
	}
	mustCreateRules(t, s, full...)
	for _, want := range full {
		got, err := s.Rule(t.Context(), want.ID)
		if diff := cmp.Diff(want, got, valuesEqual); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	enabled, err := s.RulesOf(t.Context(), hearth.UserScope("ann"))
	if diff := cmp.Diff(full[1:], enabled, valuesEqual); err != nil || diff != "" {
		t.Errorf("enabled: %v (-want +got):\n%s", err, diff)
	}
	after, err := s.UpdateRule(t.Context(), full[1].ID, func(r hearth.Rule) (hearth.Rule, error) { r.Name = "new"; return r, nil }, hearth.SideEffects{})
	if err != nil || after.Name != "new" || after.Version != full[1].Version+1 {
		t.Errorf("updated: %+v, %v", after, err)
	}
	refused := errors.New("refused")
	_, err = s.UpdateRule(t.Context(), full[1].ID, func(r hearth.Rule) (hearth.Rule, error) { r.Name = "x"; return r, refused }, hearth.SideEffects{})
	if !errors.Is(err, refused) {
		t.Errorf("a refusal came back as %v", err)
	}
	if err := s.DeleteRule(t.Context(), full[1].ID, func(hearth.Rule) error { return refused }, hearth.SideEffects{}); !errors.Is(err, refused) {
		t.Errorf("a refusal came back as %v", err)
	}
	if got, err := s.Rule(t.Context(), full[1].ID); err != nil || got.Name != "new" {
		t.Errorf("after refusals: %+v, %v", got, err)
	}
	if err := s.DeleteRule(t.Context(), full[1].ID, func(hearth.Rule) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Error(err)
	}
	_, err = s.Rule(t.Context(), full[1].ID)
	wantCode(t, err, hearth.CodeNotFound)
	wantCode(t, s.DeleteRule(t.Context(), full[1].ID, func(hearth.Rule) error { return nil }, hearth.SideEffects{}), hearth.CodeNotFound)
}

// valuesEqual compares what cmp cannot look into.
var valuesEqual = cmp.Comparer(func(a, b hearth.Value) bool { return a == b }) // never written to

func rulesOfScopes(t *testing.T, s AlarmStore) {
	var want []string
	for n := range 25 {
		r := alarmRule(n)
		r.OwnerID = []string{"ann", "bob", "carl"}[n%3]
		mustCreateRules(t, s, r)
		if r.OwnerID != "bob" {
			want = append(want, r.ID)
		}
	}
	slices.Reverse(want)
	reach := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("ann"), hearth.UserScope("carl"), hearth.UserScope("dora")}}
	var got []string
	page := hearth.Page{Limit: 4, Count: true}
	for {
		list, err := s.Rules(t.Context(), reach, page)
		if err != nil || list.Total != int64(len(want)) {
			t.Fatal(list.Total, err)
		}
		for _, r := range list.Items {
			got = append(got, r.ID)
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if list, err := s.Rules(t.Context(), hearth.Reach{}, hearth.Page{}); err != nil || len(list.Items) != 0 {
		t.Errorf("within no reach: %v, %v", list.Items, err)
	}
	if list, err := s.Rules(t.Context(), hearth.Reach{All: true}, hearth.Page{Limit: 200}); err != nil || len(list.Items) != 25 {
		t.Errorf("of all: %d, %v", len(list.Items), err)
	}
}

func ruleOrganization(t *testing.T, s AlarmStore) {
	r := alarmRule(1)
	r.OrganizationID = "org-1"
	wantCode(t, s.CreateRule(t.Context(), r, hearth.SideEffects{}), hearth.CodeNotFound)
	user := hearth.User{ID: "ann", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, CreatedAt: epoch, UpdatedAt: epoch}
	if err := s.CreateUser(t.Context(), user, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	org := hearth.Organization{ID: "org-1", Name: "O", CreatedAt: epoch, UpdatedAt: epoch}
	if err := s.CreateOrganization(t.Context(), org, "ann", hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	mustCreateRules(t, s, r)
	if _, err := s.DeleteOrganization(t.Context(), org.ID, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Rule(t.Context(), r.ID)
	wantCode(t, err, hearth.CodeNotFound)
}

func alarmDevice(t *testing.T, s AlarmStore, n int) hearth.Device {
	t.Helper()
	created, err := s.CreateDevices(t.Context(), []hearth.Device{device(n)}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return created[0]
}

// report stores a log and what is to be judged of it.
func report(t testing.TB, s AlarmStore, d hearth.Device, n int) hearth.Unjudged {
	at := epoch.Add(time.Duration(n) * time.Second)
	u := hearth.Unjudged{
		ID: fmt.Sprintf("u-%s-%05d", d.ID, n), DeviceID: d.ID, ReceivedAt: at,
		Readings: []hearth.Reading{{Event: "t", Value: hearth.Number(float64(n)), At: at}, {Event: "u", Value: hearth.Text("é"), At: at.Add(-time.Hour)}},
	}
	entry := hearth.LogEntry{Device: d.Key, Event: "t", Value: hearth.Number(float64(n)), At: at.UnixMilli()}
	if _, err := s.AppendLogs(context.WithoutCancel(t.Context()), []hearth.LogEntry{entry}, nil, hearth.SideEffects{Unjudged: []hearth.Unjudged{u}}); err != nil {
		t.Error(err)
	}
	return u
}

func unjudgedReadings(t *testing.T, s AlarmStore) {
	a, b := alarmDevice(t, s, 1), alarmDevice(t, s, 2)
	want := []hearth.Unjudged{report(t, s, a, 1), report(t, s, a, 3)}
	report(t, s, b, 2)
	for before, devices := range map[int][]string{1: nil, 2: {a.ID}, 9: {a.ID, b.ID}} {
		got, err := s.UnjudgedDevices(t.Context(), epoch.Add(time.Duration(before)*time.Second), 10)
		slices.Sort(devices)
		if err != nil || !slices.Equal(got, devices) {
			t.Errorf("before %d: %v, %v; want %v", before, got, err, devices)
		}
	}
	var got []hearth.Unjudged
	more, err := s.Judge(t.Context(), a.ID, func(_ hearth.Watch, waiting []hearth.Unjudged, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		got = waiting
		return hearth.Verdict{}, nil
	})
	if diff := cmp.Diff(want, got, valuesEqual); err != nil || more || diff != "" {
		t.Errorf("%v, %v (-want +got):\n%s", more, err, diff)
	}
	if got, err := s.UnjudgedDevices(t.Context(), epoch.Add(time.Hour), 10); err != nil || !slices.Equal(got, []string{b.ID}) {
		t.Errorf("then %v wait, %v", got, err)
	}
	// Those of a device that is gone pass by.
	if err := s.DeleteDevice(t.Context(), b.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	report(t, s, b, 4)
	if _, err := s.Judge(t.Context(), b.ID, func(w hearth.Watch, _ []hearth.Unjudged, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		return hearth.Verdict{Watch: w}, nil
	}); err != nil {
		t.Error(err)
	}
	if got, err := s.UnjudgedDevices(t.Context(), epoch.Add(time.Hour), 10); err != nil || len(got) > 0 {
		t.Errorf("of a device that is gone %v wait, %v", got, err)
	}
}

func activeAlarm(d hearth.Device, n int) hearth.Alarm {
	value := hearth.Number(31)
	at := epoch.Add(time.Duration(n) * time.Second)
	return hearth.Alarm{
		ID: fmt.Sprintf("alarm-%s-%03d", d.ID, n), Scope: hearth.UserScope("ann"), RuleID: "rule", RuleName: "Hot", DeviceID: d.ID, DeviceName: d.Name,
		Severity: hearth.Severities()[n%5], State: hearth.AlarmActive, RaisedAt: at, Value: &value, LastAt: at, Count: 1,
		History: []hearth.AlarmEntry{{At: at, Event: hearth.AlarmEntryRaised}},
	}
}

// judge stores a verdict.
func judge(t *testing.T, s AlarmStore, id string, change func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error)) error {
	t.Helper()
	_, err := s.Judge(t.Context(), id, func(w hearth.Watch, _ []hearth.Unjudged, alarm func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		return change(w, alarm)
	})
	return err
}

func knownOf(d hearth.Device, n int) hearth.Watch {
	at := epoch.Add(time.Duration(n) * time.Second)
	return hearth.Watch{
		DeviceID: d.ID, Due: at.Add(time.Minute), Values: map[string]hearth.Reading{"t": {Event: "t", Value: hearth.Number(31), At: at}},
		Rules: map[string]hearth.RuleState{
			"rule":  {Version: 2, Phase: hearth.RuleActive, AlarmID: activeAlarm(d, n).ID},
			"other": {Version: 1, Phase: hearth.RulePending, Since: at, Arrived: at.Add(time.Second)},
		},
	}
}

func judgement(t *testing.T, s AlarmStore) {
	d := alarmDevice(t, s, 1)
	raised := activeAlarm(d, 1)
	job := hearth.OutboxJob{ID: "0195c000-0000-7000-8000-000000000001", Kind: "k", Queue: "notification", Payload: []byte(`{}`)}
	want := knownOf(d, 1)
	if err := judge(t, s, d.ID, func(w hearth.Watch, alarm func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		if w.DeviceID != d.ID || len(w.Values)+len(w.Rules) > 0 {
			t.Errorf("at first %+v is known", w)
		}
		_, err := alarm(raised.ID)
		wantCode(t, err, hearth.CodeNotFound)
		return hearth.Verdict{Watch: want, Raised: []hearth.Alarm{raised}, Effects: hearth.SideEffects{Jobs: []hearth.OutboxJob{job}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if jobs, err := s.PendingOutbox(t.Context(), 9); err != nil || len(jobs) != 1 {
		t.Errorf("jobs: %v, %v", jobs, err)
	}
	cleared := raised.Clear(epoch.Add(time.Hour), hearth.AlarmEntry{At: epoch.Add(2 * time.Hour), Text: "because"})
	if err := judge(t, s, d.ID, func(w hearth.Watch, alarm func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		if diff := cmp.Diff(want, w, valuesEqual); diff != "" {
			t.Errorf("known (-want +got):\n%s", diff)
		}
		got, err := alarm(raised.ID)
		if diff := cmp.Diff(raised, got, valuesEqual); err != nil || diff != "" {
			t.Errorf("raised: %v (-want +got):\n%s", err, diff)
		}
		w.Rules, w.Due = map[string]hearth.RuleState{}, time.Time{}
		return hearth.Verdict{Watch: w, Changed: []hearth.Alarm{cleared}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Alarm(t.Context(), raised.ID)
	if diff := cmp.Diff(cleared, got, valuesEqual); err != nil || diff != "" {
		t.Errorf("cleared: %v (-want +got):\n%s", err, diff)
	}
	for _, known := range []int{1, 0, 0} { // what knows nothing is not kept
		if err := judge(t, s, d.ID, func(w hearth.Watch, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
			if len(w.Values) != known {
				t.Errorf("%+v is known, want %d values", w, known)
			}
			return hearth.Verdict{Watch: hearth.Watch{DeviceID: d.ID}}, nil
		}); err != nil {
			t.Error(err)
		}
	}
}

func refusedJudgement(t *testing.T, s AlarmStore) {
	d := alarmDevice(t, s, 1)
	report(t, s, d, 1)
	refused := errors.New("refused")
	if err := judge(t, s, d.ID, func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		return hearth.Verdict{Watch: knownOf(d, 1), Raised: []hearth.Alarm{activeAlarm(d, 1)}}, refused
	}); !errors.Is(err, refused) {
		t.Errorf("came back as %v", err)
	}
	_, err := s.Alarm(t.Context(), activeAlarm(d, 1).ID)
	wantCode(t, err, hearth.CodeNotFound)
	if due, err := s.DueWatches(t.Context(), 9); err != nil || len(due) > 0 {
		t.Errorf("due: %v, %v", due, err)
	}
	if got, err := s.UnjudgedDevices(t.Context(), epoch.Add(time.Hour), 9); err != nil || len(got) != 1 {
		t.Errorf("%v wait, %v", got, err)
	}
}

// Many report and judge at once: each reading is judged once, in the order in which its device's came in.
func judgedOnce(t *testing.T, s AlarmStore) {
	const writers, judges, each = 3, 3, 12
	d := alarmDevice(t, s, 1)
	var reporting, judging sync.WaitGroup
	ctx := context.WithoutCancel(t.Context())
	all := func() {
		for more := true; more; {
			var err error
			more, err = s.Judge(ctx, d.ID, func(w hearth.Watch, waiting []hearth.Unjudged, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
				for _, u := range waiting {
					w.Rules[u.ID] = hearth.RuleState{Version: w.Rules[u.ID].Version + 1, Phase: hearth.RuleActive}
				}
				w.DeviceID = d.ID
				return hearth.Verdict{Watch: w}, nil
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	}
	for w := range writers {
		reporting.Go(func() {
			for n := range each {
				report(t, s, d, 100*w+n)
			}
		})
	}
	for range judges {
		judging.Go(func() {
			for range each {
				all()
			}
		})
	}
	reporting.Wait()
	judging.Wait()
	all()
	if err := judge(t, s, d.ID, func(w hearth.Watch, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		if len(w.Rules) != writers*each {
			t.Errorf("%d readings were judged, want %d", len(w.Rules), writers*each)
		}
		for id, state := range w.Rules {
			if state.Version != 1 {
				t.Errorf("%s was judged %d times", id, state.Version)
			}
		}
		return hearth.Verdict{Watch: w}, nil
	}); err != nil {
		t.Error(err)
	}
}

func alarmLists(t *testing.T, s AlarmStore) {
	d, other := alarmDevice(t, s, 1), alarmDevice(t, s, 2)
	var all []hearth.Alarm
	for n := range 20 {
		a := activeAlarm([]hearth.Device{d, other}[n%2], n)
		a.Scope = []hearth.Scope{"user:ann", "org:o", "user:bob"}[n%3]
		a.RuleID, a.Acknowledged = fmt.Sprint("rule ", n%4), n%4 == 1
		if n%5 < 2 {
			a = a.Clear(a.RaisedAt, hearth.AlarmEntry{At: epoch})
		}
		all = append(all, a)
	}
	if err := judge(t, s, d.ID, func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		return hearth.Verdict{Watch: hearth.Watch{DeviceID: d.ID}, Raised: all}, nil
	}); err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	everything := hearth.Reach{All: true}
	for name, tt := range map[string]struct {
		filter hearth.AlarmFilter
		sort   string
		want   func(hearth.Alarm) bool
	}{
		"all":         {hearth.AlarmFilter{Reach: everything}, "", func(hearth.Alarm) bool { return true }},
		"none":        {hearth.AlarmFilter{}, "", func(hearth.Alarm) bool { return false }},
		"scopes":      {hearth.AlarmFilter{Reach: hearth.Reach{Scopes: []hearth.Scope{"user:ann", "org:o"}}}, "raised_at", func(a hearth.Alarm) bool { return a.Scope != "user:bob" }},
		"a scope":     {hearth.AlarmFilter{Reach: hearth.Reach{Scopes: []hearth.Scope{"org:o"}}}, "-severity", func(a hearth.Alarm) bool { return a.Scope == "org:o" }},
		"state":       {hearth.AlarmFilter{Reach: everything, State: hearth.AlarmActive}, "severity", func(a hearth.Alarm) bool { return a.State == hearth.AlarmActive }},
		"acked":       {hearth.AlarmFilter{Reach: everything, Acknowledged: &yes}, "", func(a hearth.Alarm) bool { return a.Acknowledged }},
		"not acked":   {hearth.AlarmFilter{Reach: everything, Acknowledged: &no}, "-raised_at", func(a hearth.Alarm) bool { return !a.Acknowledged }},
		"severity":    {hearth.AlarmFilter{Reach: everything, Severity: hearth.SeverityMinor}, "", func(a hearth.Alarm) bool { return a.Severity == hearth.SeverityMinor }},
		"device":      {hearth.AlarmFilter{Reach: everything, DeviceID: d.ID}, "", func(a hearth.Alarm) bool { return a.DeviceID == d.ID }},
		"rule, state": {hearth.AlarmFilter{Reach: everything, RuleID: "rule 1", State: hearth.AlarmActive}, "", func(a hearth.Alarm) bool { return a.RuleID == "rule 1" && a.State == hearth.AlarmActive }},
		"time": {hearth.AlarmFilter{Reach: everything, From: epoch.Add(3 * time.Second), To: epoch.Add(9 * time.Second)}, "", func(a hearth.Alarm) bool {
			return !a.RaisedAt.Before(epoch.Add(3*time.Second)) && a.RaisedAt.Before(epoch.Add(9*time.Second))
		}},
	} {
		var want []hearth.Alarm
		for _, a := range all {
			if a.History = nil; tt.want(a) {
				want = append(want, a)
			}
		}
		slices.SortFunc(want, func(a, b hearth.Alarm) int {
			way := -1
			order := a.RaisedAt.Compare(b.RaisedAt)
			switch tt.sort {
			case "severity":
				way = 1
				fallthrough
			case "-severity":
				if order = a.Severity.Rank() - b.Severity.Rank(); order == 0 {
					order = cmpText(a.ID, b.ID)
				}
			case "raised_at":
				way = 1
			}
			return way * order
		})
		var got []hearth.Alarm
		page := hearth.Page{Limit: 3, Sort: tt.sort, Count: true}
		for {
			list, err := s.Alarms(t.Context(), tt.filter, page)
			if err != nil || list.Total != int64(len(want)) {
				t.Fatalf("%s: %d in all, %v; want %d", name, list.Total, err, len(want))
			}
			got = append(got, list.Items...)
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		if diff := cmp.Diff(want, got, valuesEqual); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	_, err := s.Alarms(t.Context(), hearth.AlarmFilter{Reach: everything}, hearth.Page{Sort: "name"})
	wantCode(t, err, hearth.CodeValidationFailed)
}

func cmpText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func alarmUpdate(t *testing.T, s AlarmStore) {
	d := alarmDevice(t, s, 1)
	raised := activeAlarm(d, 1)
	if err := judge(t, s, d.ID, func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		return hearth.Verdict{Watch: knownOf(d, 1), Raised: []hearth.Alarm{raised}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for _, result := range []error{refused, nil} {
		after, err := s.UpdateAlarm(t.Context(), raised.ID, func(a hearth.Alarm, w hearth.Watch) (hearth.Alarm, hearth.Watch, error) {
			a.Acknowledged, a.AcknowledgedBy = true, "ann"
			state := w.Rules["rule"]
			state.ByHand = true
			w.Rules["rule"] = state
			return a, w, result
		}, hearth.SideEffects{})
		if !errors.Is(err, result) || after.Acknowledged != (result == nil) {
			t.Errorf("returned %+v, %v", after, err)
		}
		stored, err := s.Alarm(t.Context(), raised.ID)
		if err != nil || stored.Acknowledged != (result == nil) {
			t.Errorf("%+v, %v after %v", stored, err, result)
		}
		if err := judge(t, s, d.ID, func(w hearth.Watch, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
			if w.Rules["rule"].ByHand != (result == nil) {
				t.Errorf("%+v is known after %v", w, result)
			}
			return hearth.Verdict{Watch: w}, nil
		}); err != nil {
			t.Error(err)
		}
	}
	_, err := s.UpdateAlarm(t.Context(), "none", func(a hearth.Alarm, w hearth.Watch) (hearth.Alarm, hearth.Watch, error) { return a, w, nil }, hearth.SideEffects{})
	wantCode(t, err, hearth.CodeNotFound)
}

func dueWatches(t *testing.T, s AlarmStore) {
	var want []hearth.Watch
	for n := range 5 {
		d := alarmDevice(t, s, n)
		w := knownOf(d, 5-n)
		if n == 2 {
			w.Due = time.Time{}
		} else {
			want = append(want, hearth.Watch{DeviceID: d.ID, Due: w.Due})
		}
		if err := judge(t, s, d.ID, func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
			return hearth.Verdict{Watch: w}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Reverse(want)
	due, err := s.DueWatches(t.Context(), 3)
	for i := range due {
		due[i].Values, due[i].Rules = nil, nil
	}
	if diff := cmp.Diff(want[:3], due); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func alarmsGo(t *testing.T, s AlarmStore) {
	d, other := alarmDevice(t, s, 1), alarmDevice(t, s, 2)
	for _, d := range []hearth.Device{d, other} {
		var all []hearth.Alarm
		for n := range 4 {
			a := activeAlarm(d, n)
			if n > 0 {
				a = a.Clear(epoch, hearth.AlarmEntry{At: epoch.Add(time.Duration(n) * time.Hour)})
			}
			all = append(all, a)
		}
		if err := judge(t, s, d.ID, func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
			return hearth.Verdict{Watch: knownOf(d, 1), Raised: all}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteDevice(t.Context(), d.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	left := func() (n int) {
		list, err := s.Alarms(t.Context(), hearth.AlarmFilter{Reach: hearth.Reach{All: true}}, hearth.Page{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if n := left(); n != 4 {
		t.Errorf("%d are left after a device", n)
	}
	if due, err := s.DueWatches(t.Context(), 9); err != nil || len(due) != 1 {
		t.Errorf("due: %v, %v", due, err)
	}
	if n, err := s.RemoveAlarms(t.Context(), epoch.Add(3*time.Hour), 9); n != 2 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	if n := left(); n != 2 {
		t.Errorf("%d are left in the end", n)
	}
	if err := judge(t, s, d.ID, func(hearth.Watch, func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		return hearth.Verdict{Watch: knownOf(d, 1)}, nil
	}); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("a device that is gone: %v", err)
	}
}
