package hearth

import "time"

// The quotas: how much a device or a scope may have.
const (
	QuotaDevices      = "devices"       // devices of a scope
	QuotaLogs         = "logs"          // logs that a scope stores in a day
	QuotaEvents       = "events"        // event names of a scope
	QuotaDeviceEvents = "device_events" // event names of a device
	QuotaBytes        = "bytes"         // bytes of the stored logs of a scope, with their rollups
)

// QuotaUse is how much of a quota is used.
type QuotaUse struct {
	Name        string
	Limit, Used int64
}

// QuotaExceeded returns a CodeQuotaExceeded error about a quota.
func QuotaExceeded(quota string, limit int64, retryAfter time.Duration) *Error {
	e := Errorf(CodeQuotaExceeded, "the quota %s is %d", quota, limit)
	e.Limit, e.RetryAfter = quota, retryAfter
	return e
}
