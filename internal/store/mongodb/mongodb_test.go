package mongodb

import (
	"context"
	"testing"
	"time"

	"hearth"
	"hearth/internal/store/storetest"
	"hearth/internal/testserver"
)

// databases are those of the tests: as Open leaves them, with nothing in them.
var databases = &testserver.Template{Make: func(ctx context.Context, uri string) error {
	s, err := Open(ctx, Options{URI: uri, RepairEvery: time.Hour})
	if err != nil {
		return err
	}
	return s.Close()
}}

// newDatabase returns the URI of a database of the test's own.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	uri, _ := databases.MongoDB(tb)
	return uri
}

// openTest opens a store with a database of its own.
func openTest(t testing.TB, clock hearth.Clock) *Store {
	t.Helper()
	// What is asked at once here, a busy machine may take long over.
	return openAt(t, Options{URI: newDatabase(t), Clock: clock, MaxConns: 30, OperationTimeout: time.Minute})
}

func openAt(t testing.TB, options Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	storetest.Accounts(t, func(t *testing.T, clock hearth.Clock) storetest.AccountStore { return openTest(t, clock) })
}

func TestAudit(t *testing.T) {
	t.Parallel()
	storetest.Audit(t, func(t *testing.T) hearth.AuditStore { return openTest(t, nil) })
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	storetest.Outbox(t, func(t *testing.T) storetest.OutboxStore { return openTest(t, nil) })
}
