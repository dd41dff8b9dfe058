package storetest

import (
	"testing"

	"hearth"
)

// spellings are names, and queries that find them and no other of the names.
var spellings = map[string][]string{ // never written to
	"Café Noir":          {"cafe", "CAFÉ", "cafe\u0301", "afÉ n"},
	"Straße 5":           {"strasse", "STRASSE", "straße"},
	"Ёлка":               {"елка", "ЁЛКА", "ё"},
	"Αθήνα ΟΔΟΣ":         {"αθηνα", "ΑΘΗΝΑ", "οδός"},
	"Điện thoại phòng 2": {"thoai phong", "THOẠI"},
	"İzmir":              {"izmir", "IZMIR"},
	"ﬁlter ２":            {"FILTER 2", "filter"},
	"한국 집":               {"한국", "\u1112\u1161\u11ab국", "집"},
	"ガレージ":               {"ガレージ", "カレーシ", "ｶﾞﾚｰｼﾞ"},
	"100% .*[a] \\d \"'": {"100% .*[A]", `\D`, `"'`},
}

// devicesSearch covers that the query of a list ignores case and accents in every script, composed or not, also after a device is
// renamed.
func devicesSearch(t *testing.T, s hearth.DeviceStore) {
	n := 0
	for name, queries := range spellings {
		n++
		d := device(n)
		d.Name = "before"
		createDevices(t, s, d)
		if _, err := s.UpdateDevice(t.Context(), d.ID, func(d hearth.Device) (hearth.Device, error) {
			d.Name = name
			return d, nil
		}, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
		for _, query := range append(queries, name) {
			// The other devices are still to come, or found by nothing of this one.
			list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: mine, Query: query}, hearth.Page{Count: true})
			if err != nil || len(list.Items) != 1 || list.Items[0].ID != d.ID || list.Total != 1 {
				t.Errorf("%q finds %d of %d devices, %v; want the one called %q", query, len(list.Items), list.Total, err, name)
			}
		}
	}
	for _, query := range []string{"before", "하", "strase", "noirx", "\xff"} {
		list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: mine, Query: query}, hearth.Page{})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("%q finds %d devices, %v; want none", query, len(list.Items), err)
		}
	}
}
