package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"hearth"
)

// ProvisioningStore is what the suite of provisioning is about.
type ProvisioningStore interface {
	hearth.ProvisioningStore
	hearth.DeviceStore
	organizations
}

// Provisioning is the suite for hearth.ProvisioningStore. open returns an empty store; it is called once a test, in parallel.
func Provisioning(t *testing.T, open func(*testing.T) ProvisioningStore) {
	for name, test := range map[string]func(*testing.T, ProvisioningStore){
		"lists the keys within reach, newest first":                 provisioningKeysPages,
		"bounds the keys of a scope, and deletes what check allows": provisioningKeysBound,
		"an organization takes its keys along":                      provisioningKeysOfOrganization,
		"makes a device with its token, counted by the key":         provisionMakes,
		"gives a device that is known another token":                provisionAgain,
		"refuses what decide refuses, and writes nothing":           provisionRefused,
		"a serial whose device is deleted makes another":            provisionAfterDeletion,
		"never makes more devices than the key allows":              provisionRace,
		"makes one device of a serial":                              provisionSerialRace,
		"keeps claim codes until they expire":                       claimCodesLife,
		"a claim ends codes and tokens, but for the provisioned":    claimEnds,
		"of two claims with one code one comes about":               claimRace,
		"no token or code outlives a claim":                         claimGuards,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// anyDevice is a check that allows every device.
func anyDevice(hearth.Device) error { return nil }

// provisioningKey returns a key of ann's; n makes ids, hashes and times that ascend.
func provisioningKey(n int) hearth.ProvisioningKey {
	return hearth.ProvisioningKey{
		ID: fmt.Sprintf("0195c000-0000-7000-a000-%012d", n), UserID: "ann", Name: "factory", Prefix: "hp_abc", Hash: fmt.Appendf(nil, "hash %d", n),
		DeviceType: "lamp", Tags: []string{"hall"}, CreatedAt: epoch.Add(time.Duration(n) * time.Second),
	}
}

func createProvisioningKey(t *testing.T, s ProvisioningStore, key hearth.ProvisioningKey) {
	t.Helper()
	if err := s.CreateProvisioningKey(t.Context(), key, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func keysWithin(t *testing.T, s ProvisioningStore, reach hearth.Reach) (ids []string) {
	t.Helper()
	page := hearth.Page{Limit: 2, Count: true}
	for {
		list, err := s.ProvisioningKeys(t.Context(), reach, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range list.Items {
			ids = append(ids, key.ID)
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			if int64(len(ids)) != list.Total {
				t.Errorf("%d keys of %d", len(ids), list.Total)
			}
			return ids
		}
	}
}

func provisioningKeysPages(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	person(t, s, "bob")
	organization(t, s, "team", "ann", 0)
	for n := range 6 {
		key := provisioningKey(n)
		key.CreatedAt = epoch.Add(time.Duration(n/2) * time.Second) // pairs of the same time
		switch n {
		case 1:
			key.OrganizationID, key.MaxDevices, key.ExpiresAt = "team", 7, epoch.Add(time.Hour)
		case 4:
			key.UserID, key.Tags = "bob", nil
		}
		createProvisioningKey(t, s, key)
	}
	id := func(numbers ...int) (ids []string) {
		for _, n := range numbers {
			ids = append(ids, provisioningKey(n).ID)
		}
		return ids
	}
	ann, bob, team := hearth.UserScope("ann"), hearth.UserScope("bob"), hearth.OrgScope("team")
	same(t, keysWithin(t, s, hearth.Reach{All: true}), id(5, 4, 3, 2, 1, 0))
	same(t, keysWithin(t, s, hearth.Reach{Scopes: []hearth.Scope{ann}}), id(5, 3, 2, 0))
	same(t, keysWithin(t, s, hearth.Reach{Scopes: []hearth.Scope{ann, team}}), id(5, 3, 2, 1, 0))
	same(t, keysWithin(t, s, hearth.Reach{Scopes: []hearth.Scope{bob}}), id(4))
	same(t, keysWithin(t, s, hearth.Reach{}), []string(nil))
	list, err := s.ProvisioningKeys(t.Context(), hearth.Reach{Scopes: []hearth.Scope{team}}, hearth.Page{})
	if err != nil {
		t.Fatal(err)
	}
	want := provisioningKey(1)
	want.CreatedAt, want.OrganizationID, want.MaxDevices, want.ExpiresAt = epoch, "team", 7, epoch.Add(time.Hour)
	same(t, list.Items, []hearth.ProvisioningKey{want})
}

func provisioningKeysBound(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	for n := range hearth.MaxProvisioningKeys {
		createProvisioningKey(t, s, provisioningKey(n))
	}
	next := provisioningKey(hearth.MaxProvisioningKeys)
	wantCode(t, s.CreateProvisioningKey(t.Context(), next, hearth.SideEffects{}), hearth.CodeConflict)
	remove := func(id string, refusal error) error {
		return s.DeleteProvisioningKey(t.Context(), id, func(hearth.ProvisioningKey) error { return refusal }, hearth.SideEffects{})
	}
	wantCode(t, remove("none", nil), hearth.CodeNotFound)
	wantCode(t, remove(provisioningKey(0).ID, hearth.Errorf(hearth.CodeForbidden, "no")), hearth.CodeForbidden)
	if err := remove(provisioningKey(0).ID, nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, remove(provisioningKey(0).ID, nil), hearth.CodeNotFound)
	createProvisioningKey(t, s, next)
}

func provisioningKeysOfOrganization(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	of := provisioningKey(1)
	of.OrganizationID = "team"
	createProvisioningKey(t, s, of)
	createProvisioningKey(t, s, provisioningKey(2))
	if _, err := s.DeleteOrganization(t.Context(), "team", hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	same(t, keysWithin(t, s, hearth.Reach{All: true}), []string{provisioningKey(2).ID})
	_, err := provision(t, s, of, "A", 1)
	wantCode(t, err, hearth.CodeNotFound)
	orphan := provisioningKey(3)
	orphan.OrganizationID = "gone"
	wantCode(t, s.CreateProvisioningKey(t.Context(), orphan, hearth.SideEffects{}), hearth.CodeNotFound)
}

// provision has a key answered for a serial: with the n-th device, or the n-th token of the device that is known.
func provision(t *testing.T, s ProvisioningStore, key hearth.ProvisioningKey, serial string, n int) (hearth.Device, error) {
	t.Helper()
	return s.Provision(t.Context(), key.Hash, serial, func(k hearth.ProvisioningKey, _ hearth.User, _ *hearth.Provisioned) (hearth.Provisioning, error) {
		d := withSerial(device(n), serial)
		d.OwnerID, d.OrganizationID = k.UserID, k.OrganizationID
		token := hearth.DeviceToken{ID: fmt.Sprint("token ", n), DeviceID: d.ID, Hash: tokenHash(fmt.Sprint(n)), CreatedAt: epoch, Provisioned: true}
		if k.MaxDevices != 0 && k.Devices >= k.MaxDevices {
			return hearth.Provisioning{}, hearth.Errorf(hearth.CodeForbidden, "no more")
		}
		return hearth.Provisioning{Device: d, Token: token, SecretHash: []byte("secret")}, nil
	})
}

func mustProvision(t *testing.T, s ProvisioningStore, key hearth.ProvisioningKey, serial string, n int) hearth.Device {
	t.Helper()
	d, err := provision(t, s, key, serial, n)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tokensOf returns the ids of a device's tokens.
func tokensOf(t *testing.T, s ProvisioningStore, deviceID string) (ids []string) {
	t.Helper()
	tokens, err := s.DeviceTokens(t.Context(), deviceID)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		ids = append(ids, token.ID)
	}
	return ids
}

// made returns how many devices a key has made.
func made(t *testing.T, s ProvisioningStore) int64 {
	t.Helper()
	list, err := s.ProvisioningKeys(t.Context(), hearth.Reach{All: true}, hearth.Page{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d keys, %v", len(list.Items), err)
	}
	return list.Items[0].Devices
}

func provisionMakes(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	key := provisioningKey(1)
	key.OrganizationID = "team"
	createProvisioningKey(t, s, key)
	d := mustProvision(t, s, key, "A", 1)
	if d.Key <= 0 || d.Version != 1 || d.Scope() != hearth.OrgScope("team") {
		t.Errorf("made %+v", d)
	}
	sameDevices(t, mustDevice(t, s, d.ID), d)
	token, err := s.DeviceTokenByHash(t.Context(), tokenHash("1"))
	if err != nil || token.DeviceID != d.ID || !token.Provisioned {
		t.Errorf("the token is %+v: %v", token, err)
	}
	if n := made(t, s); n != 1 {
		t.Errorf("the key counts %d devices, want 1", n)
	}
	// A serial that a user gave a device by hand is taken.
	byHand := withSerial(device(2), "B")
	byHand.OrganizationID = "team"
	createDevices(t, s, byHand)
	_, err = provision(t, s, key, "B", 3)
	wantSerialTaken(t, err, "body.serial")
	if n := made(t, s); n != 1 {
		t.Errorf("the key counts %d devices after a refusal, want 1", n)
	}
	_, err = provision(t, s, provisioningKey(9), "C", 4)
	wantCode(t, err, hearth.CodeNotFound)
}

func provisionAgain(t *testing.T, s ProvisioningStore) {
	user := person(t, s, "ann")
	person(t, s, "bob")
	createProvisioningKey(t, s, provisioningKey(1))
	d := mustProvision(t, s, provisioningKey(1), "A", 1)
	addToken(t, s, d.ID, "hand")
	// The device is known wherever it is.
	if _, err := transfer(t.Context(), s, d.ID, "bob", ""); err != nil {
		t.Fatal(err)
	}
	again, err := s.Provision(t.Context(), provisioningKey(1).Hash, "A",
		func(_ hearth.ProvisioningKey, u hearth.User, known *hearth.Provisioned) (hearth.Provisioning, error) {
			if u.ID != user {
				t.Errorf("the key is %q's", u.ID)
			}
			want := hearth.Provisioned{Scope: hearth.UserScope(user), Serial: "A", DeviceID: d.ID, SecretHash: []byte("secret")}
			if known == nil {
				t.Fatal("the device is not known")
			}
			same(t, *known, want)
			token := hearth.DeviceToken{ID: "new", Hash: tokenHash("new"), CreatedAt: epoch.Add(time.Hour), Provisioned: true}
			return hearth.Provisioning{Token: token}, nil
		})
	if err != nil || again.ID != d.ID || again.OwnerID != "bob" {
		t.Fatalf("got %+v: %v", again, err)
	}
	same(t, tokensOf(t, s, d.ID), []string{"token hand", "new"})
	if n := made(t, s); n != 1 {
		t.Errorf("the key counts %d devices, want 1", n)
	}
}

func provisionRefused(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	key := provisioningKey(1)
	key.MaxDevices = 1
	createProvisioningKey(t, s, key)
	d := mustProvision(t, s, key, "A", 1)
	_, err := provision(t, s, key, "B", 2)
	wantCode(t, err, hearth.CodeForbidden)
	_, err = s.Device(t.Context(), device(2).ID)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = provision(t, s, key, "A", 3)
	wantCode(t, err, hearth.CodeForbidden)
	same(t, tokensOf(t, s, d.ID), []string{"token 1"})
}

func provisionAfterDeletion(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	createProvisioningKey(t, s, provisioningKey(1))
	first := mustProvision(t, s, provisioningKey(1), "A", 1)
	remove(t, s, first.ID)
	second := mustProvision(t, s, provisioningKey(1), "A", 2)
	if second.ID == first.ID || made(t, s) != 2 {
		t.Errorf("device %s, the key counts %d", second.ID, made(t, s))
	}
	same(t, tokensOf(t, s, second.ID), []string{"token 2"})
}

func provisionRace(t *testing.T, s ProvisioningStore) {
	const most, tries = 3, 12
	person(t, s, "ann")
	key := provisioningKey(1)
	key.MaxDevices = most
	createProvisioningKey(t, s, key)
	errs := make([]error, tries)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = provision(t, s, key, fmt.Sprint("S", i), i+1) })
	}
	wg.Wait()
	count := 0
	for _, err := range errs {
		if err == nil {
			count++
		} else {
			wantCode(t, err, hearth.CodeForbidden)
		}
	}
	counted, err := s.CountDevices(t.Context(), hearth.Reach{All: true}, epoch)
	if err != nil || count != most || counted.Total != most || made(t, s) != most {
		t.Errorf("%d succeeded, %d devices, %d counted: %v", count, counted.Total, made(t, s), err)
	}
}

func provisionSerialRace(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	one, other := provisioningKey(1), provisioningKey(2)
	createProvisioningKey(t, s, one)
	createProvisioningKey(t, s, other)
	fresh := make([]bool, 8)
	var wg sync.WaitGroup
	for i := range fresh {
		key := []hearth.ProvisioningKey{one, other}[i%2]
		wg.Go(func() {
			d, err := provision(t, s, key, "A", i+1)
			if err != nil {
				t.Errorf("provision: %v", err)
			}
			fresh[i] = d.ID == device(i+1).ID
		})
	}
	wg.Wait()
	count := 0
	for _, f := range fresh {
		if f {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d devices of one serial", count)
	}
}

// claimCode returns the n-th code of a device.
func claimCode(n int, d hearth.Device) hearth.ClaimCode {
	return hearth.ClaimCode{
		Hash: fmt.Appendf(nil, "code %d", n), DeviceID: d.ID, Scope: d.Scope(), CreatedBy: "ann", CreatedAt: epoch, ExpiresAt: epoch.Add(hearth.ClaimCodeTTL),
	}
}

func createClaimCode(t *testing.T, s ProvisioningStore, code hearth.ClaimCode) {
	t.Helper()
	if err := s.CreateClaimCode(t.Context(), code, anyDevice, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func claimCodesLife(t *testing.T, s ProvisioningStore) {
	d := createDevices(t, s, device(1))[0]
	for n := range hearth.MaxClaimCodes {
		createClaimCode(t, s, claimCode(n, d))
	}
	got, err := s.ClaimCode(t.Context(), claimCode(1, d).Hash)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, claimCode(1, d))
	_, err = s.ClaimCode(t.Context(), []byte("none"))
	wantCode(t, err, hearth.CodeNotFound)
	next := claimCode(hearth.MaxClaimCodes, d)
	wantCode(t, s.CreateClaimCode(t.Context(), next, anyDevice, hearth.SideEffects{}), hearth.CodeConflict)
	next.CreatedAt = epoch.Add(hearth.ClaimCodeTTL)
	next.ExpiresAt = next.CreatedAt.Add(hearth.ClaimCodeTTL)
	createClaimCode(t, s, next)
	refuse := func(hearth.Device) error { return hearth.Errorf(hearth.CodeForbidden, "no") }
	wantCode(t, s.CreateClaimCode(t.Context(), claimCode(99, d), refuse, hearth.SideEffects{}), hearth.CodeForbidden)
	wantCode(t, s.CreateClaimCode(t.Context(), claimCode(99, device(9)), anyDevice, hearth.SideEffects{}), hearth.CodeNotFound)
	for _, want := range []int{15, hearth.MaxClaimCodes - 15, 0} {
		if n, err := s.DeleteExpiredClaimCodes(t.Context(), epoch.Add(hearth.ClaimCodeTTL), 15); err != nil || n != want {
			t.Errorf("removed %d, want %d: %v", n, want, err)
		}
	}
	if _, err := s.ClaimCode(t.Context(), next.Hash); err != nil {
		t.Errorf("the code that has not expired: %v", err)
	}
	remove(t, s, d.ID)
	wantCode(t, s.CreateClaimCode(t.Context(), claimCode(99, d), anyDevice, hearth.SideEffects{}), hearth.CodeNotFound)
}

// claim makes the device of a code that of a user.
func claim(t *testing.T, s ProvisioningStore, code hearth.ClaimCode, user string) (hearth.Device, error) {
	t.Helper()
	return s.ClaimDevice(t.Context(), code, func(d hearth.Device) (hearth.Device, error) {
		if d.Scope() != code.Scope {
			return d, hearth.NotFound("claim code")
		}
		d.OwnerID, d.OrganizationID = user, ""
		return d, nil
	}, hearth.SideEffects{})
}

func claimEnds(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	bob := person(t, s, "bob")
	createProvisioningKey(t, s, provisioningKey(1))
	d := mustProvision(t, s, provisioningKey(1), "A", 1)
	other := createDevices(t, s, device(2))[0]
	appendReadings(t, s, d)
	addToken(t, s, d.ID, "hand")
	addToken(t, s, other.ID, "other")
	createClaimCode(t, s, claimCode(1, d))
	createClaimCode(t, s, claimCode(2, d))
	createClaimCode(t, s, claimCode(3, other))
	// A serial that bob has already.
	theirs := withSerial(device(3), "A")
	theirs.OwnerID = bob
	createDevices(t, s, theirs)
	_, err := claim(t, s, claimCode(1, d), bob)
	wantSerialTaken(t, err, "serial")
	same(t, tokensOf(t, s, d.ID), []string{"token 1", "token hand"})
	remove(t, s, theirs.ID)

	got, err := claim(t, s, claimCode(1, d), bob)
	if err != nil {
		t.Fatal(err)
	}
	sameDevices(t, mustDevice(t, s, d.ID), got)
	if got.OwnerID != bob || logsOf(t, s, hearth.UserScope(bob)) != 30 || logsOf(t, s, d.Scope()) != 0 {
		t.Errorf("the device is %+v, with its logs: %d", got, logsOf(t, s, hearth.UserScope(bob)))
	}
	same(t, tokensOf(t, s, d.ID), []string{"token 1"})
	same(t, tokensOf(t, s, other.ID), []string{"token other"})
	for n, want := range map[int]hearth.Code{1: hearth.CodeNotFound, 2: hearth.CodeNotFound, 3: ""} {
		_, err := s.ClaimCode(t.Context(), claimCode(n, d).Hash)
		wantCode(t, err, want)
	}
	_, err = claim(t, s, claimCode(1, d), bob)
	wantCode(t, err, hearth.CodeNotFound)
	// Within a scope a claim changes hands too.
	if got, err = claim(t, s, claimCode(3, other), other.OwnerID); err != nil || got.OwnerID != other.OwnerID {
		t.Errorf("got %+v: %v", got, err)
	}
	same(t, tokensOf(t, s, other.ID), []string(nil))
	_, err = claim(t, s, claimCode(3, other), other.OwnerID)
	wantCode(t, err, hearth.CodeNotFound)
}

func claimRace(t *testing.T, s ProvisioningStore) {
	person(t, s, "ann")
	d := createDevices(t, s, device(1))[0]
	appendReadings(t, s, d)
	createClaimCode(t, s, claimCode(1, d))
	errs := make([]error, 4)
	users := make([]string, len(errs))
	for i := range users {
		users[i] = person(t, s, fmt.Sprint("user", i))
	}
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = claim(t, s, claimCode(1, d), users[i]) })
	}
	wg.Wait()
	owner, logs := "", int64(0)
	for i, err := range errs {
		if err == nil {
			owner += users[i]
		} else {
			wantCode(t, err, hearth.CodeNotFound)
		}
		logs += logsOf(t, s, hearth.UserScope(users[i]))
	}
	if got := mustDevice(t, s, d.ID); got.OwnerID != owner || logs != 30 {
		t.Errorf("the device is %q's, claimed by %q, with %d logs", got.OwnerID, owner, logs)
	}
}

// What was authorized before the device changed hands is refused in the step itself.
func claimGuards(t *testing.T, s ProvisioningStore) {
	d := createDevices(t, s, device(1))[0]
	bob := person(t, s, "bob")
	createClaimCode(t, s, claimCode(1, d))
	if _, err := claim(t, s, claimCode(1, d), bob); err != nil {
		t.Fatal(err)
	}
	ofBefore := func(now hearth.Device) error {
		if now.OwnerID != d.OwnerID {
			return hearth.NotFound("device")
		}
		return nil
	}
	token := hearth.DeviceToken{ID: "late", DeviceID: d.ID, Hash: tokenHash("late"), CreatedAt: epoch}
	wantCode(t, s.CreateDeviceToken(t.Context(), token, ofBefore, hearth.SideEffects{}), hearth.CodeNotFound)
	wantCode(t, s.CreateClaimCode(t.Context(), claimCode(2, d), ofBefore, hearth.SideEffects{}), hearth.CodeNotFound)
	same(t, tokensOf(t, s, d.ID), []string(nil))
	// A code of before opens nothing after.
	_, err := claim(t, s, claimCode(2, d), "ann")
	wantCode(t, err, hearth.CodeNotFound)
}
