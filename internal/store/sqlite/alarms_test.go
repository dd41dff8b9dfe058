package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestAlarms(t *testing.T) {
	t.Parallel()
	storetest.Alarms(t, func(t *testing.T) storetest.AlarmStore { return openTest(t) })
}
