package sqlite

import (
	"testing"

	"hearth"
	"hearth/internal/store/storetest"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	storetest.Accounts(t, func(t *testing.T, clock hearth.Clock) storetest.AccountStore {
		s, err := Open(t.Context(), Options{Path: newFile(t), Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
