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

// rememberedTwins bounds the bytes of twins in memory.
const rememberedTwins = 8 << 20

func sizeOfTwin(id string, t hearth.Twin) int {
	return 256 + len(id) + len(t.Desired) + len(t.Reported)
}

// UpdateTwins implements hearth.TwinStore.
func (a *Aggregates) UpdateTwins(ctx context.Context, updates ...*hearth.TwinUpdate) error {
	w := Write{Name: "UpdateTwins", Key: "device_twins"}
	if len(updates) == 1 {
		w.Key += "/" + updates[0].DeviceID
	}
	swaps := false
	err := a.b.Update(ctx, w, func(ctx context.Context, tx Tx) (err error) {
		step, rest := twinStep{tx: tx, desired: map[string]int64{}}, updates
		var swapper Swapper
		if swapper, swaps = tx.(Swapper); swaps {
			if rest, err = a.swapTwins(ctx, &step, swapper, updates); err != nil {
				return err
			}
		}
		if err := step.update(ctx, rest); err != nil {
			return err
		}
		tx.With(hearth.SideEffects{Audit: step.audit})
		if len(step.desired) > 0 {
			return tx.SetDesiredVersions(ctx, step.desired)
		}
		return nil
	})
	if err != nil || !swaps {
		return err
	}
	for _, u := range updates {
		if u.Err == nil {
			a.twins.Set(u.DeviceID, u.After)
		}
	}
	return nil
}

// twinStep is a step of UpdateTwins.
type twinStep struct {
	tx      Tx
	audit   []hearth.AuditEntry
	desired map[string]int64 // the new versions
}

// changed notes an update that was made.
func (s *twinStep) changed(u *hearth.TwinUpdate, before hearth.Twin, entries []hearth.AuditEntry) {
	s.audit = append(s.audit, entries...)
	if u.After.DesiredVersion != before.DesiredVersion {
		s.desired[u.DeviceID] = u.After.DesiredVersion
	}
}

// swapTwins makes those updates of twins that are as they are remembered, which need not be read, and returns the others. A twin with the same
// versions is the same; what changes nothing, or is refused, is decided by what is read.
func (a *Aggregates) swapTwins(
	ctx context.Context, step *twinStep, swapper Swapper, updates []*hearth.TwinUpdate,
) (rest []*hearth.TwinUpdate, err error) {
	for _, u := range updates {
		before, known, _ := a.twins.Find(u.DeviceID)
		if known {
			var entries []hearth.AuditEntry
			u.After, entries, u.Err = u.Change(before)
			if u.Err == nil && !sameVersions(before, u.After) {
				swapped, err := swapper.UpdateIf(ctx, &twins.Schema, Filter{
					Eq("device_id", u.DeviceID), Eq("desired_version", before.DesiredVersion), Eq("reported_version", before.ReportedVersion),
				}, changesOfTwin(before, u.After))
				if err != nil {
					return nil, err
				}
				if swapped {
					step.changed(u, before, entries)
					continue
				}
			}
		}
		rest = append(rest, u)
	}
	return rest, nil
}

// changesOfTwin returns the fields of the sides that have another version.
func changesOfTwin(before, after hearth.Twin) (set Changes) {
	if before.DesiredVersion != after.DesiredVersion {
		set = append(set, Set("desired", string(after.Desired)), Set("desired_version", after.DesiredVersion), Set("desired_at", after.DesiredAt))
	}
	if before.ReportedVersion != after.ReportedVersion {
		set = append(set, Set("reported", string(after.Reported)), Set("reported_version", after.ReportedVersion), Set("reported_at", after.ReportedAt))
	}
	return set
}

func sameVersions(a, b hearth.Twin) bool {
	return a.DesiredVersion == b.DesiredVersion && a.ReportedVersion == b.ReportedVersion
}

// update reads and changes twins.
func (s *twinStep) update(ctx context.Context, updates []*hearth.TwinUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	ids := make([]string, len(updates))
	for i, u := range updates {
		ids[i] = u.DeviceID
	}
	found, err := twins.Find(ctx, s.tx, Query{Where: Filter{In("device_id", ids...)}})
	if err != nil {
		return err
	}
	stored := make(map[string]twin, len(found))
	for _, one := range found {
		stored[one.DeviceID] = one
	}
	for _, u := range updates {
		before, there := stored[u.DeviceID]
		if err := s.updateOne(ctx, u, before.twin(), !there); err != nil {
			return err
		}
	}
	return nil
}

// updateOne adds the change of a twin to a step.
func (s *twinStep) updateOne(ctx context.Context, u *hearth.TwinUpdate, before hearth.Twin, isNew bool) error {
	u.After, u.Err = hearth.Twin{}, nil
	if isNew {
		gone, err := absent(s.tx.Hold(ctx, &devices.Schema, []any{u.DeviceID}))
		if gone {
			u.Err = devices.NotFound()
		}
		if err != nil || gone {
			return err
		}
		// Another instance may have made it before the device was held; if it makes it from now on, the step is done anew.
		made, err := twins.Get(ctx, s.tx, u.DeviceID)
		if isNew, err = absent(err); err != nil {
			return err
		}
		before = made.twin()
	}
	before.DeviceID = u.DeviceID
	var entries []hearth.AuditEntry
	u.After, entries, u.Err = u.Change(before)
	if u.Err != nil || sameVersions(before, u.After) {
		return nil //nolint:nilerr // a refusal is the update's own
	}
	s.changed(u, before, entries)
	if isNew {
		return twins.Insert(ctx, s.tx, storedTwin(u.After))
	}
	return twins.Replace(ctx, s.tx, storedTwin(u.After))
}
