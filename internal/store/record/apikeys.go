package record

import (
	"context"
	"time"

	"hearth"
)

var _ hearth.APIKeyStore = (*Aggregates)(nil)

// apiKey is the stored form of hearth.APIKey.
type apiKey struct {
	ID             string            `json:"id"`
	UserID         string            `json:"user_id" bson:"user"`
	Name           string            `json:"name"`
	Prefix         string            `json:"prefix"`
	Hash           []byte            `json:"hash,omitempty"`
	Scopes         []hearth.KeyScope `json:"scopes"`
	OrganizationID string            `json:"organization_id,omitempty" bson:"organization"`
	CreatedAt      time.Time         `json:"created_at,omitzero" bson:"created"`
	ExpiresAt      time.Time         `json:"expires_at,omitzero" bson:"expires"`
	LastUsedAt     time.Time         `json:"last_used_at,omitzero" bson:"used"`
}

var apiKeys = describe(&Kind[apiKey]{Schema: Schema{
	Name: "api_keys", Noun: "API key", Of: map[string]string{"user_id": "users", "organization_id": "organizations"},
	Indexes: []Index{
		{Fields: []string{"hash"}, Unique: true},
		{Fields: []string{"user_id", "created_at", "id"}},
		{Fields: []string{"organization_id"}},
	},
	Limit: &Limit{By: "user_id", Most: hearth.MaxAPIKeys, Full: func() error {
		return hearth.Errorf(hearth.CodeConflict, "you have %d API keys: delete one first", hearth.MaxAPIKeys)
	}},
}})

func asAPIKey(k apiKey) hearth.APIKey { return hearth.APIKey(k) }

// CreateAPIKey implements hearth.APIKeyStore.
func (a *Aggregates) CreateAPIKey(ctx context.Context, key hearth.APIKey, effects hearth.SideEffects) error {
	w := Write{Name: "CreateAPIKey", Key: "api_keys/" + key.UserID, Effects: effects}
	return create(ctx, a.b, w, apiKeys, apiKey(key), key.OrganizationID)
}

// APIKeys implements hearth.APIKeyStore.
func (a *Aggregates) APIKeys(ctx context.Context, userID string, page hearth.Page) (hearth.List[hearth.APIKey], error) {
	return listing[apiKey, hearth.APIKey]{"APIKeys", apiKeys, Filter{Eq("user_id", userID)}, newestFirst, asAPIKey}.page(ctx, a.b, page)
}

// APIKey implements hearth.APIKeyStore.
func (a *Aggregates) APIKey(ctx context.Context, id string) (hearth.APIKey, hearth.User, error) {
	return withUser(ctx, a.b, "APIKey", apiKeys, asAPIKey, func(k apiKey) string { return k.UserID }, id)
}

// APIKeyByHash implements hearth.APIKeyStore.
func (a *Aggregates) APIKeyByHash(ctx context.Context, hash []byte) (hearth.APIKey, error) {
	return first(ctx, a.b, "APIKeyByHash", apiKeys, asAPIKey, Eq("hash", hash))
}

// DeleteAPIKey implements hearth.APIKeyStore.
func (a *Aggregates) DeleteAPIKey(ctx context.Context, userID, id string, effects hearth.SideEffects) error {
	w := Write{Name: "DeleteAPIKey", Key: "api_keys/" + userID, Effects: effects}
	ofUser := func(k hearth.APIKey) error { return apiKeys.FoundIf(k.UserID == userID) }
	return deleteOne(ctx, a.b, w, apiKeys, id, asAPIKey, ofUser)
}

// TouchAPIKey implements hearth.APIKeyStore.
func (a *Aggregates) TouchAPIKey(ctx context.Context, id string, at time.Time) error {
	_, err := a.b.Change(ctx, "TouchAPIKey", &apiKeys.Schema, Filter{Eq("id", id), Lt("last_used_at", at)}, Changes{Set("last_used_at", at)})
	return err
}
