package mongodb

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.UserStore = (*Store)(nil)

// Guards are documents that stand for a rule about many documents: a step that could break it changes the guard's version, so
// that of two such steps one is built anew.
const (
	guardAdmins    = "admins"     // an enabled admin always remains
	guardFirstUser = "first-user" // one first user
)

type guardDoc struct {
	ID   string `bson:"_id"`
	Meta `bson:",inline"`
}

// guard makes the step one of those that follow one another.
func (st *step) guard(ctx context.Context, name string) error {
	g, err := load[guardDoc](ctx, st, collGuards, byID(name))
	if err == nil {
		st.update(collGuards, name, g.V, nil)
	}
	return err
}

// userDoc is the stored form of a user, with the password reset that was asked for last.
type userDoc struct {
	ID         string `bson:"_id"`
	Meta       `bson:",inline"`
	UserFields `bson:",inline"`
	Reset      *resetDoc `bson:"reset,omitempty"`
}

// UserFields are what changes of a user. The type is exported for package bson alone, which looks into no other embedded one.
type UserFields struct {
	Name      string      `bson:"name"`
	Email     string      `bson:"email"`
	Role      hearth.Role `bson:"role"`
	Password  []byte      `bson:"password"`
	Disabled  bool        `bson:"disabled"`
	Epoch     int64       `bson:"epoch"`
	Created   int64       `bson:"created"`
	Updated   int64       `bson:"updated"`
	LastLogin int64       `bson:"last_login"`
}

type resetDoc struct {
	ID      string `bson:"id"`
	Hash    []byte `bson:"hash"`
	Expires int64  `bson:"expires"`
}

// emailDoc makes an e-mail unique: its _id is the address.
type emailDoc struct {
	Email string `bson:"_id"`
	Meta  `bson:",inline"`
	User  string `bson:"user"`
}

func newUserFields(u hearth.User) UserFields {
	return UserFields{
		Name: u.Name, Email: u.Email, Role: u.Role, Password: u.PasswordHash, Disabled: u.Disabled, Epoch: u.Epoch,
		Created: millis(u.CreatedAt), Updated: millis(u.UpdatedAt), LastLogin: millis(u.LastLoginAt),
	}
}

func (d userDoc) user() hearth.User {
	return hearth.User{
		ID: d.ID, Name: d.Name, Email: d.Email, Role: d.Role, PasswordHash: d.Password, Disabled: d.Disabled, Epoch: d.Epoch,
		CreatedAt: fromMillis(d.Created), UpdatedAt: fromMillis(d.Updated), LastLoginAt: fromMillis(d.LastLogin),
	}
}

func (d userDoc) reset() (hearth.PasswordReset, error) {
	if d.Reset == nil {
		return hearth.PasswordReset{}, hearth.NotFound("password reset")
	}
	return hearth.PasswordReset{ID: d.Reset.ID, UserID: d.ID, Hash: d.Reset.Hash, ExpiresAt: fromMillis(d.Reset.Expires)}, nil
}

func emailTaken() error {
	return hearth.Errorf(hearth.CodeEmailTaken, "there is an account with this e-mail")
}

func (st *step) insertUser(u hearth.User) {
	st.insert(collEmails, u.Email, emailDoc{Email: u.Email, Meta: Meta{V: 1}, User: u.ID}, emailTaken())
	st.insert(collUsers, u.ID, userDoc{ID: u.ID, Meta: Meta{V: 1}, UserFields: newUserFields(u)}, emailTaken())
}

// CreateUser implements hearth.UserStore.
func (s *Store) CreateUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error {
	return s.commit(ctx, writing{name: "CreateUser", effects: effects}, func(_ context.Context, st *step) error {
		st.insertUser(user)
		return nil
	})
}

// CreateFirstUser implements hearth.UserStore.
func (s *Store) CreateFirstUser(ctx context.Context, user hearth.User, effects hearth.SideEffects) error {
	w := writing{name: "CreateFirstUser", line: collGuards + "/" + guardFirstUser, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		if err := st.guard(ctx, guardFirstUser); err != nil {
			return err
		}
		exists, err := s.exists(ctx, collUsers, live())
		if err != nil {
			return err
		}
		if exists {
			return hearth.Errorf(hearth.CodeConflict, "there is a user already")
		}
		st.insertUser(user)
		return nil
	})
}

// exists reports whether a document matches.
func (s *Store) exists(ctx context.Context, coll string, filter bson.D) (bool, error) {
	err := s.db.Collection(coll).FindOne(ctx, filter, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, err
}

// AnyUser implements hearth.UserStore.
func (s *Store) AnyUser(ctx context.Context) (exists bool, err error) {
	err = s.do(ctx, "AnyUser", func(ctx context.Context) error {
		exists, err = s.exists(ctx, collUsers, live())
		return err
	})
	return exists, err
}

// findUser reads one user from the primary.
func (s *Store) findUser(ctx context.Context, filter bson.D, kind string) (d userDoc, err error) {
	err = s.db.Collection(collUsers).FindOne(ctx, filter).Decode(&d)
	return d, found(err, kind)
}

// User implements hearth.UserStore.
func (s *Store) User(ctx context.Context, id string) (user hearth.User, err error) {
	err = s.do(ctx, "User", func(ctx context.Context) error {
		d, err := s.findUser(ctx, live(bson.E{Key: "_id", Value: id}), "user")
		user = d.user()
		return err
	})
	if err != nil {
		return hearth.User{}, err
	}
	return user, nil
}

// UserByEmail implements hearth.UserStore.
func (s *Store) UserByEmail(ctx context.Context, email string) (user hearth.User, err error) {
	err = s.do(ctx, "UserByEmail", func(ctx context.Context) error {
		d, err := s.findUser(ctx, live(bson.E{Key: "email", Value: email}), "user") // by the index email
		user = d.user()
		return err
	})
	if err != nil {
		return hearth.User{}, err
	}
	return user, nil
}

// contains returns the pattern of texts that hold query, letter case of ASCII aside. What is no UTF-8 stands in no text.
func contains(query string) bson.Regex {
	var pattern strings.Builder
	for _, r := range query {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
			pattern.WriteString("[" + strings.ToLower(string(r)) + strings.ToUpper(string(r)) + "]")
		case r == 0:
			pattern.WriteString(`\x00`) // a pattern itself cannot hold it
		default:
			pattern.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return bson.Regex{Pattern: pattern.String()}
}

// Users implements hearth.UserStore.
func (s *Store) Users(ctx context.Context, filter hearth.UserFilter, page hearth.Page) (hearth.List[hearth.User], error) {
	where := append(live(), equal([2]string{"role", string(filter.Role)})...)
	if filter.Query != "" {
		where = append(where, bson.E{Key: "$and", Value: bson.A{bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "name", Value: contains(filter.Query)}}, bson.D{{Key: "email", Value: contains(filter.Query)}},
		}}}}})
	}
	// Walks (created, _id) backwards, or (role, created, _id) when a role is given.
	list := listing[userDoc, hearth.User]{
		name: "Users", coll: collUsers, filter: where, field: "created", descending: true,
		item: userDoc.user, place: func(d userDoc) hearth.Cursor { return at(d.Created, d.ID) },
	}
	return list.page(ctx, s, page)
}

// UpdateUser implements hearth.UserStore.
func (s *Store) UpdateUser(
	ctx context.Context, id string, change func(hearth.User) (hearth.UserChange, error),
) (user hearth.User, ended []string, err error) {
	err = s.commit(ctx, writing{name: "UpdateUser", line: collUsers + "/" + id}, func(ctx context.Context, st *step) error {
		before, err := loadUser(ctx, st, id)
		if err != nil {
			return err
		}
		to, err := change(before.user())
		if err != nil {
			return err
		}
		user = to.User
		ended, err = s.changeUser(ctx, st, before, to)
		return err
	})
	if err != nil {
		return hearth.User{}, nil, err
	}
	return user, ended, nil
}

// loadUser reads a user for a step; CodeNotFound.
func loadUser(ctx context.Context, st *step, id string) (userDoc, error) {
	d, err := load[userDoc](ctx, st, collUsers, byID(id))
	if errors.Is(err, errGone) {
		err = hearth.NotFound("user")
	}
	return d, err
}

// changeUser notes what a UserChange asks for, and returns the sessions that end.
func (s *Store) changeUser(ctx context.Context, st *step, before userDoc, to hearth.UserChange) (ended []string, err error) {
	st.effects = to.SideEffects
	u := to.User
	isAdmin := func(u hearth.User) bool { return u.Role == hearth.RoleAdmin && !u.Disabled }
	if isAdmin(before.user()) && !isAdmin(u) {
		if err := s.keepAdmin(ctx, st, u.ID); err != nil {
			return nil, err
		}
	}
	if u.Email != before.Email {
		old, err := load[emailDoc](ctx, st, collEmails, byID(before.Email))
		if err != nil {
			return nil, err
		}
		st.remove(collEmails, before.Email, old.V)
		st.insert(collEmails, u.Email, emailDoc{Email: u.Email, Meta: Meta{V: 1}, User: u.ID}, emailTaken())
	}
	update := set(newUserFields(u))
	if to.DropReset && before.Reset != nil {
		update = with(update, "$unset", "reset", "")
	}
	st.update(collUsers, u.ID, before.V, update)
	if to.ClearTries != nil {
		if err := clearTries(ctx, st, to.ClearTries); err != nil {
			return nil, err
		}
	}
	if to.EndSessions == "" {
		return nil, nil
	}
	return s.endSessions(ctx, st, hearth.SessionEnd{ID: to.KeepSession, UserID: u.ID, At: s.now(), Reason: to.EndSessions})
}

// keepAdmin refuses to take away the last enabled admin.
func (s *Store) keepAdmin(ctx context.Context, st *step, id string) error {
	if err := st.guard(ctx, guardAdmins); err != nil {
		return err
	}
	// Served by (role, created, _id): the admins are few.
	other, err := s.exists(ctx, collUsers, live(
		bson.E{Key: "role", Value: hearth.RoleAdmin}, bson.E{Key: "disabled", Value: false},
		bson.E{Key: "_id", Value: bson.D{{Key: "$ne", Value: id}}},
	))
	if err == nil && !other {
		err = hearth.Errorf(hearth.CodeConflict, "this is the last admin")
	}
	return err
}

// CreatePasswordReset implements hearth.UserStore.
func (s *Store) CreatePasswordReset(ctx context.Context, reset hearth.PasswordReset, effects hearth.SideEffects) error {
	w := writing{name: "CreatePasswordReset", line: collUsers + "/" + reset.UserID, effects: effects}
	return s.commit(ctx, w, func(ctx context.Context, st *step) error {
		d, err := loadUser(ctx, st, reset.UserID)
		if err != nil {
			return err
		}
		st.update(collUsers, d.ID, d.V, set(bson.D{{Key: "reset", Value: resetDoc{
			ID: reset.ID, Hash: reset.Hash, Expires: millis(reset.ExpiresAt),
		}}}))
		return nil
	})
}

// PasswordReset implements hearth.UserStore.
func (s *Store) PasswordReset(ctx context.Context, userID string) (hearth.PasswordReset, error) {
	return s.findReset(ctx, "PasswordReset", byID(userID))
}

// PasswordResetByHash implements hearth.UserStore.
func (s *Store) PasswordResetByHash(ctx context.Context, hash []byte) (hearth.PasswordReset, error) {
	return s.findReset(ctx, "PasswordResetByHash", bson.D{{Key: "reset.hash", Value: hash}}) // by its index
}

func (s *Store) findReset(ctx context.Context, name string, filter bson.D) (reset hearth.PasswordReset, err error) {
	err = s.do(ctx, name, func(ctx context.Context) error {
		d, err := s.findUser(ctx, append(live(), filter...), "password reset")
		if err != nil {
			return err
		}
		reset, err = d.reset()
		return err
	})
	return reset, err
}

// UsePasswordReset implements hearth.UserStore.
func (s *Store) UsePasswordReset(
	ctx context.Context, hash []byte, change func(hearth.PasswordReset, hearth.User) (hearth.UserChange, error),
) (user hearth.User, ended []string, err error) {
	w := writing{name: "UsePasswordReset", line: "reset/" + string(hash)}
	err = s.commit(ctx, w, func(ctx context.Context, st *step) error {
		before, err := load[userDoc](ctx, st, collUsers, bson.D{{Key: "reset.hash", Value: hash}})
		if errors.Is(err, errGone) {
			return hearth.NotFound("password reset")
		}
		if err != nil {
			return err
		}
		reset, err := before.reset()
		if err != nil {
			return err
		}
		to, err := change(reset, before.user())
		if err != nil {
			return err
		}
		to.DropReset = true
		user = to.User
		ended, err = s.changeUser(ctx, st, before, to)
		return err
	})
	if err != nil {
		return hearth.User{}, nil, err
	}
	return user, ended, nil
}

// Record implements hearth.UserStore.
func (s *Store) Record(ctx context.Context, effects hearth.SideEffects) error {
	return s.commit(ctx, writing{name: "Record", effects: effects}, nothingElse)
}

// removeResets removes resets that expired before a time.
func (s *Store) removeResets(ctx context.Context, before time.Time) error {
	// The index reset.expires finds them.
	expired := bson.D{{Key: "reset.hash", Value: bson.D{{Key: "$exists", Value: true}}},
		{Key: "reset.expires", Value: bson.D{{Key: "$lt", Value: millis(before)}}}, {Key: "lock", Value: nil}}
	return again(ctx, func() error {
		_, err := s.db.Collection(collUsers).UpdateMany(ctx, expired, bson.D{
			{Key: "$unset", Value: bson.D{{Key: "reset", Value: ""}}}, {Key: "$inc", Value: bson.D{{Key: "v", Value: int64(1)}}},
		})
		return err
	})
}
