package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestTwins(t *testing.T) {
	t.Parallel()
	storetest.Twins(t, func(t *testing.T) storetest.TwinStore { return openTest(t) })
}
