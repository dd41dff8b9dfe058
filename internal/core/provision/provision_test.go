package provision_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/provision"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// devices stands for the devices' capability.
type devices struct {
	tokens  int
	created []hearth.Device
	moved   [][2]hearth.Device
	ended   []string
}

func (d *devices) NewToken(deviceID string) (hearth.DeviceToken, string) {
	d.tokens++
	secret := fmt.Sprint("hd_", d.tokens)
	return hearth.DeviceToken{ID: fmt.Sprint("token ", d.tokens), DeviceID: deviceID, Hash: []byte(secret), CreatedAt: epoch}, secret
}
func (d *devices) Room(context.Context, ...hearth.Scope) (func(), error) { return func() {}, nil }
func (d *devices) Created(made ...hearth.Device)                         { d.created = append(d.created, made...) }
func (d *devices) Moved(before, after hearth.Device) {
	d.moved = append(d.moved, [2]hearth.Device{before, after})
}
func (d *devices) TokensEnded(deviceID string) { d.ended = append(d.ended, deviceID) }

// fixture is a service with the users ann and bob.
type fixture struct {
	*provision.Service
	devices
	store *sqlite.Store
	now   time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{now: epoch}
	clock := hearth.Clock(func() time.Time { return f.now })
	var err error
	if f.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir()), Clock: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	for _, id := range []string{"ann", "bob"} {
		u := hearth.User{ID: id, Name: id, Email: id + "@example.com", Role: hearth.RoleUser, CreatedAt: epoch, UpdatedAt: epoch, PasswordHash: []byte("x")}
		if err := f.store.CreateUser(t.Context(), u, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	if f.Service, err = provision.New(provision.Options{Store: f.store, Devices: &f.devices, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	return f
}

func user(id string) hearth.Caller { return hearth.Caller{UserID: id, Role: hearth.RoleUser} }

func wantCode(t *testing.T, err error, code hearth.Code) {
	t.Helper()
	if got := hearth.ErrorCode(err); got != code {
		t.Errorf("got the code %q (%v), want %q", got, err, code)
	}
}

func (f *fixture) key(t *testing.T, n provision.NewKey) provision.IssuedKey {
	t.Helper()
	n.Name, n.DeviceType = "factory", "lamp"
	key, err := f.CreateKey(t.Context(), user("ann"), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (f *fixture) provision(t *testing.T, key, serial, secret string) (provision.Result, error) {
	t.Helper()
	return f.Provision(t.Context(), hearth.Caller{IP: "192.0.2.1"}, provision.Request{Key: key, Serial: serial, Secret: secret}, nil)
}

func TestAKeyWorksUntilItExpiresAndWhileItsUserMaySignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := f.key(t, provision.NewKey{ExpiresAt: epoch.Add(time.Hour)})
	f.now = epoch.Add(time.Hour - time.Millisecond)
	first, err := f.provision(t, key.Secret, "A", "s")
	if err != nil || len(f.created) != 1 || f.created[0].ID != first.DeviceID || f.created[0].Key == 0 || f.Provisioned() != 1 {
		t.Fatalf("%+v, %v: %v", first, f.created, err)
	}
	disabled := func(disabled bool) {
		t.Helper()
		change := func(u hearth.User) (hearth.UserChange, error) {
			u.Disabled = disabled
			return hearth.UserChange{User: u}, nil
		}
		if _, _, err := f.store.UpdateUser(t.Context(), "ann", change); err != nil {
			t.Fatal(err)
		}
	}
	disabled(true)
	_, err = f.provision(t, key.Secret, "B", "")
	wantCode(t, err, hearth.CodeUnauthenticated)
	disabled(false)
	again, err := f.provision(t, key.Secret, "A", "s")
	if err != nil || !again.Again || again.DeviceID != first.DeviceID || len(f.ended) != 1 {
		t.Errorf("%+v, %v: %v", again, f.ended, err)
	}
	f.now = epoch.Add(time.Hour)
	for _, serial := range []string{"A", "B"} {
		_, err = f.provision(t, key.Secret, serial, "s")
		wantCode(t, err, hearth.CodeUnauthenticated)
	}
}

func TestACodeOpensForAQuarterOfAnHourAndWhereItWasMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made, err := f.provision(t, f.key(t, provision.NewKey{}).Secret, "A", "")
	if err != nil {
		t.Fatal(err)
	}
	code := func() string {
		t.Helper()
		issued, err := f.CreateCode(t.Context(), user("ann"), made.DeviceID, nil)
		if err != nil {
			t.Fatal(err)
		}
		return issued.Code
	}
	late := code()
	f.now = epoch.Add(hearth.ClaimCodeTTL)
	_, err = f.Claim(t.Context(), user("bob"), late)
	wantCode(t, err, hearth.CodeNotFound)
	if n, err := f.CleanUp(t.Context()); n != 1 || err != nil {
		t.Errorf("removed %d codes: %v", n, err)
	}
	moved := code()
	to := func(owner string) {
		t.Helper()
		change := func(d hearth.Device) (hearth.Device, error) { d.OwnerID = owner; return d, nil }
		if _, err := f.store.TransferDevice(t.Context(), made.DeviceID, change, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	to("bob")
	_, err = f.Claim(t.Context(), user("ann"), moved) // ann's code no longer opens bob's device
	wantCode(t, err, hearth.CodeNotFound)
	to("ann")
	f.now = f.now.Add(hearth.ClaimCodeTTL - time.Millisecond)
	d, err := f.Claim(t.Context(), user("bob"), moved)
	if err != nil || d.OwnerID != "bob" || len(f.moved) != 1 || f.moved[0][0].OwnerID != "ann" || f.Claimed() != 1 {
		t.Errorf("%+v, %v: %v", d, f.moved, err)
	}
	for _, caller := range []hearth.Caller{{}, {DeviceID: made.DeviceID}, {UserID: "bob", Role: hearth.RoleUser, KeyID: "k", OnlyOrg: "o"}} {
		_, err = f.Claim(t.Context(), caller, moved)
		wantCode(t, err, hearth.CodeForbidden)
	}
	_, err = f.CreateCode(t.Context(), user("ann"), made.DeviceID, nil)
	wantCode(t, err, hearth.CodeNotFound)
}

// A broken audit keeps a guess from being answered: it would go unnoticed.
func TestAGuessIsAudited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := f.key(t, provision.NewKey{}).Secret
	if _, err := f.provision(t, key, "A", "s"); err != nil {
		t.Fatal(err)
	}
	_, err := f.provision(t, key, "A", "guess")
	wantCode(t, err, hearth.CodeConflict)
	_, err = f.Claim(t.Context(), user("bob"), "0000-0000-0000")
	wantCode(t, err, hearth.CodeNotFound)
	for action, code := range map[string]hearth.Code{"device.provision": hearth.CodeConflict, "device.claim": hearth.CodeNotFound} {
		list, err := f.store.Audit(context.Background(), hearth.AuditFilter{Action: action}, hearth.Page{})
		if err != nil || len(list.Items) == 0 || list.Items[0].Result != string(code) {
			t.Errorf("%s: %+v, %v", action, list.Items, err)
		}
	}
}
