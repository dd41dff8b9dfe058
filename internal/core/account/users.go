package account

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"slices"

	"hearth/internal/newid"

	"hearth"
)

// NewUser is an account about to be made.
type NewUser struct {
	Name     string
	Email    string
	Password string
	Role     hearth.Role
	// Invitation is the token of an invitation, for SignUp.
	Invitation string
}

// prepare validates and hashes: everything of a new user that needs no store.
func (s *Service) prepare(ctx context.Context, n NewUser) (hearth.User, error) {
	now := s.now()
	user := hearth.User{ID: newid.New(), Name: n.Name, Email: n.Email, Role: n.Role, CreatedAt: now, UpdatedAt: now}
	if errs := append(user.Validate("body."), checkNewPassword(n.Password, "body.password")...); len(errs) > 0 {
		return user, hearth.Invalid(errs...)
	}
	user.Email, _ = hearth.NormalizeEmail(n.Email)
	if earlier := earlierEmail(user.Email); earlier != "" {
		switch _, err := s.store.UserByEmail(ctx, earlier); {
		case err == nil:
			return user, hearth.Errorf(hearth.CodeEmailTaken, "there is an account with this e-mail")
		case hearth.ErrorCode(err) != hearth.CodeNotFound:
			return user, err
		}
	}
	var err error
	user.PasswordHash, err = s.hashes.hash(ctx, n.Password)
	return user, err
}

// SignUp makes an account with the role user, whatever Role says. CodeForbidden where sign-up is closed, or by invitation
// and the token is not that of one for the e-mail, which is checked before anything else; CodeValidationFailed; CodeEmailTaken.
func (s *Service) SignUp(ctx context.Context, caller hearth.Caller, n NewUser, key *hearth.IdempotencyRequest) (hearth.User, error) {
	if err := s.maySignUp(ctx, n); err != nil {
		return hearth.User{}, err
	}
	n.Role = hearth.RoleUser
	user, err := s.prepare(ctx, n)
	if err != nil {
		return user, err
	}
	effects := s.note(ctx, event{caller: caller, actor: "user:" + user.ID, action: "user.signup", userID: user.ID})
	if effects.Idempotency, err = key.Record(user); err != nil {
		return user, err
	}
	return user, s.logged(ctx, s.store.CreateUser(ctx, user, effects), effects)
}

func (s *Service) maySignUp(ctx context.Context, n NewUser) error {
	refusal := hearth.Errorf(hearth.CodeForbidden, "sign-up needs an invitation")
	switch s.options.SignUp {
	case SignUpOpen:
		return nil
	case SignUpInvite:
		email, valid := hearth.NormalizeEmail(n.Email)
		if !valid || n.Invitation == "" || s.options.Invited == nil {
			return refusal
		}
		invited, ok, err := s.options.Invited(ctx, n.Invitation)
		if err != nil || ok && invited == email {
			return err
		}
		return refusal
	}
	return hearth.Errorf(hearth.CodeForbidden, "sign-up is closed")
}

// CreateUser makes an account for the command line; it works while a server runs. CodeValidationFailed,
// CodeEmailTaken.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (hearth.User, error) {
	user, err := s.prepare(ctx, n)
	if err != nil {
		return user, err
	}
	effects := s.note(ctx, event{
		actor: "cli", action: "user.create", userID: user.ID, changes: map[string]hearth.Change{"role": {After: user.Role}},
	})
	return user, s.logged(ctx, s.store.CreateUser(ctx, user, effects), effects)
}

// SetupToken returns the token with which the first admin can be made, the same at every call and on every instance; "" once there is an admin.
func (s *Service) SetupToken(ctx context.Context) (string, error) {
	exists, err := s.store.AnyAdmin(ctx)
	if err != nil || exists {
		return "", err
	}
	return s.setupToken(), nil
}

// setupToken derives the token from the key file, which all instances share.
func (s *Service) setupToken() string {
	return base64.RawURLEncoding.EncodeToString(s.keys.derive("setup", ""))
}

// SetUp makes the first admin and signs in. CodeForbidden for a wrong token and once there is an admin; CodeEmailTaken.
func (s *Service) SetUp(ctx context.Context, caller hearth.Caller, token string, n NewUser) (Grant, error) {
	refusal := hearth.Errorf(hearth.CodeForbidden, "this set-up link is not valid, or no longer")
	if subtle.ConstantTimeCompare([]byte(s.setupToken()), []byte(token)) != 1 {
		s.logRefusal(ctx, event{caller: caller, action: "auth.setup", result: hearth.CodeForbidden})
		return Grant{}, refusal
	}
	n.Role = hearth.RoleAdmin
	user, err := s.prepare(ctx, n)
	if err != nil {
		return Grant{}, err
	}
	effects := s.note(ctx, event{
		caller: caller, actor: "user:" + user.ID, action: "auth.setup", userID: user.ID,
		changes: map[string]hearth.Change{"role": {After: user.Role}},
	})
	err = s.logged(ctx, s.store.CreateFirstAdmin(ctx, user, effects), effects)
	if hearth.ErrorCode(err) == hearth.CodeConflict {
		return Grant{}, refusal
	}
	if err != nil {
		return Grant{}, err
	}
	return s.open(ctx, caller, opening{user: user})
}

// Me returns the caller's own account.
func (s *Service) Me(ctx context.Context, caller hearth.Caller) (hearth.User, error) {
	return s.store.User(ctx, caller.UserID)
}

// Caller returns a user as a caller without a session, and without roles in organizations; CodeNotFound, CodeTokenRevoked for a disabled one.
func (s *Service) Caller(ctx context.Context, userID string) (hearth.Caller, error) {
	user, err := s.store.User(ctx, userID)
	if err == nil && user.Disabled {
		err = errRevokedToken()
	}
	return hearth.Caller{UserID: user.ID, Role: user.Role}, err
}

// MeUpdate is what users may change of themselves; nil leaves it.
type MeUpdate struct {
	TimeZone *string
	Name     *string
	Email    *string
	// CurrentPassword is needed where Email is another one.
	CurrentPassword string
	// Check, if set, may refuse the account as it is.
	Check func(hearth.User) error
}

// UpdateMe changes the caller's own account; a new e-mail is mailed a link first, see requestEmail. CodeValidationFailed, and what
// update.Check returns.
func (s *Service) UpdateMe(ctx context.Context, caller hearth.Caller, update MeUpdate) (hearth.User, error) {
	if update.Email != nil {
		me, err := s.store.User(ctx, caller.UserID)
		if err != nil {
			return me, err
		}
		if email, _ := hearth.NormalizeEmail(*update.Email); email != me.Email {
			return s.requestEmail(ctx, caller, me, email, update)
		}
	}
	return s.updateMe(ctx, caller, update, func(*hearth.UserChange) {})
}

// updateMe changes what update has but for the e-mail, and what also adds to the same write.
func (s *Service) updateMe(ctx context.Context, caller hearth.Caller, update MeUpdate, also func(*hearth.UserChange)) (hearth.User, error) {
	var effects hearth.SideEffects
	user, _, err := s.store.UpdateUser(ctx, caller.UserID, func(user hearth.User) (hearth.UserChange, error) {
		effects = hearth.SideEffects{}
		e := event{caller: caller, action: "user.update", userID: user.ID, changes: map[string]hearth.Change{}}
		to := hearth.UserChange{}
		if update.Check != nil {
			if err := update.Check(user); err != nil {
				return to, err
			}
		}
		if update.Name != nil && *update.Name != user.Name {
			e.changes["name"] = hearth.Change{Before: user.Name, After: *update.Name}
			user.Name = *update.Name
		}
		if update.TimeZone != nil && *update.TimeZone != user.TimeZone {
			e.changes["time_zone"] = hearth.Change{Before: user.TimeZone, After: *update.TimeZone}
			user.TimeZone = *update.TimeZone
		}
		if errs := user.Validate("body."); len(errs) > 0 {
			return to, hearth.Invalid(errs...)
		}
		if len(e.changes) > 0 {
			user.UpdatedAt = s.now()
			effects = s.note(ctx, e)
			to.SideEffects = effects
		}
		to.User = user
		also(&to)
		return to, nil
	})
	if err = s.logged(ctx, err, effects); err == nil && update.TimeZone != nil {
		s.states.Delete(caller.SessionID)
	}
	return user, err
}

// Users lists accounts, for admins; CodeForbidden.
func (s *Service) Users(
	ctx context.Context, caller hearth.Caller, filter hearth.UserFilter, page hearth.Page,
) (hearth.List[hearth.User], error) {
	if !caller.IsAdmin() {
		return hearth.List[hearth.User]{}, errNotAdmin()
	}
	return s.store.Users(ctx, filter, page)
}

// UserByEmail returns the account with an e-mail address, for admins. CodeForbidden, CodeNotFound.
func (s *Service) UserByEmail(ctx context.Context, caller hearth.Caller, email string) (hearth.User, error) {
	if !caller.IsAdmin() {
		return hearth.User{}, errNotAdmin()
	}
	normalized, _ := hearth.NormalizeEmail(email)
	return s.store.UserByEmail(ctx, normalized)
}

// UserUpdate is what an admin may change of an account; nil leaves it.
type UserUpdate struct {
	Role     *hearth.Role
	Disabled *bool
	// Unlock ends a lockout.
	Unlock bool
}

// UpdateUser changes an account, for admins. Access tokens of before are refused from then on, and a disabled user's
// sessions end. CodeForbidden, CodeNotFound, CodeValidationFailed; CodeConflict for the last admin.
func (s *Service) UpdateUser(ctx context.Context, caller hearth.Caller, id string, update UserUpdate) (hearth.User, error) {
	if !caller.IsAdmin() {
		return hearth.User{}, errNotAdmin()
	}
	if update.Role != nil && !update.Role.Valid() {
		return hearth.User{}, hearth.Invalid(hearth.FieldError{Location: "body.role", Message: "must be admin or user"})
	}
	var sessions []hearth.Session
	if update.Unlock {
		var err error
		if sessions, err = s.store.Sessions(ctx, id, s.now()); err != nil {
			return hearth.User{}, err
		}
	}
	var epoch int64
	var effects hearth.SideEffects
	user, ended, err := s.store.UpdateUser(ctx, id, func(user hearth.User) (hearth.UserChange, error) {
		effects = hearth.SideEffects{}
		e := event{caller: caller, action: "user.update", userID: user.ID, changes: map[string]hearth.Change{}}
		to := hearth.UserChange{}
		epoch = user.Epoch
		if update.Role != nil && *update.Role != user.Role {
			e.changes["role"] = hearth.Change{Before: user.Role, After: *update.Role}
			user.Role = *update.Role
			user.Epoch = epoch + 1
		}
		if update.Disabled != nil && *update.Disabled != user.Disabled {
			e.changes["disabled"] = hearth.Change{Before: user.Disabled, After: *update.Disabled}
			user.Disabled = *update.Disabled
			user.Epoch = epoch + 1
			if user.Disabled {
				to.EndSessions, to.DropReset = hearth.EndDisabled, true
			}
		}
		if update.Unlock {
			to.ClearTries = [][]byte{s.triesKey(user.Email)}
			for _, session := range sessions {
				key := s.familiarKey(user, session.Network)
				if !slices.ContainsFunc(to.ClearTries, func(other []byte) bool { return bytes.Equal(other, key) }) {
					to.ClearTries = append(to.ClearTries, key)
				}
			}
			e.changes["locked"] = hearth.Change{After: false}
		}
		if len(e.changes) > 0 {
			user.UpdatedAt = s.now()
			effects = s.note(ctx, e)
			to.SideEffects = effects
		}
		to.User = user
		return to, nil
	})
	if err := s.logged(ctx, err, effects); err != nil {
		return user, err
	}
	s.ended(user.ID, ended...)
	if user.Epoch != epoch {
		s.changed(user.ID)
	}
	return user, nil
}

func errNotAdmin() error { return hearth.Errorf(hearth.CodeForbidden, "only an admin may do this") }
