package record

import (
	"context"
	"time"

	"hearth"
)

var (
	_ hearth.UserStore    = (*Aggregates)(nil)
	_ hearth.SessionStore = (*Aggregates)(nil)
)

// user is the stored form of hearth.User.
type user struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	Email        string      `json:"email"`
	Role         hearth.Role `json:"role"`
	PasswordHash []byte      `json:"password_hash,omitempty" bson:"password"`
	TimeZone     string      `json:"time_zone,omitempty"`
	Disabled     bool        `json:"disabled,omitempty"`
	Epoch        int64       `json:"epoch,omitempty"`
	CreatedAt    time.Time   `json:"created_at,omitzero" bson:"created"`
	UpdatedAt    time.Time   `json:"updated_at,omitzero" bson:"updated"`
	LastLoginAt  time.Time   `json:"last_login_at,omitzero" bson:"last_login"`
}

var users = describe(&Kind[user]{Schema: Schema{
	Name: "users", Noun: "user",
	Indexes: []Index{
		{Fields: []string{"email"}},
		{Fields: []string{"created_at", "id"}},
		{Fields: []string{"role", "created_at", "id"}},
	},
	Search: []string{"name", "email"},
	Claim:  &Claim{Field: "email", Collection: "emails", By: "user"},
	Taken:  func() error { return hearth.Errorf(hearth.CodeEmailTaken, "there is an account with this e-mail") },
}})

// tries are the failed logins in a row under a key: a hash of an e-mail, whether an account has it or not.
type tries struct {
	Key         []byte    `json:"key,omitempty"`
	Failed      int       `json:"failed"`
	LockedUntil time.Time `json:"locked_until,omitzero"`
	UpdatedAt   time.Time `json:"updated_at,omitzero" bson:"updated"`
}

// keepTries is for how long what nobody touched is kept if no clean-up removes it before.
const keepTries = 30 * 24 * time.Hour

var loginTries = describe(&Kind[tries]{
	Schema:    Schema{Name: "login_tries", Noun: "failed logins", ID: []string{"key"}, Indexes: []Index{{Fields: []string{"updated_at"}}}},
	ExpiresAt: func(t *tries) time.Time { return t.UpdatedAt.Add(keepTries) },
})

// passwordReset is the stored form of hearth.PasswordReset.
type passwordReset struct {
	ID        string    `json:"id"`
	UserID    string    `json:"user_id"`
	Hash      []byte    `json:"hash,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

var passwordResets = describe(&Kind[passwordReset]{
	Schema: Schema{
		Name: "password_resets", Noun: "password reset", Of: map[string]string{"user_id": "users"},
		Indexes: []Index{{Fields: []string{"hash"}}, {Fields: []string{"user_id", "expires_at"}}, {Fields: []string{"expires_at"}}},
	},
	ExpiresAt: func(r *passwordReset) time.Time { return r.ExpiresAt },
})

func asUser(u user) hearth.User { return hearth.User(u) }

func asReset(r passwordReset) hearth.PasswordReset { return hearth.PasswordReset(r) }

// CreateUser implements hearth.UserStore.
func (a *Aggregates) CreateUser(ctx context.Context, u hearth.User, effects hearth.SideEffects) error {
	return create(ctx, a.b, Write{Name: "CreateUser", Effects: effects}, users, user(u), "")
}

// The rules about all users; see Tx.Guard.
const (
	guardAdmins     = "admins"     // an enabled admin always remains
	guardFirstAdmin = "first-user" // one first admin
)

// CreateFirstAdmin implements hearth.UserStore.
func (a *Aggregates) CreateFirstAdmin(ctx context.Context, u hearth.User, effects hearth.SideEffects) error {
	w := Write{Name: "CreateFirstAdmin", Key: "guards/" + guardFirstAdmin, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := tx.Guard(ctx, guardFirstAdmin); err != nil {
			return err
		}
		if exists, err := users.Exists(ctx, tx, Eq("role", hearth.RoleAdmin)); err != nil || exists {
			return orError(err, hearth.Errorf(hearth.CodeConflict, "there is an administrator already"))
		}
		return users.Insert(ctx, tx, user(u))
	})
}

// orError returns err, or refusal if there is none.
func orError(err error, refusal *hearth.Error) error {
	if err != nil {
		return err
	}
	return refusal
}

// AnyAdmin implements hearth.UserStore.
func (a *Aggregates) AnyAdmin(ctx context.Context) (bool, error) {
	return view(ctx, a.b, "AnyAdmin", func(ctx context.Context, r Reader) (bool, error) {
		return users.Exists(ctx, r, Eq("role", hearth.RoleAdmin))
	})
}

// User implements hearth.UserStore.
func (a *Aggregates) User(ctx context.Context, id string) (hearth.User, error) {
	return get(ctx, a.b, "User", users, asUser, id)
}

// UserByEmail implements hearth.UserStore.
func (a *Aggregates) UserByEmail(ctx context.Context, email string) (hearth.User, error) {
	return first(ctx, a.b, "UserByEmail", users, asUser, Eq("email", email))
}

// Users implements hearth.UserStore.
func (a *Aggregates) Users(ctx context.Context, filter hearth.UserFilter, page hearth.Page) (hearth.List[hearth.User], error) {
	where := given(Eq("role", filter.Role))
	if filter.Query != "" {
		where = append(where, Matches(filter.Query))
	}
	return listing[user, hearth.User]{"Users", users, where, newestFirst, asUser}.page(ctx, a.b, page)
}

// changed is what a UserChange came to.
type changed struct {
	user  hearth.User
	ended []string
}

// UpdateUser implements hearth.UserStore.
func (a *Aggregates) UpdateUser(
	ctx context.Context, id string, change func(hearth.User) (hearth.UserChange, error),
) (hearth.User, []string, error) {
	done, err := update(ctx, a.b, Write{Name: "UpdateUser", Key: "users/" + id}, func(ctx context.Context, tx Tx) (changed, error) {
		before, err := users.Get(ctx, tx, id)
		if err != nil {
			return changed{}, err
		}
		to, err := change(hearth.User(before))
		if err != nil {
			return changed{}, err
		}
		return a.changeUser(ctx, tx, before, to)
	})
	return done.user, done.ended, err
}

// changeUser does what a UserChange asks for.
func (a *Aggregates) changeUser(ctx context.Context, tx Tx, before user, to hearth.UserChange) (done changed, err error) {
	tx.With(to.SideEffects)
	done.user = to.User
	isAdmin := func(u hearth.User) bool { return u.Role == hearth.RoleAdmin && !u.Disabled }
	if isAdmin(hearth.User(before)) && !isAdmin(to.User) {
		if err := keepAdmin(ctx, tx, before.ID); err != nil {
			return done, err
		}
	}
	if err := users.Replace(ctx, tx, user(to.User)); err != nil {
		return done, err
	}
	if to.DropReset {
		if err := passwordResets.DeleteWhere(ctx, tx, Eq("user_id", before.ID)); err != nil {
			return done, err
		}
	}
	for _, key := range to.ClearTries {
		if err := forget(ctx, tx, loginTries, key); err != nil {
			return done, err
		}
	}
	if to.EndSessions != "" {
		done.ended, err = endSessions(ctx, tx, hearth.SessionEnd{ID: to.KeepSession, UserID: before.ID, At: a.b.Now(), Reason: to.EndSessions})
	}
	return done, err
}

// keepAdmin refuses to take away the last enabled admin.
func keepAdmin(ctx context.Context, tx Tx, id string) error {
	if err := tx.Guard(ctx, guardAdmins); err != nil {
		return err
	}
	other, err := users.Exists(ctx, tx, Eq("role", hearth.RoleAdmin), Eq("disabled", false), Ne("id", id))
	if err != nil || !other {
		return orError(err, hearth.Errorf(hearth.CodeConflict, "this is the last admin"))
	}
	return nil
}

func (t tries) tries() hearth.Tries {
	return hearth.Tries{Failed: t.Failed, LockedUntil: t.LockedUntil, UpdatedAt: t.UpdatedAt}
}

// readTries returns what is counted under a key.
func readTries(ctx context.Context, r Reader, key []byte) (hearth.Tries, error) {
	stored, err := loginTries.Get(ctx, r, key)
	_, err = absent(err)
	return stored.tries(), err
}

// Tries implements hearth.UserStore.
func (a *Aggregates) Tries(ctx context.Context, key []byte) (hearth.Tries, error) {
	return view(ctx, a.b, "Tries", func(ctx context.Context, r Reader) (hearth.Tries, error) { return readTries(ctx, r, key) })
}

// UpdateTries implements hearth.UserStore.
func (a *Aggregates) UpdateTries(
	ctx context.Context, key []byte, change func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error),
) (hearth.Tries, error) {
	w := Write{Name: "UpdateTries", Key: "login_tries/" + string(key)}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Tries, error) {
		stored, err := loginTries.Get(ctx, tx, key)
		isNew, err := absent(err)
		if err != nil {
			return hearth.Tries{}, err
		}
		after, effects, err := change(stored.tries())
		if err != nil {
			return hearth.Tries{}, err
		}
		tx.With(effects)
		record := tries{key, after.Failed, after.LockedUntil, after.UpdatedAt}
		empty := after == (hearth.Tries{})
		switch {
		case isNew && empty:
		case isNew:
			err = loginTries.Insert(ctx, tx, record)
		case empty:
			err = loginTries.Delete(ctx, tx, key)
		default:
			err = loginTries.Replace(ctx, tx, record)
		}
		return after, err
	})
}

// CreatePasswordReset implements hearth.UserStore. The user is held, so that of two requests at once one sees the other's reset.
func (a *Aggregates) CreatePasswordReset(
	ctx context.Context, reset hearth.PasswordReset, spacing time.Duration, effects hearth.SideEffects,
) error {
	w := Write{Name: "CreatePasswordReset", Key: "users/" + reset.UserID, Effects: effects}
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if err := users.Hold(ctx, tx, reset.UserID); err != nil {
			return err
		}
		recent, err := passwordResets.Exists(ctx, tx, Eq("user_id", reset.UserID), Gt("expires_at", reset.ExpiresAt.Add(-spacing)))
		if err != nil || recent {
			return orError(err, hearth.Errorf(hearth.CodeConflict, "a password reset was asked for a moment ago"))
		}
		return passwordResets.Insert(ctx, tx, passwordReset(reset))
	})
}

// PasswordReset implements hearth.UserStore.
func (a *Aggregates) PasswordReset(ctx context.Context, id string) (hearth.PasswordReset, error) {
	return get(ctx, a.b, "PasswordReset", passwordResets, asReset, id)
}

// PasswordResetByHash implements hearth.UserStore.
func (a *Aggregates) PasswordResetByHash(ctx context.Context, hash []byte) (hearth.PasswordReset, error) {
	return first(ctx, a.b, "PasswordResetByHash", passwordResets, asReset, Eq("hash", hash))
}

// UsePasswordReset implements hearth.UserStore.
func (a *Aggregates) UsePasswordReset(
	ctx context.Context, hash []byte, change func(hearth.PasswordReset, hearth.User) (hearth.UserChange, error),
) (hearth.User, []string, error) {
	w := Write{Name: "UsePasswordReset", Key: "password_resets/" + string(hash)}
	done, err := update(ctx, a.b, w, func(ctx context.Context, tx Tx) (changed, error) {
		reset, err := passwordResets.First(ctx, tx, Eq("hash", hash))
		if err != nil {
			return changed{}, err
		}
		before, err := users.Get(ctx, tx, reset.UserID)
		if err != nil {
			return changed{}, err
		}
		to, err := change(hearth.PasswordReset(reset), hearth.User(before))
		if err != nil {
			return changed{}, err
		}
		to.DropReset = true
		return a.changeUser(ctx, tx, before, to)
	})
	return done.user, done.ended, err
}

// Record implements hearth.UserStore.
func (a *Aggregates) Record(ctx context.Context, effects hearth.SideEffects) error {
	return a.b.Update(ctx, Write{Name: "Record", Effects: effects}, nothingElse)
}

// nothingElse is a step of which only what travels along is written.
func nothingElse(context.Context, Tx) error { return nil }
