package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hearth"
)

func silenceRules(t *testing.T, s AlarmStore) {
	quiet, off, hot := alarmRule(1), alarmRule(2), alarmRule(3)
	quiet.OwnerID = "bob"
	quiet.Condition = hearth.Condition{NoData: &hearth.NoData{For: time.Minute}}
	off.Condition = hearth.Condition{OfflineFor: time.Minute}
	off.Enabled = false
	mustCreateRules(t, s, quiet, off, hot)
	found := func(limit int, want ...string) {
		t.Helper()
		got, err := s.SilenceRules(t.Context(), limit)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("found %v, %v; want %v", got, err, want)
		}
	}
	found(10, quiet.ID)
	if _, err := s.UpdateRule(t.Context(), off.ID, func(r hearth.Rule) (hearth.Rule, error) { r.Enabled = true; return r, nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	found(10, quiet.ID, off.ID)
	if got, err := s.SilenceRules(t.Context(), 1); err != nil || len(got) != 1 {
		t.Errorf("of one: %v, %v", got, err)
	}
	if err := s.DeleteRule(t.Context(), quiet.ID, func(hearth.Rule) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	found(10, off.ID)
}

func signsOfLife(t *testing.T, s AlarmStore) {
	d := alarmDevice(t, s, 1)
	want := hearth.Unjudged{ID: "sign-1", DeviceID: d.ID, ReceivedAt: epoch.Add(time.Second)}
	if err := s.AddUnjudged(t.Context(), []hearth.Unjudged{want, {ID: "sign-2", DeviceID: "gone", ReceivedAt: epoch}}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.UnjudgedDevices(t.Context(), epoch.Add(time.Hour), 10); err != nil || !slices.Equal(got, []string{d.ID, "gone"}) && !slices.Equal(got, []string{"gone", d.ID}) {
		t.Errorf("%v wait, %v", got, err)
	}
	var got []hearth.Unjudged
	if _, err := s.Judge(t.Context(), d.ID, func(_ hearth.Watch, waiting []hearth.Unjudged, _ func(string) (hearth.Alarm, error)) (hearth.Verdict, error) {
		got = waiting
		return hearth.Verdict{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]hearth.Unjudged{want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func uptimeRoundTrip(t *testing.T, s AlarmStore) {
	if got, err := s.Uptime(t.Context()); err != nil || !got.AliveAt.IsZero() || got.Outages != nil {
		t.Errorf("at first %+v, %v", got, err)
	}
	for n, alive := range []int{1, 2, 60, 61} {
		want, err := s.Uptime(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		change := func(u hearth.Uptime) hearth.Uptime {
			now := epoch.Add(time.Duration(alive) * time.Second)
			if !u.AliveAt.IsZero() && now.Sub(u.AliveAt) > time.Minute/2 {
				u.Outages = append(slices.Clone(u.Outages), hearth.Outage{From: u.AliveAt, To: now})
			}
			u.AliveAt, u.BelievedAt, u.DoubtedAt = now, now.Add(time.Second), now.Add(time.Minute)
			return u
		}
		want = change(want)
		if got, err := s.UpdateUptime(t.Context(), change); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%d: %+v, %v; want %+v", n, got, err, want)
		}
		if got, err := s.Uptime(t.Context()); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%d: then %+v, %v; want %+v", n, got, err, want)
		}
	}
	if got, err := s.UpdateUptime(t.Context(), func(hearth.Uptime) hearth.Uptime { return hearth.Uptime{} }); err != nil || !got.AliveAt.IsZero() {
		t.Errorf("at last %+v, %v", got, err)
	}
}
