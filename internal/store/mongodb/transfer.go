package mongodb

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
	"hearth/internal/tsdb"
)

var _ hearth.ProvisioningStore = (*Store)(nil)

// TransferDevice implements hearth.DeviceStore.
func (s *Store) TransferDevice(
	ctx context.Context, id string, change func(hearth.Device) (hearth.Device, error), effects hearth.SideEffects,
) (hearth.Device, error) {
	return s.transfer(ctx, id, deviceChange{name: "TransferDevice", change: change, effects: effects})
}

// ClaimDevice implements hearth.ProvisioningStore.
func (s *Store) ClaimDevice(
	ctx context.Context, code hearth.ClaimCode, change func(hearth.Device) (hearth.Device, error), effects hearth.SideEffects,
) (hearth.Device, error) {
	also := func(ctx context.Context, tx record.Tx) error { return record.UseClaimCode(ctx, tx, code) }
	return s.transfer(ctx, code.DeviceID, deviceChange{name: "ClaimDevice", change: change, effects: effects, also: also})
}

// transfer copies the logs to where nobody sees them yet, and changes the device and what is hidden in one document.
func (s *Store) transfer(ctx context.Context, id string, c deviceChange) (after hearth.Device, err error) {
	before, err := s.Device(ctx, id)
	if err != nil {
		return hearth.Device{}, err
	}
	if after, err = c.change(before); err != nil {
		return hearth.Device{}, err
	}
	if after.Scope() == before.Scope() {
		return s.changeDevice(ctx, id, c)
	}
	planned := after
	err = s.Move(ctx, tsdb.Move{
		Device: before.Key,
		Begin:  func(ctx context.Context) (from, to int64, err error) { return s.beginMove(ctx, before, planned) },
		End: func(ctx context.Context, from, to int64) (err error) {
			if after, err = s.endMove(ctx, before, planned, from, to, c); err == nil {
				s.Forget(before.Key)
			}
			return err
		},
		Drop: func(ctx context.Context) error { return s.dropMove(ctx, before.Key) },
	})
	if err != nil {
		return hearth.Device{}, err
	}
	return after, nil
}

// beginMove hides what the device's new scope gets of its logs; it returns the keys of both scopes.
func (s *Store) beginMove(ctx context.Context, before, after hearth.Device) (from, to int64, err error) {
	keys, err := keysOf(ctx, s.logs, scopeName, []hearth.Scope{before.Scope(), after.Scope()}, true)
	if err != nil {
		return 0, 0, err
	}
	from, to = keys[before.Scope()], keys[after.Scope()]
	return from, to, s.Commit(ctx, deviceChange{name: "TransferDevice"}.writing(before.ID), func(ctx context.Context, st *steps.Step) error {
		doc, err := loadDevice(ctx, st, before.ID)
		if err != nil {
			return err
		}
		if err := toOwners(ctx, st, before, after); err != nil {
			return err
		}
		st.Update(collDevices, before.ID, doc.V, append(steps.Set(bson.D{{Key: "moving", Value: steps.Millis(s.Now())}}),
			bson.E{Key: "$addToSet", Value: bson.D{{Key: "hidden", Value: to}}},
			bson.E{Key: "$unset", Value: bson.D{{Key: "moved_clean", Value: ""}}}))
		return nil
	})
}

// toOwners makes sure that whoever gets a device is there, and stays until the step is done; CodeNotFound.
func toOwners(ctx context.Context, st *steps.Step, before, after hearth.Device) error {
	if after.OwnerID != before.OwnerID {
		doc, err := steps.Load[steps.Document](ctx, st.DB, collUsers, steps.ByID(after.OwnerID))
		if errors.Is(err, steps.ErrGone) {
			return hearth.NotFound("user")
		}
		if err != nil {
			return err
		}
		st.Update(collUsers, after.OwnerID, doc.State().V, nil)
	}
	return intoOrganization(ctx, st, after.OrganizationID)
}

func (s *Store) endMove(
	ctx context.Context, was, planned hearth.Device, from, to int64, c deviceChange,
) (after hearth.Device, err error) {
	err = s.Commit(ctx, c.writing(was.ID), func(ctx context.Context, st *steps.Step) error {
		doc, err := s.planned(ctx, st, was.ID, c, &after)
		if err != nil {
			return err
		}
		before := doc.device()
		if before.Scope() != was.Scope() || after.Scope() != planned.Scope() || !slices.Contains(doc.Hidden, to) {
			return hearth.Errorf(hearth.CodeConflict, "the device changes hands otherwise at the same time")
		}
		if err := toOwners(ctx, st, before, after); err != nil {
			return err
		}
		if err := moveSerial(ctx, st, before, after); err != nil {
			return err
		}
		after.Version = before.Version + 1
		hidden := append(slices.DeleteFunc(doc.Hidden, func(scope int64) bool { return scope == to }), from)
		st.Update(collDevices, was.ID, doc.V, append(steps.Set(bson.D{
			{Key: "scope", Value: after.Scope()}, {Key: "owner", Value: after.OwnerID}, {Key: "organization", Value: after.OrganizationID},
			{Key: "hidden", Value: hidden}, {Key: "updated", Value: steps.Millis(after.UpdatedAt)}, {Key: "version", Value: after.Version},
		}), bson.E{Key: "$unset", Value: bson.D{{Key: "moving", Value: ""}, {Key: "moved_clean", Value: ""}}}))
		return nil
	})
	return after, err
}

// dropMove lets Reclaim have what was copied for a move that does not come about.
func (s *Store) dropMove(ctx context.Context, device int64) error {
	return s.Do(ctx, "TransferDevice", func(ctx context.Context) error {
		_, err := s.Collection(collDevices).UpdateMany(ctx, bson.D{{Key: "key", Value: device}, hasHidden},
			bson.D{{Key: "$unset", Value: bson.D{{Key: "moving", Value: ""}, {Key: "moved_clean", Value: ""}}}})
		return err
	})
}
