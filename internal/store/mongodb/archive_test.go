package mongodb

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestArchive(t *testing.T) {
	t.Parallel()
	storetest.Archive(t, func(t *testing.T) storetest.ArchiveStore { return openTest(t, nil) })
}
