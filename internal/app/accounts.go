package app

import (
	"context"

	"hearth"
	"hearth/internal/core/account"
	"hearth/internal/keyshare"
)

// NewUser is an account about to be made.
type NewUser = account.NewUser

// openAccounts opens the signing keys, making them at the first start, and builds the accounts.
func (a *App) openAccounts(ctx context.Context) (err error) {
	err = a.secrets.Open(ctx, keyshare.SigningKeys, func(path string) error {
		a.keys, err = account.OpenKeyRing(account.KeyRingOptions{Path: path, AccessTTL: a.config.AccessTTL, Clock: a.options.Clock})
		return err
	})
	if err != nil {
		return err
	}
	a.people, err = account.New(account.Options{
		Store: a.store, Keys: a.keys, Clock: a.options.Clock, Logger: a.log, Issuer: a.config.PublicURL,
		AccessTTL: a.config.AccessTTL, RefreshTTL: a.config.RefreshTTL, SignUp: account.SignUp(a.config.Signup), Invited: a.orgs.Invited,
		BcryptCost: a.config.BcryptCost, HashSlots: a.config.HashSlots(),
		Observers: []account.SessionObserver{a.endings},
		Sealer:    a.sealer("session.origin"), Notices: a.sealer(noticeField),
	})
	return err
}

// CreateUser makes an account; it may run beside a server. CodeValidationFailed, CodeEmailTaken.
func (a *App) CreateUser(ctx context.Context, n NewUser) (hearth.User, error) {
	return a.people.CreateUser(ctx, n)
}

// SetupToken returns the token with which the first admin is made; "" if there is a user.
func (a *App) SetupToken(ctx context.Context) (string, error) { return a.people.SetupToken(ctx) }
