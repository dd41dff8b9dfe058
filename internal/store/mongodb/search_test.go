package mongodb

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
)

// TestWhatIsThereIsFoundAfterAnUpgrade: a database of schema 8 had no text to search in.
func TestWhatIsThereIsFoundAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon}
	s := openAt(t, options)
	furnish(t, s)
	d := hearth.Device{ID: "cafe", Name: "Café", Type: "t", Status: hearth.StatusActive, Interval: 1, OwnerID: "ann"}
	if _, err := s.CreateDevices(t.Context(), []hearth.Device{d}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	for _, coll := range []string{collDevices, collUsers} {
		if _, err := s.Collection(coll).UpdateMany(t.Context(), bson.D{}, bson.D{{Key: "$unset", Value: bson.D{{Key: "search", Value: ""}}}}); err != nil {
			t.Fatal(err)
		}
	}
	devices := func() int {
		list, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: hearth.Reach{All: true}, Query: "CAFE"}, hearth.Page{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	if n := devices(); n != 0 {
		t.Fatalf("%d devices are found by a text that is not there", n)
	}
	if _, err := s.Collection(collSchema).UpdateOne(t.Context(), steps.ByID("schema"), steps.Set(bson.D{{Key: "version", Value: 8}})); err != nil {
		t.Fatal(err)
	}
	openAt(t, options)
	users, err := s.Users(t.Context(), hearth.UserFilter{Query: "ANN@"}, hearth.Page{})
	if n := devices(); n != 1 || err != nil || len(users.Items) != 1 {
		t.Errorf("%d devices and %d users are found, %v; want one each", n, len(users.Items), err)
	}
}
