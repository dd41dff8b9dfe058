package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"hearth"
)

// openFleet returns a store with two owners of count devices each, u0 and u1.
func openFleet(b *testing.B, count int) (*Store, []hearth.Device) {
	b.Helper()
	s, err := Open(b.Context(), Options{Path: filepath.Join(b.TempDir(), "hearth.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	start := time.Now()
	var devices []hearth.Device
	for n := range 2 * count {
		at := start.Add(time.Duration(n) * time.Millisecond)
		devices = append(devices, hearth.Device{
			ID: fmt.Sprintf("0195a000-0000-7000-8000-%012d", n), Name: fmt.Sprintf("device %d", n*7919%count), Type: "sensor",
			Status: hearth.StatusActive, Interval: 60, OwnerID: fmt.Sprint("u", n%2), Tags: []string{"a", "b"},
			CreatedAt: at, UpdatedAt: at, LastActiveAt: start.Add(time.Duration(n*104729%count) * time.Millisecond),
		})
	}
	var created []hearth.Device
	for part := devices; len(part) > 0; part = part[1000:] {
		some, err := s.CreateDevices(b.Context(), part[:1000], hearth.SideEffects{})
		if err != nil {
			b.Fatal(err)
		}
		created = append(created, some...)
	}
	return s, created
}

func BenchmarkDevicePage(b *testing.B) {
	s, _ := openFleet(b, 10_000)
	reach := hearth.Reach{Scopes: []hearth.Scope{hearth.UserScope("u1")}}
	for name, ask := range map[string]struct {
		filter hearth.DeviceFilter
		page   hearth.Page
	}{
		"created":      {},
		"name":         {page: hearth.Page{Sort: "name"}},
		"last_active":  {page: hearth.Page{Sort: "-last_active_at"}},
		"count":        {page: hearth.Page{Count: true}},
		"query_rare":   {filter: hearth.DeviceFilter{Query: "vice 9999"}, page: hearth.Page{Sort: "name"}},
		"offline_none": {filter: hearth.DeviceFilter{Connection: hearth.Never}},
		"tag_none":     {filter: hearth.DeviceFilter{Tag: "c"}},
	} {
		b.Run(name, func(b *testing.B) {
			ask.filter.Reach, ask.filter.Now = reach, time.Now()
			for b.Loop() {
				if _, err := s.Devices(b.Context(), ask.filter, ask.page); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRecordHeartbeats(b *testing.B) {
	s, devices := openFleet(b, 1000)
	for _, size := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var n int64
			beats := make([]hearth.Heartbeat, size)
			for b.Loop() {
				for i := range beats {
					beats[i] = hearth.Heartbeat{Key: devices[(int(n)*31+i)%len(devices)].Key, At: time.Now().Add(time.Duration(n) * time.Second), Status: hearth.StatusActive}
				}
				n++
				if err := s.RecordHeartbeats(b.Context(), beats); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*int64(size))/b.Elapsed().Seconds(), "beats/s")
		})
	}
}

// The writer's own grouping, one write a heartbeat: what a collector has to beat.
func BenchmarkHeartbeatsOneByOne(b *testing.B) {
	s, devices := openFleet(b, 1000)
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			err := s.RecordHeartbeats(context.Background(), []hearth.Heartbeat{{
				Key: devices[int(i)%len(devices)].Key, At: time.Now().Add(time.Duration(i) * time.Millisecond),
			}})
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "beats/s")
}
