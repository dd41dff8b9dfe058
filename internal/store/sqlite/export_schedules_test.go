package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestExportSchedules(t *testing.T) {
	t.Parallel()
	storetest.ExportSchedules(t, func(t *testing.T) storetest.ExportScheduleStore { return openTest(t) })
}
