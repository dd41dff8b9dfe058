package hearth

import "time"

// The quotas: how much a device or a scope may have.
const (
	QuotaEvents       = "events"        // event names of a scope
	QuotaDeviceEvents = "device_events" // event names of a device
)

// QuotaExceeded returns a CodeQuotaExceeded error about a quota.
func QuotaExceeded(quota string, limit int64, retryAfter time.Duration) *Error {
	e := Errorf(CodeQuotaExceeded, "the quota %s is %d", quota, limit)
	e.Limit, e.RetryAfter = quota, retryAfter
	return e
}
