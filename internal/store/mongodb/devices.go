package mongodb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
	"hearth/internal/tsdb/codec"
)

var _ hearth.DeviceStore = (*Store)(nil)

// DeviceFields are what a device's owner changes.
type DeviceFields struct {
	Name     string              `bson:"name"`
	Search   string              `bson:"search"` // Name, folded
	Type     string              `bson:"type"`
	Serial   string              `bson:"serial,omitempty"`
	Status   hearth.DeviceStatus `bson:"status"`
	Idle     bool                `bson:"idle"`
	Tags     []string            `bson:"tags"`
	Metadata []byte              `bson:"metadata"` // JSON as it came
	Interval int                 `bson:"interval"`
	Updated  int64               `bson:"updated"`
}

// deviceDoc is a device. Heartbeats change last, seen, status and idle, whoever has locked it, and no version.
type deviceDoc struct {
	ID         string `bson:"_id"`
	steps.Meta `bson:",inline"`
	Key        int64 `bson:"key"`
	// Scope stands for owner or organization in every question.
	Scope        hearth.Scope `bson:"scope"`
	Owner        string       `bson:"owner"`
	Organization string       `bson:"organization"`
	DeviceFields `bson:",inline"`
	// DesiredVersion is the twin's.
	DesiredVersion int64 `bson:"desired_version"`
	// Version is the one that people see.
	Version int64 `bson:"version"`
	Created int64 `bson:"created"`
	// Last is of the last heartbeat, in Unix milliseconds; 0 before the first.
	Last int64 `bson:"last"`
	// OfflineAt is when a device that keeps a connection is offline, in Unix milliseconds; 0: its silence decides.
	OfflineAt int64 `bson:"offline_at,omitempty"`
	// LastError is JSON; "": none.
	LastError string `bson:"last_error,omitempty"`
	// Seen is the hour of Last, or of Created: an index of it changes once an hour, not with every heartbeat.
	Seen int64 `bson:"seen"`
	// Dead is the key of the scope of a device that is deleted and whose logs are still stored.
	Dead int64 `bson:"dead,omitempty"`
	// Hidden are the keys of scopes in which the logs of a device that moved, or is moving since Moving, are hidden.
	Hidden []int64 `bson:"hidden,omitempty"`
	Moving int64   `bson:"moving,omitempty"`
}

func fieldsOf(d hearth.Device) DeviceFields {
	return DeviceFields{
		Name: d.Name, Search: record.Fold(d.Name), Type: d.Type, Serial: d.Serial, Status: d.Status, Idle: d.Idle, Tags: d.Tags,
		Metadata: d.Metadata, Interval: d.Interval, Updated: steps.Millis(d.UpdatedAt),
	}
}

func newDeviceDoc(d hearth.Device) deviceDoc {
	doc := deviceDoc{
		ID: d.ID, Meta: steps.Meta{V: 1}, Key: d.Key, Scope: d.Scope(), Owner: d.OwnerID, Organization: d.OrganizationID,
		DeviceFields: fieldsOf(d), DesiredVersion: d.DesiredVersion, Version: d.Version, Created: steps.Millis(d.CreatedAt), Last: steps.Millis(d.LastActiveAt), OfflineAt: steps.Millis(d.OfflineAt),
	}
	if d.LastError != nil {
		text, _ := json.Marshal(d.LastError) //nolint:errchkjson // times of our clock encode
		doc.LastError = string(text)
	}
	doc.Seen = hourOf(doc.Created)
	if doc.Last != 0 {
		doc.Seen = hourOf(doc.Last)
	}
	return doc
}

func hourOf(ms int64) int64 { return codec.BucketOf(codec.LevelHour, ms) }

func (d deviceDoc) device() hearth.Device {
	device := hearth.Device{
		ID: d.ID, Key: d.Key, Name: d.Name, Type: d.Type, Serial: d.Serial, Status: d.Status, Tags: d.Tags, Interval: d.Interval,
		OwnerID: d.Owner, OrganizationID: d.Organization, Idle: d.Idle, DesiredVersion: d.DesiredVersion, Version: d.Version,
		CreatedAt: steps.FromMillis(d.Created),
		UpdatedAt: steps.FromMillis(d.Updated), LastActiveAt: steps.FromMillis(d.Last), OfflineAt: steps.FromMillis(d.OfflineAt),
	}
	if d.LastError != "" {
		device.LastError = &hearth.DeviceError{}
		_ = json.Unmarshal([]byte(d.LastError), device.LastError) // this store wrote it
	}
	if len(d.Metadata) > 0 {
		device.Metadata = json.RawMessage(d.Metadata)
	}
	return device
}

// alive is the filter of devices that are there for everybody.
func alive(filter ...bson.E) bson.D {
	return append(bson.D{{Key: "draft", Value: nil}, {Key: "dead", Value: nil}}, filter...)
}

// among is the condition that a field is one of the values.
func among[T any](field string, values []T) bson.E {
	if values == nil {
		values = []T{}
	}
	return bson.E{Key: field, Value: bson.D{{Key: "$in", Value: values}}}
}

// loadDevice reads a device for a step; CodeNotFound.
func loadDevice(ctx context.Context, st *steps.Step, id string) (deviceDoc, error) {
	doc, err := steps.Load[deviceDoc](ctx, st.DB, collDevices, steps.ByID(id))
	if errors.Is(err, steps.ErrGone) || err == nil && doc.Dead != 0 {
		return doc, hearth.NotFound("device")
	}
	return doc, err
}

// CreateDevices implements hearth.DeviceStore.
func (s *Store) CreateDevices(ctx context.Context, devices []hearth.Device, effects hearth.SideEffects) (created []hearth.Device, err error) {
	err = s.Commit(ctx, steps.Writing{Name: "CreateDevices", Effects: effects}, func(ctx context.Context, st *steps.Step) error {
		created = slices.Clone(devices)
		if len(devices) == 0 {
			return nil
		}
		checked := map[string]bool{"": true}
		for _, d := range devices {
			if checked[d.OrganizationID] {
				continue
			}
			checked[d.OrganizationID] = true
			if err := intoOrganization(ctx, st, d.OrganizationID); err != nil {
				return err
			}
		}
		key, err := s.Take(ctx, collDevices, int64(len(devices)))
		if err != nil {
			return err
		}
		serials := map[string]bool{}
		for i := range created {
			created[i].Key, created[i].Version = key+int64(i), 1
			taken, id := hearth.SerialTaken(fmt.Sprintf("items[%d].serial", i)), serialID(created[i])
			if created[i].Serial != "" && serials[id] {
				return taken
			}
			serials[id] = true
			insertDevice(st, created[i], taken)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return created, nil
}

// insertDevice adds a device, and makes its serial its own.
func insertDevice(st *steps.Step, d hearth.Device, taken error) {
	st.Insert(collDevices, d.ID, newDeviceDoc(d), hearth.Errorf(hearth.CodeConflict, "there is a device with that id"))
	if d.Serial != "" {
		claimSerial(st, d, taken)
	}
}

// serialDoc is a serial that a device of a scope has: a document of its own, so that no two devices take it at once.
type serialDoc struct {
	ID         string `bson:"_id"`
	steps.Meta `bson:",inline"`
	Device     string `bson:"device"`
}

func serialID(d hearth.Device) string { return string(d.Scope()) + " " + d.Serial }

func newSerialDoc(d hearth.Device) serialDoc {
	return serialDoc{ID: serialID(d), Meta: steps.Meta{V: 1}, Device: d.ID}
}

// claimSerial makes the serial the device's.
func claimSerial(st *steps.Step, d hearth.Device, taken error) {
	st.Insert(collSerials, serialID(d), newSerialDoc(d), taken)
}

// moveSerial makes the serial of after the device's in place of that of before.
func moveSerial(ctx context.Context, st *steps.Step, before, after hearth.Device) error {
	if serialID(before) == serialID(after) {
		return nil
	}
	if before.Serial != "" {
		old, err := steps.Load[serialDoc](ctx, st.DB, collSerials, steps.ByID(serialID(before)))
		if errors.Is(err, steps.ErrGone) {
			return steps.ErrStale // the device has changed since it was read
		}
		if err != nil {
			return err
		}
		st.Remove(collSerials, old.ID, old.V)
	}
	if after.Serial != "" {
		claimSerial(st, after, hearth.SerialTaken("serial"))
	}
	return nil
}

// intoOrganization makes the step one that puts a device into an organization: the organization must be there, and stays
// until the step is done. An empty id is none. CodeNotFound.
func intoOrganization(ctx context.Context, st *steps.Step, id string) error {
	if id == "" {
		return nil
	}
	doc, err := steps.Load[steps.Document](ctx, st.DB, collOrganizations, steps.ByID(id))
	if errors.Is(err, steps.ErrGone) {
		return hearth.NotFound("organization")
	}
	if err == nil {
		st.Update(collOrganizations, id, doc.State().V, nil)
	}
	return err
}

// Device implements hearth.DeviceStore.
func (s *Store) Device(ctx context.Context, id string) (d hearth.Device, err error) {
	err = s.Do(ctx, "Device", func(ctx context.Context) error {
		var doc deviceDoc
		err := s.Collection(collDevices).FindOne(ctx, alive(steps.ByID(id)...)).Decode(&doc)
		d = doc.device()
		return steps.Found(err, "device")
	})
	if err != nil {
		return hearth.Device{}, err
	}
	return d, nil
}

// DevicesByID implements hearth.DeviceStore.
func (s *Store) DevicesByID(ctx context.Context, ids []string) ([]hearth.Device, error) {
	return s.devicesWhere(ctx, "DevicesByID", alive(among("_id", ids)))
}

// DevicesByKey implements hearth.DeviceStore, by the unique index of key.
func (s *Store) DevicesByKey(ctx context.Context, keys []int64) ([]hearth.Device, error) {
	return s.devicesWhere(ctx, "DevicesByKey", alive(among("key", keys)))
}

func (s *Store) devicesWhere(ctx context.Context, name string, filter bson.D) (devices []hearth.Device, err error) {
	err = s.Do(ctx, name, func(ctx context.Context) error {
		docs, err := steps.FindAll[deviceDoc](ctx, s.Collection(collDevices), filter)
		for _, doc := range docs {
			devices = append(devices, doc.device())
		}
		return err
	})
	return devices, err
}

// UpdateDevice implements hearth.DeviceStore.
func (s *Store) UpdateDevice(
	ctx context.Context, id string, change func(hearth.Device) (hearth.Device, error), effects hearth.SideEffects,
) (hearth.Device, error) {
	return s.changeDevice(ctx, id, deviceChange{name: "UpdateDevice", change: change, effects: effects})
}

// deviceChange is a change of one device.
type deviceChange struct {
	// name is the contract's method, for the observer.
	name    string
	change  func(hearth.Device) (hearth.Device, error)
	effects hearth.SideEffects
	// also, if it is set, is done in the same step.
	also func(ctx context.Context, tx record.Tx) error
}

func (c deviceChange) writing(id string) steps.Writing {
	return steps.Writing{Name: c.name, Line: collDevices + "/" + id, Effects: c.effects}
}

// planned returns the device as it is, and sets after to what the change makes of it.
func (s *Store) planned(ctx context.Context, st *steps.Step, id string, c deviceChange, after *hearth.Device) (doc deviceDoc, err error) {
	if doc, err = loadDevice(ctx, st, id); err != nil {
		return doc, err
	}
	if *after, err = c.change(doc.device()); err != nil || c.also == nil {
		return doc, err
	}
	tx := &recordTx{recordReader: recordReader{s}, st: st, known: map[string]*known{}}
	if err := c.also(ctx, tx); err != nil {
		return doc, err
	}
	return doc, tx.note(ctx)
}

// changeDevice writes status and idle only if the change changes them: a heartbeat may have, in the meantime.
func (s *Store) changeDevice(ctx context.Context, id string, c deviceChange) (after hearth.Device, err error) {
	err = s.Commit(ctx, c.writing(id), func(ctx context.Context, st *steps.Step) error {
		doc, err := s.planned(ctx, st, id, c, &after)
		if err != nil {
			return err
		}
		before := doc.device()
		after.Version = before.Version + 1
		f := fieldsOf(after)
		fields := bson.D{
			{Key: "name", Value: f.Name}, {Key: "search", Value: f.Search}, {Key: "type", Value: f.Type}, {Key: "tags", Value: f.Tags},
			{Key: "metadata", Value: f.Metadata}, {Key: "interval", Value: f.Interval}, {Key: "updated", Value: f.Updated}, {Key: "version", Value: after.Version},
		}
		if err := moveSerial(ctx, st, before, after); err != nil {
			return err
		}
		change := bson.D{}
		if after.Serial == "" && before.Serial != "" {
			change = bson.D{{Key: "$unset", Value: bson.D{{Key: "serial", Value: ""}}}}
		} else if after.Serial != before.Serial {
			fields = append(fields, bson.E{Key: "serial", Value: f.Serial})
		}
		if after.Status != before.Status {
			fields = append(fields, bson.E{Key: "status", Value: f.Status})
		}
		if after.Idle != before.Idle {
			fields = append(fields, bson.E{Key: "idle", Value: f.Idle})
		}
		st.Update(collDevices, id, doc.V, append(change, steps.Set(fields)...))
		return nil
	})
	if err != nil {
		return hearth.Device{}, err
	}
	return after, nil
}

// DeleteDevice implements hearth.DeviceStore. The document stays as a tombstone, which hides the device's logs from every
// reader, until Reclaim has removed them.
func (s *Store) DeleteDevice(ctx context.Context, id string, check func(hearth.Device) error, effects hearth.SideEffects) error {
	var key int64
	w := steps.Writing{Name: "DeleteDevice", Line: collDevices + "/" + id, Effects: effects}
	err := s.Commit(ctx, w, func(ctx context.Context, st *steps.Step) error {
		doc, err := loadDevice(ctx, st, id)
		if err != nil {
			return err
		}
		if err := check(doc.device()); err != nil {
			return err
		}
		key = doc.Key
		scopes, err := keysOf(ctx, s.logs, scopeName, []hearth.Scope{doc.Scope}, true)
		if err != nil {
			return err
		}
		st.Update(collDevices, id, doc.V, steps.Set(bson.D{{Key: "dead", Value: scopes[doc.Scope]}}))
		st.Purge(collSerials, bson.D{{Key: "device", Value: id}})
		kinds, fields := record.OfDevices()
		for i, kind := range kinds {
			st.Purge(kind.Name, bson.D{{Key: bsonName(kind, fields[i]), Value: id}})
		}
		return nil
	})
	if err == nil {
		s.Forget(key)
	}
	return err
}
