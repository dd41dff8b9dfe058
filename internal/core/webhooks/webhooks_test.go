package webhooks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"hearth"
	"hearth/internal/core/webhooks"
	"hearth/internal/guardedhttp"
	"hearth/internal/newid"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// keySealer seals with the key of now, and opens what the keys that it knows have sealed.
type keySealer struct {
	key   string
	known []string
}

func (s *keySealer) Seal(plain []byte) ([]byte, error) {
	return append([]byte(s.key+":"), plain...), nil
}

func (s *keySealer) Open(sealed []byte) ([]byte, error) {
	for _, key := range append(s.known, s.key) {
		if plain, ok := bytes.CutPrefix(sealed, []byte(key+":")); ok {
			return plain, nil
		}
	}
	return nil, errors.New("the key is not known")
}

func (s *keySealer) Current(sealed []byte) bool { return bytes.HasPrefix(sealed, []byte(s.key+":")) }

type world struct {
	*webhooks.Service
	store  *sqlite.Store
	sealer *keySealer
	ann    hearth.Caller
	now    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{sealer: &keySealer{key: "a"}, ann: hearth.Caller{UserID: "ann", Role: hearth.RoleUser}, now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	var err error
	if w.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir()), Clock: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	user := hearth.User{ID: "ann", Name: "Ann", Email: "ann@example.com", Role: hearth.RoleUser, CreatedAt: w.now, UpdatedAt: w.now}
	if err := w.store.CreateUser(t.Context(), user, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	w.Service, err = webhooks.New(webhooks.Options{
		Store: w.store, Sealer: w.sealer, Clock: clock, Client: guardedhttp.New(guardedhttp.Options{}),
		Encode: func(time.Time, any) (json.RawMessage, error) { return json.RawMessage("{}"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) create(t *testing.T, name string) hearth.Webhook {
	t.Helper()
	made, err := w.Create(t.Context(), w.ann, webhooks.NewWebhook{Name: name, URL: "https://example.com/", Events: []hearth.WebhookEvent{hearth.WebhookAlarmRaised}, Enabled: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.Webhook
}

func TestANewKeySealsEverySecretAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kept := w.create(t, "of both keys")
	if _, err := w.Rotate(t.Context(), w.ann, kept.ID); err != nil {
		t.Fatal(err)
	}
	lost := w.create(t, "of a key that is gone")
	if _, err := w.store.UpdateWebhook(t.Context(), lost.ID, func(h hearth.Webhook) (hearth.Webhook, error) {
		h.Secret = []byte("gone:secret")
		return h, nil
	}, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	before, err := w.store.Webhook(t.Context(), kept.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.sealer.key, w.sealer.known = "b", []string{"a"}
	fresh := w.create(t, "of the new key")
	for round, want := range []int{2, 0} { // the secret and the one before it
		if changed, lost, err := w.Reseal(t.Context()); err != nil || changed != want || lost != 1 {
			t.Errorf("round %d: %d changed, %d lost, %v", round, changed, lost, err)
		}
	}
	after, err := w.store.Webhook(t.Context(), kept.ID)
	if err != nil || after.Version != before.Version || !after.OldSecretUntil.Equal(before.OldSecretUntil) {
		t.Errorf("%+v, %v; before %+v", after, err, before)
	}
	w.sealer.known = nil // the old key may go
	for name, pair := range map[string][2][]byte{"secret": {before.Secret, after.Secret}, "old secret": {before.OldSecret, after.OldSecret}} {
		plain, err := w.sealer.Open(pair[1])
		if err != nil || !bytes.Equal(plain, pair[0][len("a:"):]) || len(plain) == 0 {
			t.Errorf("the %s was %q and is %q, %v", name, pair[0], pair[1], err)
		}
	}
	if now, err := w.store.Webhook(t.Context(), fresh.ID); err != nil || !bytes.Equal(now.Secret, fresh.Secret) {
		t.Errorf("the one of the new key is changed: %v", err)
	}
	if now, err := w.store.Webhook(t.Context(), lost.ID); err != nil || string(now.Secret) != "gone:secret" {
		t.Errorf("the lost one is changed: %q, %v", now.Secret, err)
	}
}

func TestOldDeliveriesGoAndThoseBeyondTheMost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	few, many := w.create(t, "few"), w.create(t, "many")
	deliver := func(hook string, n int, state hearth.DeliveryState, ended time.Time) {
		t.Helper()
		all := make([]hearth.WebhookDelivery, n)
		for i := range all {
			id := newid.New()
			all[i] = hearth.WebhookDelivery{
				ID: id, WebhookID: hook, Event: hearth.WebhookAlarmRaised, Body: json.RawMessage("{}"), State: state, Line: hook + "/" + id, Seq: id,
				CreatedAt: w.now, EndedAt: ended,
			}
			if state == hearth.DeliveryPending {
				all[i].NextAt = w.now
			}
		}
		if err := w.store.CreateDeliveries(t.Context(), all, hearth.SideEffects{}); err != nil {
			t.Fatal(err)
		}
	}
	old, young := w.now.Add(-hearth.DeliveryTTL-time.Second), w.now.Add(-hearth.DeliveryTTL+time.Second)
	deliver(few.ID, 3, hearth.DeliverySucceeded, old)
	deliver(few.ID, 2, hearth.DeliveryFailed, old)
	deliver(few.ID, 4, hearth.DeliverySucceeded, young)
	deliver(few.ID, 1, hearth.DeliveryPending, time.Time{})
	deliver(many.ID, hearth.MaxDeliveries-1, hearth.DeliverySucceeded, young)
	deliver(many.ID, 700, hearth.DeliveryFailed, young.Add(-time.Millisecond)) // the oldest go first
	for round, want := range []int{5 + 699, 0} {
		if n, err := w.CleanUp(t.Context()); err != nil || n != want {
			t.Errorf("round %d: %d removed, %v; want %d", round, n, err, want)
		}
	}
	for hook, want := range map[string]string{few.ID: "1 4 0", many.ID: fmt.Sprint("0 ", hearth.MaxDeliveries-1, " 1")} {
		counts, err := w.store.CountDeliveries(t.Context(), hook)
		if got := fmt.Sprint(counts[hearth.DeliveryPending], counts[hearth.DeliverySucceeded], counts[hearth.DeliveryFailed]); err != nil || got != want {
			t.Errorf("there are %s, %v; want %s", got, err, want)
		}
	}
}
