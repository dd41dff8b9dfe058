package account_test

import (
	"context"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/account"
)

// key makes a key of the caller's.
func (h *house) key(caller hearth.Caller, n account.NewAPIKey) account.IssuedKey {
	h.t.Helper()
	n.Name, n.Scopes = "ci", []hearth.KeyScope{hearth.KeyDevicesRead}
	key, err := h.CreateAPIKey(h.t.Context(), caller, n, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

func (h *house) keyCode(key account.IssuedKey) hearth.Code {
	_, err := h.Authenticate(context.Background(), key.Secret)
	return hearth.ErrorCode(err)
}

func TestAnAPIKeyActsForItsOwnerWithinItsScopes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user := h.user(email, hearth.RoleAdmin)
	caller := h.caller(h.login())
	key := h.key(caller, account.NewAPIKey{})
	got, err := h.Authenticate(t.Context(), key.Secret)
	must(t, err)
	if got.UserID != user.ID || got.KeyID != key.ID || got.Key() != "user:"+user.ID || got.Actor() != "user:"+user.ID+"/key:"+key.ID {
		t.Errorf("the caller is %+v", got)
	}
	if !got.HasScope(hearth.KeyDevicesRead) || got.HasScope(hearth.KeyDevicesWrite) || !got.IsAdmin() {
		t.Errorf("its scopes are %v, its role is %s", got.Scopes, got.Role)
	}
	must(t, h.Alive(t.Context(), got))
	for name, err := range map[string]error{
		"making": func() error {
			_, err := h.CreateAPIKey(t.Context(), got, account.NewAPIKey{Name: "x", Scopes: got.Scopes}, nil)
			return err
		}(),
		"listing":  func() error { _, err := h.APIKeys(t.Context(), got, hearth.Page{}); return err }(),
		"deleting": h.DeleteAPIKey(t.Context(), got, key.ID),
	} {
		if hearth.ErrorCode(err) != hearth.CodeForbidden {
			t.Errorf("%s keys with a key: %v", name, err)
		}
	}
}

func TestAnAPIKeyEndsAtEveryInstance(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	user := h.user(email, hearth.RoleUser)
	h.user("root@example.com", hearth.RoleAdmin)
	caller := h.caller(h.login())
	other := *h // another instance over the same store
	var err error
	other.Service, err = account.New(account.Options{Store: h.store, Keys: h.keys, Clock: h.clock.Now, BcryptCost: 4})
	must(t, err)
	expiring, key := h.key(caller, account.NewAPIKey{ExpiresAt: h.clock.Now().Add(time.Hour)}), h.key(caller, account.NewAPIKey{})
	for _, instance := range []*house{h, &other} {
		if a, b := instance.keyCode(expiring), instance.keyCode(key); a != "" || b != "" {
			t.Fatalf("new keys are refused: %s, %s", a, b)
		}
	}
	h.clock.advance(time.Hour)
	for _, instance := range []*house{h, &other} {
		if code := instance.keyCode(expiring); code != hearth.CodeTokenExpired {
			t.Errorf("an expired key: %q", code)
		}
	}
	yes, no := true, false
	admin := hearth.Caller{UserID: "root", Role: hearth.RoleAdmin}
	for _, disabled := range []*bool{&yes, &no} {
		_, err := h.UpdateUser(t.Context(), admin, user.ID, account.UserUpdate{Disabled: disabled})
		must(t, err)
		want := hearth.Code("")
		if *disabled {
			want = hearth.CodeTokenRevoked
		}
		other.Forget(user.ID) // as the message of the first instance makes it do
		if a, b := h.keyCode(key), other.keyCode(key); a != want || b != want {
			t.Errorf("disabled %v: %q and %q", *disabled, a, b)
		}
	}
	caller = h.caller(h.login())
	h.ended.take()
	must(t, h.DeleteAPIKey(t.Context(), caller, key.ID))
	if ended := h.ended.take(); len(ended) != 1 || ended[0] != user.ID+":1" {
		t.Errorf("the streams hear %v", ended)
	}
	other.Forget(user.ID)
	if a, b := h.keyCode(key), other.keyCode(key); a != hearth.CodeUnauthenticated || b != hearth.CodeUnauthenticated {
		t.Errorf("a deleted key: %q and %q", a, b)
	}
}

func TestTheLastUseOfAnAPIKeyIsStoredOnceAMinute(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.user(email, hearth.RoleUser)
	caller := h.caller(h.login())
	key := h.key(caller, account.NewAPIKey{})
	stored := func() time.Time {
		t.Helper()
		must(t, h.StoreKeyUses(t.Context()))
		k, _, err := h.store.APIKey(t.Context(), key.ID)
		must(t, err)
		return k.LastUsedAt
	}
	if at := stored(); !at.IsZero() {
		t.Errorf("an unused key was used at %v", at)
	}
	first := h.clock.Now()
	for range 3 { // uses of one minute
		if code := h.keyCode(key); code != "" {
			t.Fatal(code)
		}
		if at := stored(); !at.Equal(first) {
			t.Errorf("used at %v, stored %v", first, at)
		}
		h.clock.advance(20 * time.Second)
	}
	if code := h.keyCode(key); code != "" {
		t.Fatal(code)
	}
	list, err := h.APIKeys(t.Context(), caller, hearth.Page{})
	must(t, err)
	if at := list.Items[0].LastUsedAt; !at.Equal(h.clock.Now()) {
		t.Errorf("the list says %v before it is stored", at)
	}
	if at := stored(); !at.Equal(h.clock.Now()) {
		t.Errorf("a minute later %v is stored", at)
	}
}
