package hearth

import (
	"context"
	"slices"
	"time"
)

// Limits of API keys.
const (
	MaxAPIKeys    = 100 // of one user
	MaxAPIKeyName = 100 // characters
)

// KeyScope is a part of the API that an API key may use, for its owner. Writing does not imply reading.
type KeyScope string

// The scopes.
const (
	KeyDevicesRead    KeyScope = "devices:read"
	KeyDevicesWrite   KeyScope = "devices:write"   // also transfer, claim codes, the desired state
	KeyTelemetryRead  KeyScope = "telemetry:read"  // also live events
	KeyTelemetryWrite KeyScope = "telemetry:write" // also heartbeats, the deletion of logs
	KeyCommandsRead   KeyScope = "commands:read"
	KeyCommandsWrite  KeyScope = "commands:write"
	KeyExportsRead    KeyScope = "exports:read"
	KeyExportsWrite   KeyScope = "exports:write"
	KeyAlarmsRead     KeyScope = "alarms:read"  // also rules, webhooks
	KeyAlarmsWrite    KeyScope = "alarms:write" // also rules, webhooks
)

// KeyScopes returns all scopes.
func KeyScopes() []KeyScope {
	return []KeyScope{
		KeyDevicesRead, KeyDevicesWrite, KeyTelemetryRead, KeyTelemetryWrite, KeyCommandsRead, KeyCommandsWrite,
		KeyExportsRead, KeyExportsWrite, KeyAlarmsRead, KeyAlarmsWrite,
	}
}

// APIKey lets a program act for a user, within its scopes and never beyond what the user may do. Only the SHA-256 of the key is kept.
type APIKey struct {
	ID     string
	UserID string
	Name   string
	// Prefix is how the key begins, by which its owner tells it from others.
	Prefix string
	Hash   []byte
	Scopes []KeyScope
	// OrganizationID, if it is set, is the one organization whose objects the key reaches.
	OrganizationID string
	CreatedAt      time.Time
	ExpiresAt      time.Time // zero: never
	// LastUsedAt is kept to the minute, to spare writes; zero if never used.
	LastUsedAt time.Time
}

// Validate checks what users set of a key that is made now; locations start with prefix, such as "body.".
func (k APIKey) Validate(prefix string, now time.Time) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkText(k.Name, MaxAPIKeyName); message != "" {
		bad("name", message)
	}
	switch distinct := slices.Compact(slices.Sorted(slices.Values(k.Scopes))); {
	case len(k.Scopes) == 0:
		bad("scopes", "must have at least one scope")
	case slices.ContainsFunc(k.Scopes, func(s KeyScope) bool { return !slices.Contains(KeyScopes(), s) }):
		bad("scopes", "has an unknown scope")
	case len(distinct) < len(k.Scopes):
		bad("scopes", "has a scope twice")
	}
	if !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(now) {
		bad("expires_at", "must be in the future")
	}
	return errs
}

// APIKeyStore keeps API keys. Every write is atomic and durable when it returns; errors are of the codes named here, or
// CodeUnavailable and CodeStorageFull. A deleted organization takes the keys that are bound to it along.
type APIKeyStore interface {
	// CreateAPIKey stores a key; CodeNotFound if its organization is gone, CodeConflict if its user has MaxAPIKeys.
	CreateAPIKey(ctx context.Context, key APIKey, effects SideEffects) error
	// APIKeys lists a user's keys by created_at, newest first; the page's sort is "".
	APIKeys(ctx context.Context, userID string, page Page) (List[APIKey], error)
	// APIKey returns a key and its user; CodeNotFound.
	APIKey(ctx context.Context, id string) (APIKey, User, error)
	// APIKeyByHash finds a key; CodeNotFound.
	APIKeyByHash(ctx context.Context, hash []byte) (APIKey, error)
	// DeleteAPIKey removes a key of that user; CodeNotFound.
	DeleteAPIKey(ctx context.Context, userID, id string, effects SideEffects) error
	// TouchAPIKey sets LastUsedAt, if it is earlier; a key that is gone is passed over.
	TouchAPIKey(ctx context.Context, id string, at time.Time) error
}
