package analytics

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"hearth"
	"hearth/internal/kv/memkv"
	"hearth/internal/store/sqlite"
)

// BenchmarkDashboard asks for the last day of 1,000 devices with 100,000 logs, computed each time or kept.
func BenchmarkDashboard(b *testing.B) {
	store, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "hearth.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	var devices []hearth.Device
	for i := range 1000 {
		devices = append(devices, hearth.Device{
			ID: fmt.Sprint("d", i), OwnerID: "ann", Name: "d", Type: "s", Status: hearth.StatusActive, Interval: 60, LastActiveAt: time.Now(),
		})
	}
	if devices, err = store.CreateDevices(b.Context(), devices, hearth.SideEffects{}); err != nil {
		b.Fatal(err)
	}
	entries := make([]hearth.LogEntry, 5000)
	start := time.Now().Add(-24 * time.Hour).UnixMilli()
	for batch := range 20 {
		for i := range entries {
			n := batch*len(entries) + i
			entries[i] = hearth.LogEntry{
				Device: devices[n%1000].Key, Event: []string{"temperature", "humidity"}[n%2], Value: hearth.Number(float64(n % 300)), At: start + int64(n)*864,
			}
		}
		if _, err := store.AppendLogs(b.Context(), entries, nil, hearth.SideEffects{}); err != nil {
			b.Fatal(err)
		}
	}
	cache, err := memkv.NewCache(memkv.CacheOptions{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{Logs: store, Devices: store, Cache: cache})
	if err != nil {
		b.Fatal(err)
	}
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprintf("kept=%t", kept), func(b *testing.B) {
			fixed := Range{Span: hearth.Span{From: time.UnixMilli(start), To: time.Now()}}
			for b.Loop() {
				if !kept {
					s.LogsChanged(b.Context(), hearth.Reach{All: true})
				}
				if _, err := s.Dashboard(b.Context(), Ask{Caller: ann, Range: fixed}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
