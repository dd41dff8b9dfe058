package sqlite

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"

	"hearth"
	"hearth/internal/jsonobject"
)

// BenchmarkTwins patches the twins of a thousand devices, 24 in one step, and reports the processor time of one patch.
func BenchmarkTwins(b *testing.B) {
	const devices, group = 1000, 24
	for _, side := range []hearth.TwinSide{hearth.TwinReported, hearth.TwinDesired} {
		b.Run(string(side), func(b *testing.B) {
			s := openTest(b)
			ids, now := twinBench(b, s, devices), time.Now()
			caller := hearth.Caller{UserID: ids[0], IP: "127.0.0.1", UserAgent: "fasthttp", RequestID: ids[1]}
			step := func(n int) {
				updates := make([]*hearth.TwinUpdate, group)
				for i := range updates {
					at := now.Add(time.Duration(n) * time.Millisecond)
					patch := json.RawMessage(fmt.Sprintf(`{"level":%d,"by":%d}`, n, i))
					updates[i] = &hearth.TwinUpdate{DeviceID: ids[(i*131+n)%devices], Change: func(t hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error) {
						after := t
						if side == hearth.TwinReported {
							merged, _ := jsonobject.MergePatch(t.Reported, patch, hearth.MaxTwinDepth)
							after.Reported = merged.Object
							after.ReportedAt = at
							after.ReportedVersion++
							return after, nil, nil
						}
						merged, _ := jsonobject.MergePatch(t.Desired, patch, hearth.MaxTwinDepth)
						after.Desired = merged.Object
						after.DesiredAt = at
						after.DesiredVersion++
						entry := caller.Entry(at, "twin.update", "device:"+t.DeviceID)
						entry.Changes = map[string]hearth.Change{
							"desired": {Before: t.Desired, After: after.Desired}, "desired_version": {Before: t.DesiredVersion, After: after.DesiredVersion},
						}
						return after, []hearth.AuditEntry{entry}, nil
					}}
				}
				if err := s.UpdateTwins(b.Context(), updates...); err != nil {
					b.Fatal(err)
				}
			}
			for n := range 500 {
				step(n)
			}
			n, before := 500, processorTime()
			for b.Loop() {
				n++
				step(n)
			}
			patches := float64((n - 500) * group)
			b.ReportMetric(float64((processorTime()-before).Microseconds())/patches, "cpu-µs/patch")
		})
	}
}

func processorTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func twinBench(b *testing.B, s *Store, n int) (ids []string) {
	b.Helper()
	now := time.Now()
	person := hearth.User{ID: "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, PasswordHash: []byte("x"), CreatedAt: now, UpdatedAt: now}
	if err := s.CreateUser(b.Context(), person, hearth.SideEffects{}); err != nil {
		b.Fatal(err)
	}
	devices := make([]hearth.Device, n)
	for i := range devices {
		devices[i] = hearth.Device{
			ID: fmt.Sprintf("0195a1b2-c3d4-7e5f-8a9b-%012x", i*7919), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: person.ID, CreatedAt: now, UpdatedAt: now,
		}
		ids = append(ids, devices[i].ID)
	}
	if _, err := s.CreateDevices(b.Context(), devices, hearth.SideEffects{}); err != nil {
		b.Fatal(err)
	}
	return ids
}
