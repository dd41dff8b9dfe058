package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"hearth"
)

var (
	_ hearth.UserStore    = (*Store)(nil)
	_ hearth.SessionStore = (*Store)(nil)
)

const userColumns = `u.id, u.name, u.email, u.role, u.password_hash, u.disabled, u.epoch, u.created_at, u.updated_at, u.last_login_at`

func scanUser(row rowScanner, more ...any) (hearth.User, error) {
	var u hearth.User
	var created, updated, login int64
	dest := append([]any{&u.ID, &u.Name, &u.Email, &u.Role, &u.PasswordHash, &u.Disabled, &u.Epoch, &created, &updated, &login}, more...)
	err := row.Scan(dest...)
	u.CreatedAt, u.UpdatedAt, u.LastLoginAt = fromMillis(created), fromMillis(updated), fromMillis(login)
	return u, err
}

// CreateUser implements hearth.UserStore.
func (s *Store) CreateUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error {
	return s.write(ctx, "CreateUser", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		return insertUser(t, user)
	})
}

// CreateFirstUser implements hearth.UserStore.
func (s *Store) CreateFirstUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error {
	return s.write(ctx, "CreateFirstUser", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var exists bool
		if err := t.row(`SELECT EXISTS(SELECT 1 FROM users)`).Scan(&exists); err != nil {
			return err
		}
		if exists {
			return hearth.Errorf(hearth.CodeConflict, "there is a user already")
		}
		return insertUser(t, user)
	})
}

func insertUser(t *tx, u hearth.User) error {
	_, err := t.exec(`INSERT INTO users(id, name, email, role, password_hash, disabled, epoch, created_at, updated_at, last_login_at)
		VALUES(?,?,?,?,?,?,?,?,?,?)`,
		u.ID, u.Name, u.Email, u.Role, u.PasswordHash, u.Disabled, u.Epoch, millis(u.CreatedAt), millis(u.UpdatedAt), millis(u.LastLoginAt))
	return emailTaken(err)
}

func emailTaken(err error) error {
	if isUnique(err) {
		return hearth.Errorf(hearth.CodeEmailTaken, "there is an account with this e-mail")
	}
	return err
}

// AnyUser implements hearth.UserStore.
func (s *Store) AnyUser(ctx context.Context) (exists bool, err error) {
	err = s.read(ctx, "AnyUser", func(r *reader) error { return r.row(`SELECT EXISTS(SELECT 1 FROM users)`).Scan(&exists) })
	return exists, err
}

// User implements hearth.UserStore.
func (s *Store) User(ctx context.Context, id string) (user hearth.User, err error) {
	err = s.read(ctx, "User", func(r *reader) error {
		user, err = scanUser(r.row(`SELECT `+userColumns+` FROM users u WHERE u.id=?`, id)) // by primary key
		return found(err, "user")
	})
	return user, err
}

// UserByEmail implements hearth.UserStore.
func (s *Store) UserByEmail(ctx context.Context, email string) (user hearth.User, err error) {
	err = s.read(ctx, "UserByEmail", func(r *reader) error {
		user, err = scanUser(r.row(`SELECT `+userColumns+` FROM users u WHERE u.email=?`, email)) // by the unique index
		return found(err, "user")
	})
	return user, err
}

// Users implements hearth.UserStore.
func (s *Store) Users(ctx context.Context, filter hearth.UserFilter, page hearth.Page) (hearth.List[hearth.User], error) {
	list := hearth.List[hearth.User]{Total: -1}
	var where []string
	var args []any
	if filter.Role != "" {
		where, args = append(where, `u.role=?`), append(args, filter.Role)
	}
	if filter.Query != "" {
		where = append(where, `(instr(lower(u.name), lower(?)) OR instr(lower(u.email), lower(?)))`)
		args = append(args, filter.Query, filter.Query)
	}
	all, allArgs := strings.Join(append([]string{`1`}, where...), ` AND `), args
	if !page.Cursor.IsZero() {
		created, err := strconv.ParseInt(page.Cursor.Key, 10, 64)
		if err != nil {
			return list, hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
		}
		where, args = append(where, `(u.created_at, u.id) < (?,?)`), append(args, created, page.Cursor.ID)
	}
	size := page.Size()
	err := s.read(ctx, "Users", func(r *reader) (err error) {
		if page.Count {
			if err := r.rowOnce(`SELECT count(*) FROM users u WHERE `+all, allArgs...).Scan(&list.Total); err != nil {
				return err
			}
		}
		// Walks users_created backwards, or users_role when a role is given.
		rows, err := r.queryOnce(`SELECT `+userColumns+` FROM users u WHERE `+strings.Join(append([]string{`1`}, where...), ` AND `)+
			` ORDER BY u.created_at DESC, u.id DESC LIMIT ?`, append(args, size+1)...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			user, err := scanUser(rows)
			if err != nil {
				return err
			}
			list.Items = append(list.Items, user)
		}
		return rows.Err()
	})
	if err == nil && len(list.Items) > size {
		list.Items = list.Items[:size]
		last := list.Items[size-1]
		list.Next = hearth.Cursor{Key: strconv.FormatInt(millis(last.CreatedAt), 10), ID: last.ID}
	}
	return list, err
}

// UpdateUser implements hearth.UserStore.
func (s *Store) UpdateUser(
	ctx context.Context, id string, change func(hearth.User) (hearth.UserChange, error),
) (user hearth.User, ended []string, err error) {
	err = s.write(ctx, "UpdateUser", func(t *tx) error {
		before, err := scanUser(t.row(`SELECT `+userColumns+` FROM users u WHERE u.id=?`, id))
		if err != nil {
			return found(err, "user")
		}
		to, err := change(before)
		if err != nil {
			return err
		}
		user = to.User
		ended, err = s.applyUserChange(t, before, to)
		return err
	})
	return user, ended, err
}

// applyUserChange writes what a UserChange asks for.
func (s *Store) applyUserChange(t *tx, before hearth.User, to hearth.UserChange) (ended []string, err error) {
	if err := s.writeEffects(t, to.SideEffects); err != nil {
		return nil, err
	}
	u := to.User
	isAdmin := func(u hearth.User) bool { return u.Role == hearth.RoleAdmin && !u.Disabled }
	if isAdmin(before) && !isAdmin(u) {
		var other bool
		err := t.row(`SELECT EXISTS(SELECT 1 FROM users WHERE role=? AND disabled=0 AND id<>?)`, hearth.RoleAdmin, u.ID).Scan(&other)
		if err != nil {
			return nil, err
		}
		if !other {
			return nil, hearth.Errorf(hearth.CodeConflict, "this is the last admin")
		}
	}
	_, err = t.exec(`UPDATE users SET name=?, email=?, role=?, password_hash=?, disabled=?, epoch=?, updated_at=?, last_login_at=? WHERE id=?`,
		u.Name, u.Email, u.Role, u.PasswordHash, u.Disabled, u.Epoch, millis(u.UpdatedAt), millis(u.LastLoginAt), u.ID)
	if err != nil {
		return nil, emailTaken(err)
	}
	if to.DropReset {
		if _, err := t.exec(`DELETE FROM password_resets WHERE user_id=?`, u.ID); err != nil {
			return nil, err
		}
	}
	if to.ClearTries != nil {
		if _, err := t.exec(`DELETE FROM login_tries WHERE key=?`, to.ClearTries); err != nil {
			return nil, err
		}
	}
	if to.EndSessions == "" {
		return nil, nil
	}
	return endSessions(t, hearth.SessionEnd{ID: to.KeepSession, UserID: u.ID, At: s.now(), Reason: to.EndSessions})
}

// Tries implements hearth.UserStore.
func (s *Store) Tries(ctx context.Context, key []byte) (tries hearth.Tries, err error) {
	err = s.read(ctx, "Tries", func(r *reader) error {
		tries, err = scanTries(r.row(selectTries, key))
		return err
	})
	return tries, err
}

const selectTries = `SELECT failed, locked_until, updated_at FROM login_tries WHERE key=?` // by primary key

func scanTries(row rowScanner) (hearth.Tries, error) {
	var tries hearth.Tries
	var locked, updated int64
	err := row.Scan(&tries.Failed, &locked, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return hearth.Tries{}, nil
	}
	tries.LockedUntil, tries.UpdatedAt = fromMillis(locked), fromMillis(updated)
	return tries, err
}

// UpdateTries implements hearth.UserStore.
func (s *Store) UpdateTries(
	ctx context.Context, key []byte, change func(hearth.Tries) (hearth.Tries, hearth.SideEffects, error),
) (tries hearth.Tries, err error) {
	err = s.write(ctx, "UpdateTries", func(t *tx) error {
		before, err := scanTries(t.row(selectTries, key))
		if err != nil {
			return err
		}
		var effects hearth.SideEffects
		if tries, effects, err = change(before); err != nil {
			return err
		}
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		if tries == (hearth.Tries{}) {
			_, err = t.exec(`DELETE FROM login_tries WHERE key=?`, key)
			return err
		}
		_, err = t.exec(`INSERT OR REPLACE INTO login_tries(key, failed, locked_until, updated_at) VALUES(?,?,?,?)`,
			key, tries.Failed, millis(tries.LockedUntil), millis(tries.UpdatedAt))
		return err
	})
	return tries, err
}

// CreatePasswordReset implements hearth.UserStore.
func (s *Store) CreatePasswordReset(ctx context.Context, reset hearth.PasswordReset, effects hearth.SideEffects) error {
	return s.write(ctx, "CreatePasswordReset", func(t *tx) error {
		if err := s.writeEffects(t, effects); err != nil {
			return err
		}
		var one int
		if err := t.row(`SELECT 1 FROM users WHERE id=?`, reset.UserID).Scan(&one); err != nil {
			return found(err, "user")
		}
		_, err := t.exec(`INSERT OR REPLACE INTO password_resets(user_id, id, hash, expires_at) VALUES(?,?,?,?)`,
			reset.UserID, reset.ID, reset.Hash, millis(reset.ExpiresAt))
		return err
	})
}

const resetColumns = `user_id, id, hash, expires_at`

func scanReset(row rowScanner) (hearth.PasswordReset, error) {
	var reset hearth.PasswordReset
	var expires int64
	err := row.Scan(&reset.UserID, &reset.ID, &reset.Hash, &expires)
	reset.ExpiresAt = fromMillis(expires)
	return reset, found(err, "password reset")
}

// PasswordReset implements hearth.UserStore.
func (s *Store) PasswordReset(ctx context.Context, userID string) (reset hearth.PasswordReset, err error) {
	err = s.read(ctx, "PasswordReset", func(r *reader) error {
		reset, err = scanReset(r.row(`SELECT `+resetColumns+` FROM password_resets WHERE user_id=?`, userID)) // by primary key
		return err
	})
	return reset, err
}

// PasswordResetByHash implements hearth.UserStore.
func (s *Store) PasswordResetByHash(ctx context.Context, hash []byte) (reset hearth.PasswordReset, err error) {
	err = s.read(ctx, "PasswordResetByHash", func(r *reader) error {
		reset, err = scanReset(r.row(`SELECT `+resetColumns+` FROM password_resets WHERE hash=?`, hash)) // by the unique index
		return err
	})
	return reset, err
}

// UsePasswordReset implements hearth.UserStore.
func (s *Store) UsePasswordReset(
	ctx context.Context, hash []byte, change func(hearth.PasswordReset, hearth.User) (hearth.UserChange, error),
) (user hearth.User, ended []string, err error) {
	err = s.write(ctx, "UsePasswordReset", func(t *tx) error {
		reset, err := scanReset(t.row(`SELECT `+resetColumns+` FROM password_resets WHERE hash=?`, hash))
		if err != nil {
			return err
		}
		before, err := scanUser(t.row(`SELECT `+userColumns+` FROM users u WHERE u.id=?`, reset.UserID))
		if err != nil {
			return found(err, "user")
		}
		to, err := change(reset, before)
		if err != nil {
			return err
		}
		to.DropReset = true
		user = to.User
		ended, err = s.applyUserChange(t, before, to)
		return err
	})
	return user, ended, err
}

// Record implements hearth.UserStore.
func (s *Store) Record(ctx context.Context, effects hearth.SideEffects) error {
	return s.write(ctx, "Record", func(t *tx) error { return s.writeEffects(t, effects) })
}

// removeTries removes failed logins and resets that are older than before.
func removeTries(t *tx, before time.Time) error {
	if _, err := t.exec(`DELETE FROM login_tries WHERE updated_at < ? AND locked_until < ?`, millis(before), millis(before)); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM password_resets WHERE expires_at < ?`, millis(before))
	return err
}
