package devices

import (
	"slices"
	"testing"
	"time"

	"hearth"
)

// BenchmarkAnothersDevice reports the medians of a refusal (404) of another's device and of one that is not there. The answers
// are alike; this measures how far the times differ.
func BenchmarkAnothersDevice(b *testing.B) {
	f := setup(b, b.TempDir(), nil)
	another := f.create(b, ann, NewDevice{}).ID
	missing := "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
	for b.Loop() {
		times := [2][]time.Duration{}
		for range 501 {
			for i, id := range []string{another, missing} {
				start := time.Now()
				_, err := f.Device(b.Context(), bob, id)
				times[i] = append(times[i], time.Since(start))
				wantCode(b, err, hearth.CodeNotFound)
			}
		}
		slices.Sort(times[0])
		slices.Sort(times[1])
		b.ReportMetric(float64(times[0][250].Nanoseconds()), "ns/another's")
		b.ReportMetric(float64(times[1][250].Nanoseconds()), "ns/missing")
	}
}
