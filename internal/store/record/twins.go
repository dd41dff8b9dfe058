package record

import (
	"context"
	"encoding/json"
	"time"

	"hearth"
)

var _ hearth.TwinStore = (*Aggregates)(nil)

// twin is the stored form of hearth.Twin.
type twin struct {
	DeviceID        string    `json:"device_id"`
	Desired         text      `json:"desired,omitempty"` // the JSON as it is stored, to the byte
	Reported        text      `json:"reported,omitempty"`
	DesiredVersion  int64     `json:"desired_version,omitempty"`
	ReportedVersion int64     `json:"reported_version,omitempty"`
	DesiredAt       time.Time `json:"desired_at,omitzero"`
	ReportedAt      time.Time `json:"reported_at,omitzero"`
}

var twins = describe(&Kind[twin]{Schema: Schema{
	Name: "device_twins", Noun: "twin", ID: []string{"device_id"}, Of: map[string]string{"device_id": "devices"},
}})

func storedTwin(t hearth.Twin) twin {
	return twin{t.DeviceID, text(t.Desired), text(t.Reported), t.DesiredVersion, t.ReportedVersion, t.DesiredAt, t.ReportedAt}
}

func (r twin) twin() hearth.Twin {
	t := hearth.Twin{
		DeviceID: r.DeviceID, DesiredVersion: r.DesiredVersion, ReportedVersion: r.ReportedVersion, DesiredAt: r.DesiredAt,
		ReportedAt: r.ReportedAt,
	}
	if r.Desired != "" {
		t.Desired = json.RawMessage(r.Desired)
	}
	if r.Reported != "" {
		t.Reported = json.RawMessage(r.Reported)
	}
	return t
}

// Twin implements hearth.TwinStore.
func (a *Aggregates) Twin(ctx context.Context, deviceID string) (hearth.Twin, error) {
	return view(ctx, a.b, "Twin", func(ctx context.Context, r Reader) (hearth.Twin, error) {
		stored, err := twins.Get(ctx, r, deviceID)
		isNew, err := absent(err)
		if err != nil || !isNew {
			return stored.twin(), err
		}
		exists, err := devices.Exists(ctx, r, Eq("id", deviceID))
		if err == nil && !exists {
			err = devices.NotFound()
		}
		return hearth.Twin{DeviceID: deviceID}, err
	})
}

// UpdateTwin implements hearth.TwinStore. The step that makes a twin holds the device, so that none is left behind by one that is
// deleted meanwhile.
func (a *Aggregates) UpdateTwin(
	ctx context.Context, deviceID string, change func(hearth.Twin) (hearth.Twin, []hearth.AuditEntry, error),
) (hearth.Twin, error) {
	w := Write{Name: "UpdateTwin", Key: "device_twins/" + deviceID}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Twin, error) {
		stored, err := twins.Get(ctx, tx, deviceID)
		isNew, err := absent(err)
		if isNew {
			err = tx.Hold(ctx, &devices.Schema, []any{deviceID})
		}
		if err != nil {
			return hearth.Twin{}, err
		}
		before := stored.twin()
		before.DeviceID = deviceID
		after, entries, err := change(before)
		if err != nil || after.DesiredVersion == before.DesiredVersion && after.ReportedVersion == before.ReportedVersion {
			return after, err
		}
		tx.With(hearth.SideEffects{Audit: entries})
		if after.DesiredVersion != before.DesiredVersion {
			older, version := Lt("desired_version", after.DesiredVersion), Set("desired_version", after.DesiredVersion)
			if err := tx.UpdateWhere(ctx, &devices.Schema, Filter{Eq("id", deviceID), older}, Changes{version}); err != nil {
				return after, err
			}
		}
		if isNew {
			return after, twins.Insert(ctx, tx, storedTwin(after))
		}
		return after, twins.Replace(ctx, tx, storedTwin(after))
	})
}
