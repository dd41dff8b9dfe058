package mongodb

import (
	"testing"

	"hearth/internal/store/storetest"
)

// TestNewLogsOfTwoInstancesAreStoredOnce covers that instances that get the same logs at once store them once.
func TestNewLogsOfTwoInstancesAreStoredOnce(t *testing.T) {
	t.Parallel()
	uri := newDatabase(t)
	storetest.NewLogsAtOnce(t, openAt(t, Options{URI: uri}), openAt(t, Options{URI: uri}))
}
