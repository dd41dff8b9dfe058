package mongodb

import (
	"testing"

	"hearth"
	"hearth/internal/store/storetest"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	storetest.Secrets(t, func(t *testing.T) hearth.SecretStore { return openTest(t, nil) })
}
