package people

import (
	"context"
	"net/http"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/account"
)

// ManagedUser is a user as an admin sees one.
type ManagedUser struct {
	ID          string      `json:"id" example:"0195a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b"`
	Name        string      `json:"name" example:"Ann Example"`
	Email       string      `json:"email" example:"ann@example.com"`
	Role        hearth.Role `json:"role" enum:"admin,user"`
	Disabled    bool        `json:"disabled"`
	CreatedAt   rest.Time   `json:"created_at"`
	UpdatedAt   rest.Time   `json:"updated_at"`
	LastLoginAt *rest.Time  `json:"last_login_at" doc:"null before the first login."`
}

func wireManagedUser(u hearth.User) ManagedUser {
	return ManagedUser{
		ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role, Disabled: u.Disabled, CreatedAt: rest.Time(u.CreatedAt),
		UpdatedAt: rest.Time(u.UpdatedAt), LastLoginAt: rest.TimeOrNull(u.LastLoginAt),
	}
}

// MePatch is what users change of their account.
type MePatch struct {
	Name            rest.Optional[string] `json:"name,omitempty" maxLength:"200" example:"Ann Example"`
	Email           rest.Optional[string] `json:"email,omitempty" maxLength:"320" doc:"Another one is sent a link, and counts once it is confirmed by it." example:"ann@example.com"`
	TimeZone        rest.Optional[string] `json:"time_zone,omitempty" maxLength:"64" doc:"An IANA name; null is UTC." example:"Europe/Berlin"`
	CurrentPassword string                `json:"current_password,omitempty" maxLength:"256" doc:"Required with another email." example:"correct horse battery"`
}

// UserPatch is what an admin changes of a user.
type UserPatch struct {
	Role     rest.Optional[hearth.Role] `json:"role,omitempty" doc:"admin or user."`
	Disabled rest.Optional[bool]        `json:"disabled,omitempty" doc:"A disabled user is signed out everywhere and cannot sign in."`
	Unlock   rest.Optional[bool]        `json:"unlock,omitempty" doc:"true ends a lockout."`
}

type meInput struct {
	Include string `query:"include" enum:"quotas" doc:"quotas: what is used of the quotas that are set."`
}

// QuotaUse is how much of a quota is used.
type QuotaUse struct {
	Name  string `json:"name" enum:"devices,logs,bytes" doc:"logs are those of a day; they are regained evenly. bytes are what the stored logs take, with their rollups."`
	Limit int64  `json:"limit" example:"1000"`
	Used  int64  `json:"used" example:"12"`
}

type listUsersInput struct {
	rest.PageParams
	Query string `query:"q" maxLength:"200" doc:"Only those whose name or e-mail contains it, whatever the case and accents."`
	Role  string `query:"role" enum:"admin,user" doc:"Only those with this role."`
}

// registerUsers adds the caller's account and, for admins, those of all users.
func (a *people) registerUsers() {
	s := a.Accounts
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "get-me", Method: http.MethodGet, Path: "/users/me", Tag: tagAccounts,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, Summary: "Get your account", ETag: true,
		Description: "For If-Match, take the entity tag of an answer without quotas.",
	}, func(ctx context.Context, in *meInput) (*rest.Body[User], error) {
		user, err := s.Me(ctx, rest.CallerOf(ctx))
		if err != nil || in.Include == "" {
			return &rest.Body[User]{Body: wireUser(user)}, err
		}
		body := wireUser(user)
		uses, err := a.QuotaUse(ctx, hearth.UserScope(user.ID))
		body.Quotas = make([]QuotaUse, len(uses))
		for i, use := range uses {
			body.Quotas[i] = QuotaUse(use)
		}
		return &rest.Body[User]{Body: body}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "update-me", Method: http.MethodPatch, Path: "/users/me", Tag: tagAccounts,
		Access: rest.ForUsers, Key: rest.ClosedToKeys, Summary: "Change your account",
		Description: "Another `email` needs `current_password`, counts as a sign-up does towards the limit `auth`, and is kept once the link that it " +
			"is sent is followed: the answer has the one of before. An address gets at most 10 such e-mails a day, and a user causes at most 50.",
		Codes: []hearth.Code{hearth.CodeEmailTaken, hearth.CodeInvalidCredentials, hearth.CodeAccountLocked},
	}, func(ctx context.Context, in *rest.Body[MePatch]) (*rest.Body[User], error) {
		var errs []hearth.FieldError
		update := account.MeUpdate{Name: rest.RequiredOf(in.Body.Name, "name", &errs), Email: rest.RequiredOf(in.Body.Email, "email", &errs)}
		if len(errs) > 0 {
			return nil, hearth.Invalid(errs...)
		}
		if update.Email != nil {
			for _, key := range []string{rest.AddressKey(rest.CallerOf(ctx)), rest.CallerOf(ctx).Key()} {
				if err := a.Take(ctx, rest.ClassAuth, key); err != nil {
					return nil, err
				}
			}
			update.CurrentPassword = in.Body.CurrentPassword
		}
		update.Check = func(user hearth.User) error { return rest.Unchanged(ctx, wireUser(user)) }
		if in.Body.TimeZone.Set {
			update.TimeZone = &in.Body.TimeZone.Value
		}
		user, err := s.UpdateMe(ctx, rest.CallerOf(ctx), update)
		return &rest.Body[User]{Body: wireUser(user)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "list-users", Method: http.MethodGet, Path: "/users", Tag: tagAccounts,
		Access: rest.ForAdmins, Key: rest.ClosedToKeys, Summary: "List all accounts", ETag: true,
		Description: "The newest first.",
	}, func(ctx context.Context, in *listUsersInput) (*rest.Body[rest.List[ManagedUser]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		users, err := s.Users(ctx, rest.CallerOf(ctx), hearth.UserFilter{Query: in.Query, Role: hearth.Role(in.Role)}, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(users, in.Fields, wireManagedUser)
		return &rest.Body[rest.List[ManagedUser]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "update-user", Method: http.MethodPatch, Path: "/users/{id}", Tag: tagAccounts,
		Access: rest.ForAdmins, Key: rest.ClosedToKeys, Summary: "Change an account",
		Description: "After a change of role the user's access tokens are refused and must be refreshed. The last admin stays one.",
		Codes:       []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
	}, func(ctx context.Context, in *struct {
		ID   string `path:"id" maxLength:"64"`
		Body UserPatch
	}) (*rest.Body[ManagedUser], error) {
		var errs []hearth.FieldError
		update := account.UserUpdate{
			Role: rest.RequiredOf(in.Body.Role, "role", &errs), Disabled: rest.RequiredOf(in.Body.Disabled, "disabled", &errs),
			Unlock: in.Body.Unlock.Or(false),
		}
		if len(errs) > 0 {
			return nil, hearth.Invalid(errs...)
		}
		user, err := s.UpdateUser(ctx, rest.CallerOf(ctx), in.ID, update)
		return &rest.Body[ManagedUser]{Body: wireManagedUser(user)}, err
	})
}
