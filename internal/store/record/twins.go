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

// UpdateTwins implements hearth.TwinStore.
func (a *Aggregates) UpdateTwins(ctx context.Context, updates ...*hearth.TwinUpdate) error {
	w, ids := Write{Name: "UpdateTwins", Key: "device_twins"}, make([]string, len(updates))
	for i, u := range updates {
		ids[i] = u.DeviceID
	}
	if len(ids) == 1 {
		w.Key += "/" + ids[0]
	}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		found, err := twins.Find(ctx, tx, Query{Where: Filter{In("device_id", ids...)}})
		if err != nil {
			return err
		}
		stored := make(map[string]twin, len(found))
		for _, one := range found {
			stored[one.DeviceID] = one
		}
		var effects hearth.SideEffects
		desired := map[string]int64{}
		for _, u := range updates {
			before, there := stored[u.DeviceID]
			entries, err := updateTwin(ctx, tx, u, before.twin(), !there)
			if err != nil {
				return err
			}
			effects.Audit = append(effects.Audit, entries...)
			if u.Err == nil && u.After.DesiredVersion != before.DesiredVersion {
				desired[u.DeviceID] = u.After.DesiredVersion
			}
		}
		tx.With(effects)
		if len(desired) > 0 {
			return tx.SetDesiredVersions(ctx, desired)
		}
		return nil
	})
}

// updateTwin adds the change of a twin to a step, and returns what is audited.
func updateTwin(ctx context.Context, tx Tx, u *hearth.TwinUpdate, before hearth.Twin, isNew bool) (entries []hearth.AuditEntry, err error) {
	u.After, u.Err = hearth.Twin{}, nil
	if isNew {
		gone, err := absent(tx.Hold(ctx, &devices.Schema, []any{u.DeviceID}))
		if gone {
			u.Err = devices.NotFound()
		}
		if err != nil || gone {
			return nil, err
		}
		// Another instance may have made it before the device was held; if it makes it from now on, the step is done anew.
		made, err := twins.Get(ctx, tx, u.DeviceID)
		if isNew, err = absent(err); err != nil {
			return nil, err
		}
		before = made.twin()
	}
	before.DeviceID = u.DeviceID
	u.After, entries, u.Err = u.Change(before)
	same := u.After.DesiredVersion == before.DesiredVersion && u.After.ReportedVersion == before.ReportedVersion
	if u.Err != nil || same {
		return nil, nil //nolint:nilerr // a refusal is the update's own
	}
	if isNew {
		return entries, twins.Insert(ctx, tx, storedTwin(u.After))
	}
	return entries, twins.Replace(ctx, tx, storedTwin(u.After))
}
