package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestProvisioning(t *testing.T) {
	t.Parallel()
	storetest.Provisioning(t, func(t *testing.T) storetest.ProvisioningStore { return openTest(t) })
}
