package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestIntegrations(t *testing.T) {
	t.Parallel()
	storetest.Integrations(t, func(t *testing.T) storetest.IntegrationStore { return openTest(t) })
}
