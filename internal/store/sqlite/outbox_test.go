package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestOutbox(t *testing.T) {
	t.Parallel()
	storetest.Outbox(t, func(t *testing.T) storetest.OutboxStore { return openTest(t) })
}
