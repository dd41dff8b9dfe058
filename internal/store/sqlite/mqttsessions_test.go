package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestMQTTSessions(t *testing.T) {
	t.Parallel()
	storetest.MQTTSessions(t, func(t *testing.T) storetest.MQTTSessionStore { return openTest(t) })
}
