package orgs

import (
	"context"
	"sync"
	"time"

	"hearth"
)

// rolesTrust is how long a person's roles are taken for true without asking: how late another process's change may be.
const rolesTrust = time.Second

// roles is what is known of people's roles without asking the store.
type roles struct {
	mu      sync.RWMutex
	known   map[string]knownRoles
	limit   int
	changes uint64
	// started is what ages are counted from, by a clock that only goes forward.
	started time.Time
}

type knownRoles struct {
	orgs   map[string]hearth.OrgRole
	readAt time.Duration
}

func newRoles(limit int) *roles {
	return &roles{known: map[string]knownRoles{}, limit: limit, started: time.Now()}
}

// Roles returns the organizations that a person is in, and the role in each. Nobody may change the map. A change in this
// process shows at once, one of another process within a second.
func (s *Service) Roles(ctx context.Context, userID string) (map[string]hearth.OrgRole, error) {
	r := s.roles
	now := time.Since(r.started)
	r.mu.RLock()
	known, ok := r.known[userID]
	at := r.changes
	r.mu.RUnlock()
	if ok && now-known.readAt < rolesTrust {
		return known.orgs, nil
	}
	orgs, err := s.store.Roles(ctx, userID)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changes != at {
		return orgs, nil // what was read may be older than a change
	}
	if _, there := r.known[userID]; !there && len(r.known) >= r.limit {
		for other := range r.known { // a random one
			delete(r.known, other)
			break
		}
	}
	r.known[userID] = knownRoles{orgs, now}
	return orgs, nil
}

func (r *roles) forget(userID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes++
	delete(r.known, userID)
}

// Forget has a person's roles read anew: another process has changed them.
func (s *Service) Forget(userID string) { s.roles.forget(userID) }

// rolesChanged is called after a change of a person's roles.
func (s *Service) rolesChanged(userID string) {
	s.roles.forget(userID)
	s.options.OnRoles(userID)
}
