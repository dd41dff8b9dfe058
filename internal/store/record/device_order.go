package record

import (
	"strconv"
	"strings"

	"hearth"
)

// DeviceOrder is one of the orders in which the stores list devices, which they write by hand; the id breaks ties.
type DeviceOrder struct {
	By   string // name, created_at or last_active_at
	Desc bool
}

// DeviceOrderOf returns the order of Page.Sort; CodeValidationFailed if there is no such order.
func DeviceOrderOf(sort string) (DeviceOrder, error) {
	if sort == "" {
		sort = "-created_at"
	}
	by, desc := strings.CutPrefix(sort, "-")
	switch by {
	case "name", "created_at", "last_active_at":
		return DeviceOrder{by, desc}, nil
	}
	return DeviceOrder{}, hearth.Invalid(hearth.FieldError{Location: "query.sort", Message: "must be name, created_at or last_active_at"})
}

// Cursor returns the place behind a device.
func (o DeviceOrder) Cursor(d hearth.Device) hearth.Cursor {
	at := d.LastActiveAt
	switch o.By {
	case "name":
		return hearth.Cursor{Key: d.Name, ID: d.ID}
	case "created_at":
		at = d.CreatedAt
	}
	if at.IsZero() {
		return hearth.Cursor{Key: "0", ID: d.ID}
	}
	return hearth.Cursor{Key: strconv.FormatInt(at.UnixMilli(), 10), ID: d.ID}
}

// Key returns what the device before the cursor was sorted by, as it is stored: its name, or a time in Unix milliseconds.
func (o DeviceOrder) Key(cursor hearth.Cursor) (any, error) {
	if o.By == "name" {
		return cursor.Key, nil
	}
	at, err := strconv.ParseInt(cursor.Key, 10, 64)
	if err != nil {
		return nil, hearth.BadCursor()
	}
	return at, nil
}
