package api

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/devices"
)

// TestAListOfDevicesIsEncodedAsEachIs: the parts that were encoded before and what is laid over them make the JSON of a Device.
func TestAListOfDevicesIsEncodedAsEachIs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	a, err := New(Options{Serving: rest.Options{Clock: func() time.Time { return now }}})
	if err != nil {
		t.Fatal(err)
	}
	made := now.Add(-time.Hour)
	nasty := `"status":"x","connection":"never","last_active_at":null` + "\n\u2028<&>\\"
	var all []hearth.Device
	for i, status := range []hearth.DeviceStatus{hearth.StatusActive, hearth.StatusInactive, hearth.StatusError} {
		for j, active := range []time.Time{{}, now.Add(-time.Second), now.Add(-time.Hour), now.Add(-123456789 * time.Microsecond)} {
			d := hearth.Device{
				ID: fmt.Sprint(i, j), Name: "lamp", Type: "x", Status: status, Interval: 60, LastActiveAt: active, OwnerID: "ann", Version: 3,
				CreatedAt: made, UpdatedAt: made.Add(time.Millisecond),
			}
			all = append(all, d)
			d.Name, d.Type, d.OwnerID, d.OrganizationID, d.Tags = nasty, nasty, nasty, nasty, []string{nasty, "a"}
			d.Metadata = json.RawMessage(`{"status":"x","connection":"never","last_active_at":null,"b":{"last_active_at":null}}`)
			all = append(all, d)
		}
	}
	appendDevice := a.appendDevices(devices.Listing{List: hearth.List[hearth.Device]{Items: all}})
	for i, d := range all {
		want, err := rest.EncodeBody(a.wireDevice(d))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendDevice(nil, i)) + "\n"; got != string(want) {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

func TestTimesAreWrittenAsTheLibraryWritesThem(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		{}, time.UnixMilli(0), time.UnixMilli(1), time.UnixMilli(-1), time.Date(2026, 12, 31, 23, 59, 59, 999999999, time.FixedZone("x", -3600)),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, want := string(rest.Time(at).Append(nil)), at.UTC().Format(`"`+rest.TimeFormat+`"`); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
