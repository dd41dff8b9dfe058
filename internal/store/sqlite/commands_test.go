package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	storetest.Commands(t, func(t *testing.T) storetest.CommandStore { return openTest(t) })
}
