package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestExports(t *testing.T) {
	t.Parallel()
	storetest.Exports(t, func(t *testing.T) storetest.ExportStore { return openTest(t) })
}
