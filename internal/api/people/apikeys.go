package people

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/account"
)

// KeyScopes are the scopes of an API key.
type KeyScopes []hearth.KeyScope

// Schema names them all.
func (KeyScopes) Schema(huma.Registry) *huma.Schema {
	one, all := 1, hearth.KeyScopes()
	most := len(all)
	scope := &huma.Schema{Type: huma.TypeString, Examples: []any{hearth.KeyDevicesRead}}
	for _, s := range all {
		scope.Enum = append(scope.Enum, string(s))
	}
	schema := &huma.Schema{
		Type: huma.TypeArray, Items: scope, MinItems: &one, MaxItems: &most, UniqueItems: true,
		Description: "What the key opens. Writing does not imply reading.", Examples: []any{[]any{"devices:read", "telemetry:read"}},
	}
	schema.PrecomputeMessages()
	scope.PrecomputeMessages()
	return schema
}

// ListedAPIKey is an API key on the wire, without its secret.
type ListedAPIKey struct {
	ID             string     `json:"id" format:"uuid" example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	Name           string     `json:"name" example:"nightly report"`
	Prefix         string     `json:"prefix" doc:"How the key begins." example:"hk_3q2-7wAB"`
	Scopes         KeyScopes  `json:"scopes"`
	OrganizationID *string    `json:"organization_id" doc:"The one organization whose objects the key reaches; null: all that its owner reaches." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	CreatedAt      rest.Time  `json:"created_at"`
	ExpiresAt      *rest.Time `json:"expires_at" doc:"null: never."`
	LastUsedAt     *rest.Time `json:"last_used_at" doc:"To the minute; null if it was never used."`
}

// NewAPIKey is an API key to make.
type NewAPIKey struct {
	Name           string                   `json:"name" minLength:"1" maxLength:"100" example:"nightly report"`
	Scopes         KeyScopes                `json:"scopes"`
	OrganizationID rest.Optional[string]    `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"Binds the key to an organization that you are in: it reaches nothing else."`
	ExpiresAt      rest.Optional[rest.Time] `json:"expires_at,omitempty" doc:"In the future; never, if nothing is said."`
}

// CreatedAPIKey is an API key with its secret.
type CreatedAPIKey struct {
	ID             string     `json:"id" format:"uuid" example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	Key            string     `json:"key" doc:"Shown only in this answer. It goes into the Authorization header: Bearer hk_…" example:"hk_3q2-7wAB…"`
	Name           string     `json:"name" example:"nightly report"`
	Prefix         string     `json:"prefix" doc:"How the key begins." example:"hk_3q2-7wAB"`
	Scopes         KeyScopes  `json:"scopes"`
	OrganizationID *string    `json:"organization_id" example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	CreatedAt      rest.Time  `json:"created_at"`
	ExpiresAt      *rest.Time `json:"expires_at" doc:"null: never."`
}

func wireAPIKey(k hearth.APIKey) ListedAPIKey {
	return ListedAPIKey{
		ID: k.ID, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, OrganizationID: rest.TextOrNull(k.OrganizationID), CreatedAt: rest.Time(k.CreatedAt),
		ExpiresAt: rest.TimeOrNull(k.ExpiresAt), LastUsedAt: rest.TimeOrNull(k.LastUsedAt),
	}
}

func wireCreatedAPIKey(k account.IssuedKey) CreatedAPIKey {
	return CreatedAPIKey{
		ID: k.ID, Key: k.Secret, Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, OrganizationID: rest.TextOrNull(k.OrganizationID),
		CreatedAt: rest.Time(k.CreatedAt), ExpiresAt: rest.TimeOrNull(k.ExpiresAt),
	}
}

// registerAPIKeys adds the caller's API keys.
func (a *people) registerAPIKeys() {
	s := a.Accounts
	if s == nil {
		return
	}
	rest.Register(a.Router, rest.Operation{
		ID: "create-api-key", Method: http.MethodPost, Path: "/users/me/api-keys", Tag: tagAccounts, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusCreated, Creates: true, Secret: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Summary: "Create an API key",
		Description: "A key acts for you within its scopes, and never beyond what you may do. It is shown only in this answer. Accounts, " +
			"organizations, notifications, keys and administration are closed to it. You have at most 100.",
	}, func(ctx context.Context, in *rest.Body[NewAPIKey]) (*rest.Body[CreatedAPIKey], error) {
		key, err := s.CreateAPIKey(ctx, rest.CallerOf(ctx), account.NewAPIKey{
			Name: in.Body.Name, Scopes: in.Body.Scopes, OrganizationID: in.Body.OrganizationID.Or(""),
			ExpiresAt: time.Time(in.Body.ExpiresAt.Or(rest.Time{})),
		}, rest.Idempotency(ctx, wireCreatedAPIKey))
		return &rest.Body[CreatedAPIKey]{Body: wireCreatedAPIKey(key)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "list-api-keys", Method: http.MethodGet, Path: "/users/me/api-keys", Tag: tagAccounts, Access: rest.ForUsers, Key: rest.ClosedToKeys, ETag: true,
		Summary: "List your API keys", Description: "The newest first, without their secrets; expired ones too.",
	}, func(ctx context.Context, in *struct{ rest.PageParams }) (*rest.Body[rest.List[ListedAPIKey]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		keys, err := s.APIKeys(ctx, rest.CallerOf(ctx), page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(keys, in.Fields, wireAPIKey)
		return &rest.Body[rest.List[ListedAPIKey]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "delete-api-key", Method: http.MethodDelete, Path: "/users/me/api-keys/{id}", Tag: tagAccounts, Access: rest.ForUsers, Key: rest.ClosedToKeys,
		Status: http.StatusNoContent, Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Delete an API key",
		Description: "It is refused from then on, within a second at every instance, and its streams end.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64" doc:"The key." example:"0195a1b2-d4e5-7e5f-8a9b-0c1d2e3f4a5b"`
	}) (*struct{}, error) {
		return nil, s.DeleteAPIKey(ctx, rest.CallerOf(ctx), in.ID)
	})
}
