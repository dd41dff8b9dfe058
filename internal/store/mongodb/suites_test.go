package mongodb

import (
	"testing"

	"hearth/internal/store/storetest"
)

func TestOrganizations(t *testing.T) {
	t.Parallel()
	storetest.Organizations(t, func(t *testing.T) storetest.OrganizationStore { return openTest(t, nil) })
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	storetest.APIKeys(t, func(t *testing.T) storetest.APIKeyStore { return openTest(t, nil) })
}

func TestExports(t *testing.T) {
	t.Parallel()
	storetest.Exports(t, func(t *testing.T) storetest.ExportStore { return openTest(t, nil) })
}

func TestExportSchedules(t *testing.T) {
	t.Parallel()
	storetest.ExportSchedules(t, func(t *testing.T) storetest.ExportScheduleStore { return openTest(t, nil) })
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	storetest.Notifications(t, func(t *testing.T) storetest.NotificationStore { return openTest(t, nil) })
}

func TestCommands(t *testing.T) {
	t.Parallel()
	storetest.Commands(t, func(t *testing.T) storetest.CommandStore { return openTest(t, nil) })
}

func TestMQTTSessions(t *testing.T) {
	t.Parallel()
	storetest.MQTTSessions(t, func(t *testing.T) storetest.MQTTSessionStore { return openTest(t, nil) })
}

func TestTwins(t *testing.T) {
	t.Parallel()
	storetest.Twins(t, func(t *testing.T) storetest.TwinStore { return openTest(t, nil) })
}

func TestProvisioning(t *testing.T) {
	t.Parallel()
	storetest.Provisioning(t, func(t *testing.T) storetest.ProvisioningStore { return openTest(t, nil) })
}

func TestChannels(t *testing.T) {
	t.Parallel()
	storetest.Channels(t, func(t *testing.T) storetest.ChannelStore { return openTest(t, nil) })
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	storetest.Webhooks(t, func(t *testing.T) storetest.WebhookStore { return openTest(t, nil) })
}

func TestIntegrations(t *testing.T) {
	t.Parallel()
	storetest.Integrations(t, func(t *testing.T) storetest.IntegrationStore { return openTest(t, nil) })
}

func TestAlarms(t *testing.T) {
	t.Parallel()
	storetest.Alarms(t, func(t *testing.T) storetest.AlarmStore { return openTest(t, nil) })
}
