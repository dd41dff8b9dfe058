package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestWebhooks(t *testing.T) {
	t.Parallel()
	storetest.Webhooks(t, func(t *testing.T) storetest.WebhookStore { return openTest(t) })
}
