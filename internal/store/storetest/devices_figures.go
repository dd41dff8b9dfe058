package storetest

import (
	"slices"
	"testing"
	"time"

	"hearth"
)

func devicesByKey(t *testing.T, s hearth.DeviceStore) {
	created := createDevices(t, s, device(1), device(2), device(3))
	got, err := s.DevicesByKey(t.Context(), []int64{created[2].Key, 999_999, created[0].Key})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b hearth.Device) int { return int(a.Key - b.Key) })
	sameDevices(t, got, []hearth.Device{created[0], created[2]})
	none, err := s.DevicesByKey(t.Context(), nil)
	if err != nil || len(none) != 0 {
		t.Errorf("no keys gave %d devices, %v", len(none), err)
	}
}

func devicesCounts(t *testing.T, s hearth.DeviceStore) {
	now := epoch.Add(time.Hour)
	var batch []hearth.Device
	for n := range 12 {
		d := device(n)
		d.Interval = 10
		if n%2 == 0 {
			d.Status = hearth.StatusInactive
		}
		switch n % 4 {
		case 0:
			d.LastActiveAt = now.Add(-30*time.Second + time.Millisecond)
		case 1:
			d.LastActiveAt = now.Add(-30 * time.Second)
		}
		if n >= 8 {
			d.OrganizationID = "o1"
		}
		batch = append(batch, d)
	}
	createDevices(t, s, batch...)
	mine, org := hearth.UserScope("u1"), hearth.OrgScope("o1")
	for _, c := range []struct {
		reach hearth.Reach
		want  hearth.DeviceCounts
	}{
		{hearth.Reach{All: true}, hearth.DeviceCounts{Total: 12, Active: 6, Online: 3}},
		{hearth.Reach{Scopes: []hearth.Scope{mine}}, hearth.DeviceCounts{Total: 8, Active: 4, Online: 2}},
		{hearth.Reach{Scopes: []hearth.Scope{org}}, hearth.DeviceCounts{Total: 4, Active: 2, Online: 1}},
		{hearth.Reach{Scopes: []hearth.Scope{mine, org, hearth.UserScope("nobody")}}, hearth.DeviceCounts{Total: 12, Active: 6, Online: 3}},
		{hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("nobody")}}, hearth.DeviceCounts{}},
		{hearth.Reach{}, hearth.DeviceCounts{}},
	} {
		got, err := s.CountDevices(t.Context(), c.reach, now)
		if err != nil || got != c.want {
			t.Errorf("%v: got %+v %v, want %+v", c.reach, got, err, c.want)
		}
	}
}
