package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"hearth"
)

var mine = hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u1")}}

// pages walks a whole list with pages of that size and returns the ids.
func pages(t *testing.T, s hearth.DeviceStore, filter hearth.DeviceFilter, page hearth.Page) (ids []string) {
	t.Helper()
	for {
		list, err := s.Devices(t.Context(), filter, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list.Items {
			ids = append(ids, d.ID)
		}
		if list.Next.IsZero() {
			return ids
		}
		if len(list.Items) != page.Size() {
			t.Fatalf("a page of %d of %d has a next page", len(list.Items), page.Size())
		}
		page.Cursor = list.Next
	}
}

func idsOf(devices []hearth.Device) (ids []string) {
	for _, d := range devices {
		ids = append(ids, d.ID)
	}
	return ids
}

func devicesOrders(t *testing.T, s hearth.DeviceStore) {
	var devices []hearth.Device
	for n := range 24 {
		d := device(n)
		// Equal keys of every kind, and a third that was never heard; two scopes, so that they have to be merged.
		d.Name = fmt.Sprintf("name %c", "zaBÿ"[n%4])
		d.CreatedAt = epoch.Add(time.Duration(n*7%5) * time.Millisecond)
		if n%3 > 0 {
			d.LastActiveAt = epoch.Add(time.Duration(n*11%4) * time.Hour)
		}
		if n%5 == 0 {
			d.OrganizationID = "o1"
		}
		devices = append(devices, d)
	}
	devices = createDevices(t, s, devices...)
	byKey := map[string]func(a, b hearth.Device) int{
		"name":           func(a, b hearth.Device) int { return cmp.Compare(a.Name, b.Name) },
		"created_at":     func(a, b hearth.Device) int { return a.CreatedAt.Compare(b.CreatedAt) },
		"last_active_at": func(a, b hearth.Device) int { return a.LastActiveAt.Compare(b.LastActiveAt) },
	}
	both := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u1"), hearth.OrgScope("o1")}}
	for name, compare := range byKey {
		slices.SortFunc(devices, func(a, b hearth.Device) int { return cmp.Or(compare(a, b), cmp.Compare(a.ID, b.ID)) })
		ascending := idsOf(devices)
		descending := slices.Clone(ascending)
		slices.Reverse(descending)
		orders := map[string][]string{name: ascending, "-" + name: descending}
		if name == "created_at" {
			orders[""] = descending
		}
		for sort, want := range orders {
			for _, reach := range []hearth.Reach{both, {All: true}} {
				for _, limit := range []int{1, 5, 24, 200} {
					got := pages(t, s, hearth.DeviceFilter{Reach: reach}, hearth.Page{Limit: limit, Sort: sort})
					if !slices.Equal(got, want) {
						t.Errorf("sort %q, limit %d, all %v:\ngot  %v\nwant %v", sort, limit, reach.All, got, want)
					}
				}
			}
		}
	}
}

func devicesStablePages(t *testing.T, s hearth.DeviceStore) {
	next := 0
	for _, sort := range []string{"name", "-name", "created_at", "-created_at", "last_active_at", "-last_active_at"} {
		for range 20 {
			next += 10
			createDevices(t, s, device(1_000_000+next))
		}
		stay := pages(t, s, hearth.DeviceFilter{Reach: mine}, hearth.Page{Sort: sort})
		page := hearth.Page{Sort: sort, Limit: 3}
		seen := map[string]int{}
		for n := 1; ; n++ {
			list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: mine}, page)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list.Items {
				seen[d.ID]++
			}
			if list.Next.IsZero() {
				break
			}
			page.Cursor = list.Next
			if n > 8 {
				continue
			}
			// New ones at both ends and right beside the cursor, whose own item goes.
			last := list.Items[len(list.Items)-1]
			beside := device(2_000_000 + next + n)
			beside.Name, beside.CreatedAt = last.Name, last.CreatedAt
			createDevices(t, s, device(next+n), device(9_000_000+next+n), beside)
			remove(t, s, last.ID)
		}
		for _, id := range stay {
			if seen[id] != 1 {
				t.Errorf("sort %q: %s was seen %d times", sort, id, seen[id])
			}
		}
	}
}

func remove(t *testing.T, s hearth.DeviceStore, id string) {
	t.Helper()
	if err := s.DeleteDevice(t.Context(), id, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func devicesFilters(t *testing.T, s hearth.DeviceStore) {
	now := epoch.Add(time.Hour)
	lamp, sensor, broken := device(1), device(2), device(3)
	lamp.Type, lamp.Name, lamp.Tags = "lamp", "Kitchen LAMP", []string{"kitchen", "light"}
	lamp.LastActiveAt = now.Add(-3*time.Minute + time.Millisecond)
	sensor.Name, sensor.Tags, sensor.LastActiveAt = "100% _kitchen", []string{"kitchen"}, now.Add(-3*time.Minute)
	broken.Status, broken.Name = hearth.StatusError, "Ärger"
	createDevices(t, s, lamp, sensor, broken)
	for name, c := range map[string]struct {
		filter hearth.DeviceFilter
		want   []string
	}{
		"nothing":            {hearth.DeviceFilter{}, []string{lamp.ID, sensor.ID, broken.ID}},
		"type":               {hearth.DeviceFilter{Type: "lamp"}, []string{lamp.ID}},
		"status":             {hearth.DeviceFilter{Status: hearth.StatusError}, []string{broken.ID}},
		"tag":                {hearth.DeviceFilter{Tag: "kitchen"}, []string{lamp.ID, sensor.ID}},
		"a part of a tag":    {hearth.DeviceFilter{Tag: "kit"}, nil},
		"online":             {hearth.DeviceFilter{Connection: hearth.Online}, []string{lamp.ID}},
		"offline":            {hearth.DeviceFilter{Connection: hearth.Offline}, []string{sensor.ID}},
		"never":              {hearth.DeviceFilter{Connection: hearth.Never}, []string{broken.ID}},
		"name, letter case":  {hearth.DeviceFilter{Query: "kITCHEN"}, []string{lamp.ID, sensor.ID}},
		"name, no wildcards": {hearth.DeviceFilter{Query: "% _"}, []string{sensor.ID}},
		"name, quotes":       {hearth.DeviceFilter{Query: "' OR 1=1 --"}, nil},
		"name, not ASCII":    {hearth.DeviceFilter{Query: "Är"}, []string{broken.ID}},
		"name, accents":      {hearth.DeviceFilter{Query: "arG"}, []string{broken.ID}},
		"name, decomposed":   {hearth.DeviceFilter{Query: "A\u0308rger"}, []string{broken.ID}},
		"tag and type":       {hearth.DeviceFilter{Tag: "kitchen", Type: "sensor", Query: "100"}, []string{sensor.ID}},
		"tag and status":     {hearth.DeviceFilter{Tag: "kitchen", Status: hearth.StatusError}, nil},
	} {
		c.filter.Reach, c.filter.Now = mine, now
		for _, sort := range []string{"created_at", "name", "last_active_at"} {
			got := pages(t, s, c.filter, hearth.Page{Sort: sort})
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, sort %s: got %v, want %v", name, sort, got, c.want)
			}
		}
		list, err := s.Devices(t.Context(), c.filter, hearth.Page{Limit: 1, Count: true})
		if err != nil || list.Total != int64(len(c.want)) {
			t.Errorf("%s: counted %d (%v), want %d", name, list.Total, err, len(c.want))
		}
	}
}

func devicesScopes(t *testing.T, s hearth.DeviceStore) {
	own, other, org := device(1), device(2), device(3)
	other.OwnerID = "u2"
	org.OrganizationID = "o1" // owned by u1, but it belongs to the organization
	createDevices(t, s, own, other, org)
	for name, c := range map[string]struct {
		reach hearth.Reach
		want  []string
	}{
		"a person":                     {mine, []string{own.ID}},
		"an organization":              {hearth.Reach{Scopes: []hearth.Scope{hearth.OrgScope("o1")}}, []string{org.ID}},
		"a person and an organization": {hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u2"), hearth.OrgScope("o1")}}, []string{other.ID, org.ID}},
		"a scope without devices":      {hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u3")}}, nil},
		"nothing":                      {hearth.Reach{}, nil},
		"everything":                   {hearth.Reach{All: true}, []string{own.ID, other.ID, org.ID}},
	} {
		for _, sort := range []string{"created_at", "name", "last_active_at"} {
			list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: c.reach}, hearth.Page{Sort: sort, Count: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := idsOf(list.Items); !slices.Equal(got, c.want) || list.Total != int64(len(c.want)) {
				t.Errorf("%s, sort %s: got %v of %d, want %v", name, sort, got, list.Total, c.want)
			}
		}
	}
	list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: mine}, hearth.Page{})
	if err != nil || list.Total != -1 {
		t.Errorf("an uncounted list has the total %d (%v), want -1", list.Total, err)
	}
}

func devicesBadPages(t *testing.T, s hearth.DeviceStore) {
	for _, page := range []hearth.Page{
		{Sort: "owner_id"}, {Sort: "--name"}, {Sort: "name; DROP TABLE devices"},
		{Sort: "created_at", Cursor: hearth.Cursor{Sort: "created_at", Key: "yesterday", ID: "x"}},
	} {
		_, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: mine}, page)
		wantCode(t, err, hearth.CodeValidationFailed)
	}
}
