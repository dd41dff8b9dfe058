package hearth

// KeyScope is a part of the API that an API key may use, for its owner. Writing does not imply reading.
type KeyScope string

// The scopes.
const (
	KeyDevicesRead    KeyScope = "devices:read"
	KeyDevicesWrite   KeyScope = "devices:write"   // also transfer, claim codes, the desired state
	KeyTelemetryRead  KeyScope = "telemetry:read"  // also live events
	KeyTelemetryWrite KeyScope = "telemetry:write" // also heartbeats, the deletion of logs
	KeyCommandsRead   KeyScope = "commands:read"
	KeyCommandsWrite  KeyScope = "commands:write"
	KeyExportsRead    KeyScope = "exports:read"
	KeyExportsWrite   KeyScope = "exports:write"
	KeyAlarmsRead     KeyScope = "alarms:read"  // also rules, webhooks
	KeyAlarmsWrite    KeyScope = "alarms:write" // also rules, webhooks
)

// KeyScopes returns all scopes.
func KeyScopes() []KeyScope {
	return []KeyScope{
		KeyDevicesRead, KeyDevicesWrite, KeyTelemetryRead, KeyTelemetryWrite, KeyCommandsRead, KeyCommandsWrite,
		KeyExportsRead, KeyExportsWrite, KeyAlarmsRead, KeyAlarmsWrite,
	}
}
