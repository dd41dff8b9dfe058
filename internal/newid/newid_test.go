package newid_test

import (
	"testing"

	"github.com/google/uuid"

	"hearth/internal/newid"
)

func TestIdentifiersAreSortedUUIDsOfVersion7(t *testing.T) {
	t.Parallel()
	last := ""
	for range 10_000 {
		id := newid.New()
		parsed, err := uuid.Parse(id)
		if err != nil || parsed.Version() != 7 || parsed.String() != id {
			t.Fatalf("%q is not a canonical UUIDv7: %v", id, err)
		}
		if id <= last {
			t.Fatalf("%q does not follow %q", id, last)
		}
		last = id
	}
}

func TestIdentifiersOfManyGoroutinesAreUnique(t *testing.T) {
	t.Parallel()
	const each = 20_000
	made := make(chan []string)
	for range 8 {
		go func() {
			ids := make([]string, each)
			for i := range ids {
				ids[i] = newid.New()
			}
			made <- ids
		}()
	}
	seen := make(map[string]bool, 8*each)
	for range 8 {
		for _, id := range <-made {
			if seen[id] || seen[id[19:]] {
				t.Fatalf("%q or its random end was made twice", id)
			}
			seen[id], seen[id[19:]] = true, true
		}
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newid.New()
	}
}
