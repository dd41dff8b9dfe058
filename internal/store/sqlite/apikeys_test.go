package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	storetest.APIKeys(t, func(t *testing.T) storetest.APIKeyStore { return openTest(t) })
}
