package app

import (
	"context"

	"hearth/internal/core/orgs"
)

// memberships tells everybody who wants to know that a membership ended. It is complete before the first end.
type memberships struct{ all []orgs.Observer }

// MembershipEnded implements orgs.Observer.
func (m *memberships) MembershipEnded(userID, orgID string) {
	for _, observer := range m.all {
		observer.MembershipEnded(userID, orgID)
	}
}

// openOrganizations builds the organizations.
func (a *App) openOrganizations(ctx context.Context) error {
	secret, err := a.secrets.Secret(ctx, "invitations.key")
	if err != nil {
		return err
	}
	options := orgs.Options{
		Store: a.store, Users: a.store, Clock: a.options.Clock, Secret: secret, Observers: []orgs.Observer{a.memberships},
	}
	if a.others != nil {
		options.OnRoles = a.others.RolesChanged
		a.memberships.all = append(a.memberships.all, a.others)
		a.endings.all = append(a.endings.all, a.others)
	}
	a.orgs, err = orgs.New(options)
	return err
}
