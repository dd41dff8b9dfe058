// Package people serves the operations about people: accounts, sessions, API keys, organizations and what each is notified of.
package people

import (
	"context"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/account"
	"hearth/internal/core/notify"
	"hearth/internal/core/orgs"
)

// Services are what the operations about people call. Those of a service that is nil are not served.
type Services struct {
	// Accounts are those of users.
	Accounts *account.Service
	// Organizations are organizations, members and invitations; they are needed.
	Organizations *orgs.Service
	// Notifications are those of users.
	Notifications *notify.Service
	// QuotaUse returns what a scope has used of the quotas that are set for it.
	QuotaUse func(ctx context.Context, scope hearth.Scope) ([]hearth.QuotaUse, error)
}

// people is what the handlers of this package share.
type people struct {
	*rest.Router
	Services
}

// Register adds the operations to a router.
func Register(router *rest.Router, services Services) {
	a := &people{router, services}
	a.registerAccounts()
	a.registerUsers()
	a.registerAPIKeys()
	a.registerOrganizations()
	a.registerNotifications()
}
