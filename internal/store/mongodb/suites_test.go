package mongodb

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/storetest"
)

// beside is a store with as much of devices as organizations and notifications need: that there are some.
type beside struct {
	*Store
	hearth.DeviceStore
}

func (b beside) CreateDevices(ctx context.Context, devices []hearth.Device, along hearth.Along) ([]hearth.Device, error) {
	return devices, b.commit(ctx, writing{name: "CreateDevices", along: along}, func(ctx context.Context, st *step) error {
		for _, d := range devices {
			if err := st.intoOrganization(ctx, d.OrganizationID); err != nil {
				return err
			}
			st.insert(collDevices, d.ID, bson.D{{Key: "_id", Value: d.ID}, {Key: "v", Value: 1}, {Key: "organization_id", Value: d.OrganizationID}}, nil)
		}
		return nil
	})
}

func (b beside) DeleteDevice(ctx context.Context, id string, _ func(hearth.Device) error, along hearth.Along) error {
	return b.commit(ctx, writing{name: "DeleteDevice", along: along}, func(_ context.Context, st *step) error {
		st.remove(collDevices, id, 1)
		st.forgetWatches(id)
		return nil
	})
}

func (b beside) Device(ctx context.Context, id string) (d hearth.Device, err error) {
	exists, err := b.exists(ctx, collDevices, live(bson.E{Key: "_id", Value: id}))
	if err == nil && !exists {
		err = hearth.NotFound("device")
	}
	return d, err
}

func TestOrganizations(t *testing.T) {
	t.Parallel()
	storetest.Organizations(t, func(t *testing.T) storetest.OrganizationStore { return beside{Store: openTest(t, nil)} })
}

func TestExports(t *testing.T) {
	t.Parallel()
	storetest.Exports(t, func(t *testing.T) storetest.ExportStore { return openTest(t, nil) })
}

func TestExportSchedules(t *testing.T) {
	t.Parallel()
	storetest.ExportSchedules(t, func(t *testing.T) storetest.ExportScheduleStore { return openTest(t, nil) })
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	storetest.Notifications(t, func(t *testing.T) storetest.NotificationStore { return beside{Store: openTest(t, nil)} })
}
