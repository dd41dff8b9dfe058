package sqlite_test

import (
	"testing"

	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
	"hearth/internal/store/storetest"
)

func TestTheRealDataGivesTheFactsBack(t *testing.T) {
	t.Parallel()
	for _, name := range dataSets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			storetest.RealData(t, s, name, s.FoldLogs)
		})
	}
}
