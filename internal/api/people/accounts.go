package people

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/account"
)

// User is a user on the wire.
type User struct {
	ID          string      `json:"id" example:"0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"`
	Name        string      `json:"name" example:"Ann Example"`
	Email       string      `json:"email" doc:"Trimmed and in lower case." example:"ann@example.com"`
	Role        hearth.Role `json:"role" enum:"admin,user"`
	TimeZone    string      `json:"time_zone" doc:"An IANA name: the zone of days in analytics." example:"Europe/Berlin"`
	CreatedAt   rest.Time   `json:"created_at"`
	UpdatedAt   rest.Time   `json:"updated_at"`
	LastLoginAt *rest.Time  `json:"last_login_at" doc:"null before the first login."`
	Quotas      []QuotaUse  `json:"quotas,omitempty" doc:"With include=quotas, of your own devices and logs."`
}

func wireUser(u hearth.User) User {
	return User{
		ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role, TimeZone: cmp.Or(u.TimeZone, "UTC"), CreatedAt: rest.Time(u.CreatedAt), UpdatedAt: rest.Time(u.UpdatedAt),
		LastLoginAt: rest.TimeOrNull(u.LastLoginAt),
	}
}

// Tokens are what a login or a refresh returns.
type Tokens struct {
	AccessToken  string `json:"access_token" doc:"A JWT, signed with a key of /.well-known/jwks.json."`
	TokenType    string `json:"token_type" enum:"Bearer"`
	ExpiresIn    int    `json:"expires_in" doc:"Life of the access token in seconds." example:"900"`
	RefreshToken string `json:"refresh_token" doc:"For one use by POST /auth/refresh." example:"hr_Zm9yIG9uZSB1c2Ugb25seQ"`
	User         User   `json:"user"`
}

type tokensOutput struct{ Body Tokens }

func wireGrant(g account.Grant, err error) (*tokensOutput, error) {
	if err != nil {
		return nil, err
	}
	return &tokensOutput{Body: Tokens{
		AccessToken: g.AccessToken, TokenType: "Bearer", ExpiresIn: int((g.ExpiresIn + time.Second - 1) / time.Second),
		RefreshToken: g.RefreshToken, User: wireUser(g.User),
	}}, nil
}

// Account is an account to create.
type Account struct {
	Name     string `json:"name" maxLength:"200" example:"Ann Example"`
	Email    string `json:"email" maxLength:"320" doc:"An address of at most 254 bytes; surrounding space and case do not count." example:"ann@example.com"`
	Password string `json:"password" maxLength:"72" writeOnly:"true" doc:"8 to 72 bytes, none of the most common ones." example:"a long enough secret"`
}

func (b Account) newUser() account.NewUser {
	return account.NewUser{Name: b.Name, Email: b.Email, Password: b.Password}
}

// SignUpRequest is a sign-up.
type SignUpRequest struct {
	Account
	InvitationToken string `json:"invitation_token,omitempty" maxLength:"128" writeOnly:"true" doc:"From the e-mail of an invitation: required where sign-up is by invitation."`
}

// SignedUp is the answer to a sign-up.
type SignedUp struct {
	User User `json:"user"`
}

func wireSignUp(u hearth.User) SignedUp { return SignedUp{User: wireUser(u)} }

// Login is the e-mail and password of a user.
type Login struct {
	Email    string `json:"email" maxLength:"1024" example:"ann@example.com"`
	Password string `json:"password" maxLength:"1024" writeOnly:"true" example:"a long enough secret"`
}

// Session is a login on the wire.
type Session struct {
	ID         string    `json:"id" example:"0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"`
	UserAgent  string    `json:"user_agent" example:"Mozilla/5.0"`
	IP         string    `json:"ip" example:"192.0.2.1"`
	CreatedAt  rest.Time `json:"created_at"`
	LastUsedAt rest.Time `json:"last_used_at" doc:"Of the login or the last refresh."`
	ExpiresAt  rest.Time `json:"expires_at" doc:"When the login ends; refreshing does not move it."`
	Current    bool      `json:"current" doc:"It is the session that asks."`
}

func wireSession(s account.SessionInfo) Session {
	return Session{
		ID: s.ID, UserAgent: s.UserAgent, IP: s.IP, CreatedAt: rest.Time(s.CreatedAt), LastUsedAt: rest.Time(s.LastUsedAt),
		ExpiresAt: rest.Time(s.ExpiresAt), Current: s.Current,
	}
}

// RefreshRequest carries a refresh token.
type RefreshRequest struct {
	RefreshToken string `json:"refresh_token" maxLength:"4096" writeOnly:"true"`
}

// RevokeRequest carries a token of either kind.
type RevokeRequest struct {
	Token string `json:"token" maxLength:"4096" writeOnly:"true" doc:"An access token or a refresh token."`
}

// SetUpRequest makes the first admin.
type SetUpRequest struct {
	Token string `json:"token" maxLength:"200" writeOnly:"true" doc:"The token that the server printed when it started without a user."`
	Account
}

// Revoked reports how many sessions ended.
type Revoked struct {
	Revoked int `json:"revoked" example:"3"`
}

// PasswordChange replaces a password.
type PasswordChange struct {
	CurrentPassword string `json:"current_password" maxLength:"1024" writeOnly:"true"`
	NewPassword     string `json:"new_password" maxLength:"72" writeOnly:"true" doc:"8 to 72 bytes, none of the most common ones."`
}

// PasswordResetRequest asks for a new password.
type PasswordResetRequest struct {
	Email string `json:"email" maxLength:"1024" example:"ann@example.com"`
}

// PasswordResetConfirmation sets a new password.
type PasswordResetConfirmation struct {
	Token       string `json:"token" maxLength:"200" writeOnly:"true" doc:"From the link in the mail: for one use, within an hour."`
	NewPassword string `json:"new_password" maxLength:"72" writeOnly:"true" doc:"8 to 72 bytes, none of the most common ones."`
}

// KeySet is a JSON Web Key Set.
type KeySet struct {
	Keys []account.JWK `json:"keys" nullable:"false"`
}

type sessionInput struct {
	ID string `path:"id" maxLength:"64"`
}

const tagAccounts = "Accounts"

// EmailConfirmation names a new e-mail by its token.
type EmailConfirmation struct {
	Token string `json:"token" maxLength:"1024" doc:"From the link of the mail." example:"eyJ1c2VyX2lkIjoi…"`
}

// registerAccounts adds signing up and in, tokens, sessions and passwords.
func (a *people) registerAccounts() {
	s := a.Accounts
	if s == nil {
		return
	}
	auth := func(id, path, summary string, status int, codes ...hearth.Code) rest.Operation {
		return rest.Operation{
			ID: id, Method: http.MethodPost, Path: "/auth/" + path, Tag: tagAccounts, Access: rest.ForAnyone, Summary: summary, Status: status, Codes: codes,
		}
	}
	op := auth("sign-up", "signup", "Make an account", http.StatusCreated, hearth.CodeEmailTaken, hearth.CodeForbidden)
	op.Creates = true
	op.Description = "Forbidden where sign-up is closed, or by invitation and `invitation_token` is not that of one for the e-mail."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[SignUpRequest]) (*rest.Body[SignedUp], error) {
		account := in.Body.newUser()
		account.Invitation = in.Body.InvitationToken
		user, err := s.SignUp(ctx, rest.CallerOf(ctx), account, rest.Idempotency(ctx, wireSignUp))
		return &rest.Body[SignedUp]{Body: wireSignUp(user)}, err
	})

	op = auth("log-in", "login", "Sign in", http.StatusOK, hearth.CodeInvalidCredentials, hearth.CodeAccountLocked, hearth.CodeForbidden)
	op.Secret, op.CountByBody = true, CountLogins(a.Router, a.Accounts)
	op.Description = "Five wrong passwords in a row lock the account for 15 minutes: `account_locked`, also for the right one. " +
		"A disabled user is `forbidden`."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[Login]) (*tokensOutput, error) {
		return wireGrant(s.Login(ctx, rest.CallerOf(ctx), account.Credentials{Email: in.Body.Email, Password: in.Body.Password}))
	})

	op = auth("set-up", "setup", "Make the first admin", http.StatusCreated, hearth.CodeForbidden, hearth.CodeEmailTaken)
	op.Secret, op.Class = true, rest.ClassAuth
	op.Description = "With the token that every instance prints when it starts and there is no admin: once, and only while there is none, whoever signed up before."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[SetUpRequest]) (*tokensOutput, error) {
		return wireGrant(s.SetUp(ctx, rest.CallerOf(ctx), in.Body.Token, in.Body.newUser()))
	})

	op = auth("refresh", "refresh", "Exchange a refresh token", http.StatusOK,
		hearth.CodeUnauthenticated, hearth.CodeTokenExpired, hearth.CodeTokenRevoked, hearth.CodeRefreshReused)
	op.Secret, op.CountByBody = true, a.limitSession
	op.Description = "The refresh token is spent by it. Used again within `HEARTH_REFRESH_LEEWAY` (10 s), by two tabs or after a lost answer, it " +
		"returns the same new refresh token while that one is unspent. Later it is `refresh_reused` and ends the whole session: every token that " +
		"descends from that login. Limited by session."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[RefreshRequest]) (*tokensOutput, error) {
		return wireGrant(s.Refresh(ctx, rest.CallerOf(ctx), in.Body.RefreshToken))
	})

	op = auth("revoke", "revoke", "Revoke a token", http.StatusNoContent)
	op.Description = "Ends the session that the token belongs to. 204 whether or not the token was known."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[RevokeRequest]) (*struct{}, error) {
		return nil, s.Revoke(ctx, rest.CallerOf(ctx), in.Body.Token)
	})

	op = auth("log-out", "logout", "Sign out", http.StatusNoContent)
	op.Access, op.Key = rest.ForUsers, rest.ClosedToKeys
	rest.Register(a.Router, op, func(ctx context.Context, _ *struct{}) (*struct{}, error) {
		return nil, s.Logout(ctx, rest.CallerOf(ctx))
	})

	op = auth("log-out-all", "logout-all", "Sign out everywhere", http.StatusOK)
	op.Access, op.Key = rest.ForUsers, rest.ClosedToKeys
	rest.Register(a.Router, op, func(ctx context.Context, _ *struct{}) (*rest.Body[Revoked], error) {
		n, err := s.LogoutAll(ctx, rest.CallerOf(ctx))
		return &rest.Body[Revoked]{Body: Revoked{Revoked: n}}, err
	})
	registerPasswords(a, auth)
	registerEmail(a, auth)
	registerSessions(a)
	rest.Register(a.Router, rest.Operation{
		ID: "get-keys", Method: http.MethodGet, Path: "/.well-known/jwks.json", Root: true, Tag: tagAccounts, Access: rest.ForAnyone,
		Summary: "Get the public keys of the access tokens", ETag: true, Codes: []hearth.Code{hearth.CodeValidationFailed},
	}, func(context.Context, *struct{}) (*rest.Body[KeySet], error) {
		return &rest.Body[KeySet]{Body: KeySet{Keys: s.JWKS()}}, nil
	})
}

func registerPasswords(a *people, auth func(id, path, summary string, status int, codes ...hearth.Code) rest.Operation) {
	s := a.Accounts
	op := auth("change-password", "password", "Change the password", http.StatusNoContent,
		hearth.CodeInvalidCredentials, hearth.CodeAccountLocked)
	op.Access, op.Key = rest.ForUsers, rest.ClosedToKeys
	op.Description = "The other sessions end. A wrong current password is `invalid_credentials` and counts as a wrong login does."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[PasswordChange]) (*struct{}, error) {
		return nil, s.ChangePassword(ctx, rest.CallerOf(ctx), in.Body.CurrentPassword, in.Body.NewPassword)
	})

	op = auth("request-password-reset", "password-reset", "Ask for a new password", http.StatusAccepted)
	op.Description = "Sends a link, if a user has the e-mail. The answer is the same if none has."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[PasswordResetRequest]) (*struct{}, error) {
		return nil, s.RequestReset(ctx, rest.CallerOf(ctx), in.Body.Email)
	})

	op = auth("confirm-password-reset", "password-reset/confirm", "Set a new password", http.StatusNoContent)
	op.Description = "With the token of the mail. All sessions end."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[PasswordResetConfirmation]) (*struct{}, error) {
		return nil, s.ConfirmReset(ctx, rest.CallerOf(ctx), in.Body.Token, in.Body.NewPassword)
	})
}

func registerEmail(a *people, auth func(id, path, summary string, status int, codes ...hearth.Code) rest.Operation) {
	s := a.Accounts
	op := auth("confirm-email", "email/confirm", "Confirm a new e-mail", http.StatusNoContent, hearth.CodeEmailTaken)
	op.Class = rest.ClassAuth
	op.Description = "With the token of the mail that `PATCH /users/me` sent, once, for a day. The address of before is sent a notice."
	rest.Register(a.Router, op, func(ctx context.Context, in *rest.Body[EmailConfirmation]) (*struct{}, error) {
		return nil, s.ConfirmEmail(ctx, rest.CallerOf(ctx), in.Body.Token)
	})
}

func registerSessions(a *people) {
	s := a.Accounts
	rest.Register(a.Router, rest.Operation{
		ID: "list-sessions", Method: http.MethodGet, Path: "/auth/sessions", Tag: tagAccounts, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Summary: "List your sessions", ETag: true,
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[rest.List[Session]], error) {
		sessions, err := s.Sessions(ctx, rest.CallerOf(ctx))
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(hearth.List[account.SessionInfo]{Items: sessions, Total: -1}, "", wireSession)
		return &rest.Body[rest.List[Session]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "end-session", Method: http.MethodDelete, Path: "/auth/sessions/{id}", Tag: tagAccounts, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Summary: "End one of your sessions", Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound},
	}, func(ctx context.Context, in *sessionInput) (*struct{}, error) {
		return nil, s.EndSession(ctx, rest.CallerOf(ctx), in.ID)
	})
}
