package mongodb

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/mongodb/steps"
)

// TestWhatWasEmbeddedIsFound: a database of schema 2 kept members, invitations, watches and password resets inside of other
// documents. Many instances may open it at the same time.
func TestWhatWasEmbeddedIsFound(t *testing.T) {
	t.Parallel()
	options := Options{URI: newDatabase(t), Clock: atNoon}
	s := openAt(t, options)
	furnish(t, s)
	ctx, at := t.Context(), steps.Millis(noon)
	for _, doc := range []struct {
		coll  string
		id    string
		field bson.E
		rest  bson.D
	}{
		{"organizations", "org", bson.E{Key: "members", Value: bson.A{
			bson.D{{Key: "user", Value: "ann"}, {Key: "role", Value: "owner"}, {Key: "joined", Value: at}},
			bson.D{{Key: "user", Value: "bob"}, {Key: "role", Value: "viewer"}, {Key: "joined", Value: at + 1}},
		}}, bson.D{{Key: "name", Value: "Org"}, {Key: "created", Value: at}, {Key: "updated", Value: at}, {Key: "invites", Value: bson.A{bson.D{
			{Key: "id", Value: "inv"}, {Key: "email", Value: "c@example.com"}, {Key: "role", Value: "member"}, {Key: "hash", Value: []byte("h")},
			{Key: "by", Value: "ann"}, {Key: "created", Value: at}, {Key: "expires", Value: at + 1000},
		}}}}},
		{"notification_settings", "ann", bson.E{Key: "watches", Value: bson.A{bson.D{{Key: "device", Value: "d"}, {Key: "told", Value: "online"}}}},
			bson.D{{Key: "types", Value: bson.D{{Key: "new_sign_in", Value: bson.D{{Key: "in_app", Value: true}, {Key: "email", Value: false}}}}}}},
	} {
		all := append(bson.D{{Key: "_id", Value: doc.id}, {Key: "v", Value: int64(7)}, doc.field}, doc.rest...)
		if _, err := s.Collection(doc.coll).InsertOne(ctx, all); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Collection(collUsers).UpdateOne(ctx, steps.ByID("ann"), steps.Set(bson.D{{Key: "reset", Value: bson.D{
		{Key: "id", Value: "r"}, {Key: "hash", Value: []byte("reset")}, {Key: "expires", Value: at + 1000},
	}}}))
	if err == nil {
		_, err = s.Collection(collSchema).UpdateOne(ctx, steps.ByID("schema"), steps.Set(bson.D{{Key: "version", Value: 2}}))
	}
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 3)
	for range cap(opened) {
		go func() {
			another, err := Open(ctx, options)
			if err == nil {
				err = another.Close()
			}
			opened <- err
		}()
	}
	for range cap(opened) {
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
	}
	members, err := s.Members(ctx, "org", hearth.Page{Count: true})
	if err != nil || members.Total != 2 || members.Items[0].UserID != "ann" || members.Items[1].Role != hearth.OrgViewer || members.Items[1].Name != "bob" {
		t.Errorf("the members are %+v, %v", members, err)
	}
	if roles, err := s.Roles(ctx, "bob"); err != nil || roles["org"] != hearth.OrgViewer {
		t.Errorf("bob's roles are %v, %v", roles, err)
	}
	invitation, err := s.InvitationByHash(ctx, []byte("h"))
	if err != nil || invitation.ID != "inv" || invitation.OrganizationID != "org" || invitation.InvitedBy != "ann" || !invitation.CreatedAt.Equal(noon) {
		t.Errorf("the invitation is %+v, %v", invitation, err)
	}
	reset, err := s.PasswordResetByHash(ctx, []byte("reset"))
	if err != nil || reset.ID != "r" || reset.UserID != "ann" || !reset.ExpiresAt.Equal(noon.Add(time.Second)) {
		t.Errorf("the reset is %+v, %v", reset, err)
	}
	watches, err := s.DeviceWatches(ctx, "d")
	if err != nil || len(watches) != 1 || watches[0] != (hearth.DeviceWatch{UserID: "ann", DeviceID: "d", Told: hearth.Online}) {
		t.Errorf("the watches are %+v, %v", watches, err)
	}
	settings, err := s.NotificationSettings(ctx, "ann")
	if err != nil || settings.Types[hearth.NotifyNewSignIn].Email || len(settings.Devices) != 1 {
		t.Errorf("the settings are %+v, %v", settings, err)
	}
	// What was moved is changed as ever, and nothing of it comes back.
	remove := hearth.MemberChange{OrganizationID: "org", UserID: "bob", At: noon, Role: func(hearth.OrgRole) (hearth.OrgRole, error) { return "", nil }}
	if _, err := s.ChangeMember(ctx, remove, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if err := migrateEmbedded(ctx, s); err != nil {
		t.Fatal(err)
	}
	if members, err := s.Members(ctx, "org", hearth.Page{}); err != nil || len(members.Items) != 1 {
		t.Errorf("the members are %+v, %v", members, err)
	}
	e, err := Examine(ctx, options.URI)
	if err != nil || e.Version != e.Newest || len(e.Missing) > 0 {
		t.Errorf("the schema is %d and lacks %v, %v", e.Version, e.Missing, err)
	}
}
