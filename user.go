package hearth

import (
	"context"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Limits of an account's fields. A name's length is in characters, the others' in bytes.
const (
	MaxUserName = 200
	MaxEmail    = 254
	MinPassword = 8
	MaxPassword = 72
)

// User is a person with an account.
type User struct {
	ID   string
	Name string
	// Email is normalized (see NormalizeEmail) and unique.
	Email string
	Role  Role
	// PasswordHash is what checks the password; it never leaves the program.
	PasswordHash []byte
	// TimeZone is the IANA name of the zone of the user's days in analytics; "" is UTC.
	TimeZone string
	// Disabled keeps the person out: no login, and every token is refused.
	Disabled bool
	// Epoch counts up whenever every access token issued before must be refused, such as on a change of role.
	Epoch       int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	LastLoginAt time.Time // zero before the first login
}

// Validate checks every field that people set; locations start with prefix, such as "body.".
func (u User) Validate(prefix string) []FieldError {
	var errs []FieldError
	if message := checkText(u.Name, MaxUserName); message != "" {
		errs = append(errs, FieldError{prefix + "name", message})
	}
	if _, ok := NormalizeEmail(u.Email); !ok {
		errs = append(errs, FieldError{prefix + "email", "must be an e-mail address of at most 254 bytes"})
	}
	if !u.Role.Valid() {
		errs = append(errs, FieldError{prefix + "role", "must be admin or user"})
	}
	if _, err := TimeZone(u.TimeZone); err != nil {
		errs = append(errs, FieldError{prefix + "time_zone", err.Error()})
	}
	return errs
}

// NormalizeEmail returns the one form of an address that is stored and compared: without space around it, in lower case, its domain in
// ASCII (IDNA), what stands before the @ in NFC. ok reports whether it is an address at all: an RFC 5322 addr-spec without comments, of at most MaxEmail bytes.
func NormalizeEmail(text string) (email string, ok bool) {
	email = strings.ToLower(strings.TrimSpace(text))
	if len(email) > 4*MaxEmail { // no ASCII form is that much shorter
		return email, false
	}
	if at := strings.LastIndexByte(email, '@'); strings.IndexFunc(email, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 && at >= 0 {
		domain, err := idna.Lookup.ToASCII(email[at+1:])
		if err != nil {
			return email, false
		}
		email = norm.NFC.String(email[:at+1]) + domain
	}
	if len(email) > MaxEmail {
		return email, false
	}
	parsed, err := mail.ParseAddress(email)
	return email, err == nil && parsed.Name == "" && parsed.Address == email
}

// CheckPassword says what is wrong with the length of a new password; "" if nothing is. Nothing is ever cut.
func CheckPassword(password string) string {
	switch {
	case len(password) < MinPassword:
		return "must have at least 8 bytes"
	case len(password) > MaxPassword:
		return "must have at most 72 bytes"
	}
	return ""
}

// UserFilter picks users. Zero fields do not filter.
type UserFilter struct {
	// Query matches names and e-mails that contain it, case and accents aside.
	Query string
	Role  Role
}

// UserChange is what becomes of a user, and what goes with it in the same atomic step.
type UserChange struct {
	User User
	// EndSessions ends the user's sessions for that reason, all but the one with the id KeepSession; "" ends none.
	EndSessions EndReason
	KeepSession string
	// DropReset makes the password resets that were asked for worthless.
	DropReset bool
	// ClearTries forgets the failed logins that are counted under these keys.
	ClearTries  [][]byte
	SideEffects SideEffects
}

// Tries is how often in a row a login with one e-mail, known or not, went wrong.
type Tries struct {
	Failed      int
	LockedUntil time.Time // zero if not locked
	UpdatedAt   time.Time
}

// PasswordReset is a person's wish for a new password. Only the SHA-256 of its token is kept.
type PasswordReset struct {
	ID        string
	UserID    string
	Hash      []byte
	ExpiresAt time.Time
}

// UserStore keeps users, failed logins and password resets. Every write is atomic and durable when it returns; errors are
// of the codes named here, or CodeUnavailable and CodeStorageFull. Functions that are passed in may run more than once
// and must only compute.
type UserStore interface {
	// CreateUser stores a user; CodeEmailTaken.
	CreateUser(ctx context.Context, user User, effects SideEffects) error
	// CreateFirstAdmin stores a user with the role admin if no user has it yet; CodeConflict if a user has.
	CreateFirstAdmin(ctx context.Context, user User, effects SideEffects) error
	// AnyAdmin reports whether a user has the role admin.
	AnyAdmin(ctx context.Context) (bool, error)
	// User returns one user; CodeNotFound.
	User(ctx context.Context, id string) (User, error)
	// UserByEmail returns the user with that normalized e-mail; CodeNotFound.
	UserByEmail(ctx context.Context, email string) (User, error)
	// Users lists, newest first; a page has no other sort.
	Users(ctx context.Context, filter UserFilter, page Page) (List[User], error)
	// UpdateUser reads, changes and writes one user in one atomic step, and returns the user and the ids of the
	// sessions that ended. An error of change is returned and nothing is written; change must not touch ID or CreatedAt.
	// CodeNotFound, CodeEmailTaken, and CodeConflict for a change after which no enabled admin would be left.
	UpdateUser(ctx context.Context, id string, change func(User) (UserChange, error)) (User, []string, error)

	// Tries returns what is counted under a key; the zero Tries if nothing is.
	Tries(ctx context.Context, key []byte) (Tries, error)
	// UpdateTries reads, changes and writes what is counted under a key in one atomic step; an error of change is given
	// back and nothing is written. The zero Tries is not kept.
	UpdateTries(ctx context.Context, key []byte, change func(Tries) (Tries, SideEffects, error)) (Tries, error)

	// CreatePasswordReset stores a reset next to the user's earlier ones; CodeNotFound if the user is gone, CodeConflict if one of the
	// user's expires less than spacing before this one, or later.
	CreatePasswordReset(ctx context.Context, reset PasswordReset, spacing time.Duration, effects SideEffects) error
	// PasswordReset returns a reset; CodeNotFound.
	PasswordReset(ctx context.Context, id string) (PasswordReset, error)
	// PasswordResetByHash finds a reset by its token; CodeNotFound.
	PasswordResetByHash(ctx context.Context, hash []byte) (PasswordReset, error)
	// UsePasswordReset is UpdateUser for the user whose reset has that hash, and removes all resets of the user with it, so that one of
	// many uses at once succeeds; CodeNotFound for the others.
	UsePasswordReset(ctx context.Context, hash []byte, change func(PasswordReset, User) (UserChange, error)) (User, []string, error)

	// Record stores what travels with a write that changes nothing else, such as the audit entry of a refusal.
	Record(ctx context.Context, effects SideEffects) error
}
