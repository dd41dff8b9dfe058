package hearth

import (
	"context"
	"encoding/json"
	"time"
)

// Limits of a twin. Each side is a JSON object; it is the first of its levels.
const (
	MaxTwinSide  = 32 << 10 // bytes of JSON without spaces
	MaxTwinDepth = 8
	MaxTwinPatch = 64 << 10 // bytes of JSON
)

// TwinSide is one half of a twin.
type TwinSide string

// The sides: what a device should be, and what it says it is.
const (
	TwinDesired  TwinSide = "desired"
	TwinReported TwinSide = "reported"
)

// Twin is the state of a device. The zero Twin with a DeviceID is that of a device for which nothing was ever set.
type Twin struct {
	DeviceID string
	// Desired and Reported are objects with sorted names and no spaces; nil is an empty one. No member outside of an array is null.
	Desired  json.RawMessage
	Reported json.RawMessage
	// The versions count the changes of each side from 0; the times are those of the last change.
	DesiredVersion  int64
	ReportedVersion int64
	DesiredAt       time.Time
	ReportedAt      time.Time
}

// TwinView is a twin with its delta.
type TwinView struct {
	Twin
	Delta json.RawMessage
}

// Version returns the version of a side.
func (t Twin) Version(side TwinSide) int64 {
	if side == TwinDesired {
		return t.DesiredVersion
	}
	return t.ReportedVersion
}

// TwinUpdate is the change of one twin by TwinStore.UpdateTwins.
type TwinUpdate struct {
	DeviceID string
	// Change returns the twin as it is to be, or an error, with which nothing of it is written. It may be called more than once.
	Change func(Twin) (Twin, []AuditEntry, error)

	// After is the twin as it is then. Err is the error of Change, or CodeNotFound if the device is gone.
	After Twin
	Err   error
}

// TwinStore keeps twins. A twin goes with its device. Errors are of the codes named here, or CodeUnavailable and
// CodeStorageFull.
type TwinStore interface {
	// Twin returns a device's twin; CodeNotFound if the device is gone.
	Twin(ctx context.Context, deviceID string) (Twin, error)
	// UpdateTwins reads, changes and writes twins in one atomic step, with the audit entries of their changes, and keeps the desired
	// versions with the devices. Each has its own result; no two are of one device. A twin whose versions stay is not written.
	UpdateTwins(ctx context.Context, updates ...*TwinUpdate) error
}
