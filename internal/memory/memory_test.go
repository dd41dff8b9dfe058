package memory

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/fstest"
	"time"
)

func TestTheLimitIsThatOfTheControlGroups(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text + "\n")} }
	for name, tt := range map[string]struct {
		own    string
		groups fstest.MapFS
		want   int64
	}{
		"a container":                  {"0::/\n", fstest.MapFS{"memory.max": file("134217728")}, 134217728},
		"a container, path of outside": {"0::/docker/0a1b\n", fstest.MapFS{"memory.max": file("134217728")}, 134217728},
		"a unit of systemd": {
			"0::/system.slice/hearth.service\n",
			fstest.MapFS{"system.slice/memory.max": file("max"), "system.slice/hearth.service/memory.max": file("268435456")}, 268435456,
		},
		"a group above": {
			"0::/system.slice/hearth.service\n",
			fstest.MapFS{"system.slice/memory.max": file("100000000"), "system.slice/hearth.service/memory.max": file("max")}, 100000000,
		},
		"version 1": {
			"9:cpu,cpuacct:/x\n8:memory:/jobs/a\n0::/\n",
			fstest.MapFS{"memory/memory.limit_in_bytes": file("9223372036854771712"), "memory/jobs/a/memory.limit_in_bytes": file("134217728")}, 134217728,
		},
		"no limit":  {"0::/\n", fstest.MapFS{"memory.max": file("max")}, 0},
		"no groups": {"0::/a/b\n", fstest.MapFS{}, 0},
		"nonsense":  {"x\n::\n0::../../etc\n", fstest.MapFS{"memory.max": file("x")}, 0},
	} {
		if got := allowedBy(tt.groups, tt.own); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	for allowed, want := range map[int64]int64{64 << 20: 32 << 20, 128 << 20: 80 << 20, 1000 << 20: 800 << 20} {
		if got := heapOf(allowed); got != want {
			t.Errorf("of %d MiB the heap has %d MiB, want %d", allowed>>20, got>>20, want>>20)
		}
	}
	for limit, want := range map[Limit]int64{0: 144 << 20, 80 << 20: 20 << 20, 800 << 20: 144 << 20} {
		if got := limit.Pages(144 << 20); got != want {
			t.Errorf("of %d MiB, pages have %d MiB, want %d", limit>>20, got>>20, want>>20)
		}
	}
}

// A small heap is collected less often than by default, a large one as often.
func TestTheCollectorIsPacedByWhatIsLive(t *testing.T) {
	t.Setenv("GOGC", "")
	percent := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	until := func(reached func(uint64) bool) {
		for began := time.Now(); !reached(percent()); {
			if time.Since(began) > time.Minute {
				t.Fatalf("the collector waits for %d %%", percent())
			}
			runtime.GC()
		}
	}
	Limit(0).Pace()
	until(func(percent uint64) bool { return percent > 100 })
	live := make([]byte, 2*garbage)
	until(func(percent uint64) bool { return percent == 100 })
	runtime.KeepAlive(live)
	until(func(percent uint64) bool { return percent > 100 })
}

func TestGarbageIsAShareOfTheLimit(t *testing.T) {
	t.Parallel()
	for limit, want := range map[Limit]uint64{0: 32 << 20, 80 << 20: 10 << 20, 800 << 20: 32 << 20} {
		if got := limit.Garbage(); got != want {
			t.Errorf("of %d MiB, garbage has %d MiB, want %d", limit>>20, got>>20, want>>20)
		}
	}
	for live, want := range map[uint64]int{0: 400, 1 << 20: 400, 8 << 20: 400, 10 << 20: 300, 20 << 20: 150, 32 << 20: 100, 1 << 40: 100} {
		if got := percentOf(live, 32<<20); got != want {
			t.Errorf("with %d MiB in use: %d %%, want %d", live>>20, got, want)
		}
	}
}
