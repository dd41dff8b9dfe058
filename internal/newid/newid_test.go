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
