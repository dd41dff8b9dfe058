package archive

import (
	"cmp"
	"context"
	"encoding/json"

	"hearth"
)

// The bounds of what a file holds back: rows of a group, and rows of one call.
const (
	groupRows = 128 << 10
	batchRows = 1024
)

// row is a log with its device as it is when the log is archived, so that a file says everything by itself.
type row struct {
	Timestamp      int64   `parquet:"timestamp,timestamp(millisecond),delta"`
	DeviceID       string  `parquet:"device_id,dict"`
	Event          string  `parquet:"event,dict"`
	Value          float64 `parquet:"value"`
	ValueType      string  `parquet:"value_type,optional,dict"` // null for a number
	ValueText      string  `parquet:"value_text,optional,dict"` // of a string; its value is 0
	DeviceName     string  `parquet:"device_name,dict"`
	DeviceType     string  `parquet:"device_type,dict"`
	OwnerID        string  `parquet:"owner_id,dict"`
	OrganizationID string  `parquet:"organization_id,optional,dict"`
	// Tags and Metadata are JSON.
	Tags     string `parquet:"tags,dict"`
	Metadata string `parquet:"metadata,dict"`
}

// maxKnown bounds the devices that are remembered.
const maxKnown = 50_000

// known returns the devices of a scan, asking for each once.
type known struct {
	ctx     context.Context //nolint:containedctx // it lives no longer than the scan
	devices Devices
	rows    map[int64]*row
}

// of returns a row of the device without a log; nil for one that is gone.
func (k *known) of(key int64) (*row, error) {
	if r, ok := k.rows[key]; ok {
		return r, nil
	}
	found, err := k.devices.DevicesByKey(k.ctx, []int64{key})
	if err != nil {
		return nil, err
	}
	if len(k.rows) >= maxKnown {
		clear(k.rows)
	}
	var r *row
	if len(found) > 0 {
		if r, err = rowOf(found[0]); err != nil {
			return nil, err
		}
	}
	k.rows[key] = r
	return r, nil
}

func rowOf(d hearth.Device) (*row, error) {
	tags, err := json.Marshal(d.Tags)
	if err != nil || d.Tags == nil {
		tags = []byte("[]")
	}
	metadata := string(d.Metadata)
	metadata = cmp.Or(metadata, "{}")
	return &row{
		DeviceID: d.ID, DeviceName: d.Name, DeviceType: d.Type, OwnerID: d.OwnerID, OrganizationID: d.OrganizationID,
		Tags: string(tags), Metadata: metadata,
	}, err
}
