package orgs

import (
	"context"
	"time"

	"hearth"
)

const (
	// rolesTTL is how late another process's change of a user's roles may show.
	rolesTTL = time.Second
	// maxRoles bounds the users whose roles are kept in memory.
	maxRoles = 100_000
)

// Roles returns the organizations that a user is in, and the role in each. The map must not be changed. A change in this
// process shows at once, one of another process within a second.
func (s *Service) Roles(ctx context.Context, userID string) (map[string]hearth.OrgRole, error) {
	orgs, ok, version := s.roles.Find(userID)
	if ok {
		return orgs, nil
	}
	orgs, err := s.store.Roles(ctx, userID)
	if err != nil {
		return nil, err
	}
	s.roles.Keep(version, userID, orgs)
	return orgs, nil
}

// Forget makes a user's roles be read again: another process has changed them.
func (s *Service) Forget(userID string) { s.roles.Delete(userID) }

// rolesChanged is called after a change of a user's roles.
func (s *Service) rolesChanged(userID string) {
	s.roles.Delete(userID)
	s.options.OnRoles(userID)
}
