package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"hearth"
)

// APIKeyStore is what the suite of API keys is about.
type APIKeyStore interface {
	hearth.APIKeyStore
	organizations
	PendingOutbox(ctx context.Context, limit int) ([]hearth.OutboxJob, error)
}

// APIKeys is the suite for hearth.APIKeyStore. open returns an empty store; it is called once a test, in parallel.
func APIKeys(t *testing.T, open func(*testing.T) APIKeyStore) {
	for name, test := range map[string]func(*testing.T, APIKeyStore){
		"returns what was stored, by id and by hash":       keysRoundTrip,
		"lists newest first, page by page, by user":        keysPages,
		"bounds the keys of a user":                        keysBound,
		"deletes a key of that user alone":                 keysDelete,
		"notes the last use, which never goes back":        keysTouch,
		"an organization takes the keys bound to it along": keysOfOrganization,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// apiKey returns a key of ann's; n makes ids, hashes and times that ascend.
func apiKey(n int) hearth.APIKey {
	return hearth.APIKey{
		ID: fmt.Sprintf("0195b000-0000-7000-a000-%012d", n), UserID: "ann", Name: "ci", Prefix: "hk_abc", Hash: fmt.Appendf(nil, "hash %d", n),
		Scopes: []hearth.KeyScope{hearth.KeyDevicesRead}, CreatedAt: epoch.Add(time.Duration(n) * time.Second),
	}
}

func createKey(t *testing.T, s APIKeyStore, key hearth.APIKey) {
	t.Helper()
	if err := s.CreateAPIKey(t.Context(), key, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
}

func keysRoundTrip(t *testing.T, s APIKeyStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	full := apiKey(2)
	full.Scopes, full.OrganizationID = hearth.KeyScopes(), "team"
	full.ExpiresAt, full.LastUsedAt = epoch.Add(time.Hour), epoch.Add(time.Minute)
	for _, want := range []hearth.APIKey{apiKey(1), full} {
		createKey(t, s, want)
		got, owner, err := s.APIKey(t.Context(), want.ID)
		if err != nil || owner.ID != "ann" || owner.Email != "ann@example.com" {
			t.Errorf("the owner is %+v: %v", owner, err)
		}
		same(t, got, want)
		got, err = s.APIKeyByHash(t.Context(), want.Hash)
		if err != nil {
			t.Error(err)
		}
		same(t, got, want)
	}
	_, _, err := s.APIKey(t.Context(), "none")
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.APIKeyByHash(t.Context(), []byte("none"))
	wantCode(t, err, hearth.CodeNotFound)
	orphan := apiKey(3)
	orphan.OrganizationID = "gone"
	wantCode(t, s.CreateAPIKey(t.Context(), orphan, hearth.SideEffects{}), hearth.CodeNotFound)
}

func keysPages(t *testing.T, s APIKeyStore) {
	person(t, s, "ann")
	person(t, s, "bob")
	for n := range 5 {
		key := apiKey(n)
		key.CreatedAt = epoch.Add(time.Duration(n/2) * time.Second) // pairs of the same time
		if n == 3 {
			key.UserID = "bob"
		}
		createKey(t, s, key)
	}
	for user, order := range map[string][]int{"ann": {4, 2, 1, 0}, "bob": {3}, "eve": nil} {
		var want, got []string
		for _, n := range order {
			want = append(want, apiKey(n).ID)
		}
		page := hearth.Page{Limit: 2, Count: true}
		for {
			list, err := s.APIKeys(t.Context(), user, page)
			if err != nil || list.Total != int64(len(want)) {
				t.Fatalf("%s: a total of %d, %v", user, list.Total, err)
			}
			for _, key := range list.Items {
				got = append(got, key.ID)
			}
			if page.Cursor = list.Next; page.Cursor.IsZero() {
				break
			}
		}
		same(t, got, want)
	}
}

func keysBound(t *testing.T, s APIKeyStore) {
	person(t, s, "ann")
	person(t, s, "bob")
	for n := range hearth.MaxAPIKeys {
		createKey(t, s, apiKey(n))
	}
	next := apiKey(hearth.MaxAPIKeys)
	wantCode(t, s.CreateAPIKey(t.Context(), next, hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}), hearth.CodeConflict)
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
	another := apiKey(hearth.MaxAPIKeys + 1)
	another.UserID = "bob"
	createKey(t, s, another)
	if err := s.DeleteAPIKey(t.Context(), "ann", apiKey(0).ID, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	createKey(t, s, next)
}

func keysDelete(t *testing.T, s APIKeyStore) {
	person(t, s, "ann")
	createKey(t, s, apiKey(1))
	job := hearth.SideEffects{Jobs: []hearth.OutboxJob{outboxJob(1)}}
	wantCode(t, s.DeleteAPIKey(t.Context(), "bob", apiKey(1).ID, job), hearth.CodeNotFound)
	wantCode(t, s.DeleteAPIKey(t.Context(), "ann", "none", job), hearth.CodeNotFound)
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 0 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
	if err := s.DeleteAPIKey(t.Context(), "ann", apiKey(1).ID, job); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.APIKey(t.Context(), apiKey(1).ID)
	wantCode(t, err, hearth.CodeNotFound)
	_, err = s.APIKeyByHash(t.Context(), apiKey(1).Hash)
	wantCode(t, err, hearth.CodeNotFound)
	wantCode(t, s.DeleteAPIKey(t.Context(), "ann", apiKey(1).ID, hearth.SideEffects{}), hearth.CodeNotFound)
	if jobs, err := s.PendingOutbox(t.Context(), 10); err != nil || len(jobs) != 1 {
		t.Errorf("the outbox holds %v, %v", jobs, err)
	}
}

func keysTouch(t *testing.T, s APIKeyStore) {
	person(t, s, "ann")
	createKey(t, s, apiKey(1))
	for _, minute := range []int{2, 1} {
		if err := s.TouchAPIKey(t.Context(), apiKey(1).ID, epoch.Add(time.Duration(minute)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	want := apiKey(1)
	want.LastUsedAt = epoch.Add(2 * time.Minute)
	got, err := s.APIKeyByHash(t.Context(), want.Hash)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
	if err := s.TouchAPIKey(t.Context(), "none", epoch); err != nil {
		t.Errorf("a key that is gone: %v", err)
	}
}

func keysOfOrganization(t *testing.T, s APIKeyStore) {
	person(t, s, "ann")
	organization(t, s, "team", "ann", 0)
	bound, free := apiKey(1), apiKey(2)
	bound.OrganizationID = "team"
	createKey(t, s, bound)
	createKey(t, s, free)
	if _, err := s.DeleteOrganization(t.Context(), "team", hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	list, err := s.APIKeys(t.Context(), "ann", hearth.Page{})
	if err != nil {
		t.Fatal(err)
	}
	same(t, list.Items, []hearth.APIKey{free})
}
