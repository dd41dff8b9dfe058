package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestOrganizations(t *testing.T) {
	t.Parallel()
	storetest.Organizations(t, func(t *testing.T) storetest.OrganizationStore { return openTest(t) })
}
