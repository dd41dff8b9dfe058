package sqlite

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestNotifications(t *testing.T) {
	t.Parallel()
	storetest.Notifications(t, func(t *testing.T) storetest.NotificationStore { return openTest(t) })
}

func TestChannels(t *testing.T) {
	t.Parallel()
	storetest.Channels(t, func(t *testing.T) storetest.ChannelStore { return openTest(t) })
}
