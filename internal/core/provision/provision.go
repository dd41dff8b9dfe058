// Package provision lets devices make themselves by a key of their maker's, and users take a device over by a code. It decides who
// may do what; the store only stores.
package provision

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/newid"
)

// Store keeps keys, codes and the audit.
type Store interface {
	hearth.ProvisioningStore
	// AppendAudit stores entries of refusals.
	AppendAudit(ctx context.Context, entries ...hearth.AuditEntry) error
}

// Devices makes tokens, and hears of what happened to devices, for caches and events.
type Devices interface {
	// NewToken returns a token of a device, with its secret. It stores nothing.
	NewToken(deviceID string) (token hearth.DeviceToken, secret string)
	// Room fails with CodeQuotaExceeded where scopes would have too many devices with those that come. It keeps others from coming until
	// unlock is called.
	Room(ctx context.Context, coming ...hearth.Scope) (unlock func(), err error)
	// Created is called for new devices.
	Created(devices ...hearth.Device)
	// Moved is called for a device that changed hands.
	Moved(before, after hearth.Device)
	// TokensEnded is called for a device some tokens of which are gone.
	TokensEnded(deviceID string)
}

// Options are what a Service works with.
type Options struct {
	Store   Store
	Devices Devices
	// Webhooks are sent devices that are made and that change hands; nil: there are none.
	Webhooks hearth.WebhookNotes
	// Silence returns what has rules watch for a silence of devices of a scope; nil: there are none.
	Silence func(ctx context.Context, scope hearth.Scope) (hearth.SilenceNote, error)
	Clock   hearth.Clock
}

// Service manages provisioning keys and claim codes. Its methods may be called at once from many goroutines.
type Service struct {
	options Options
	store   Store
	// provisioned counts the devices that were made in this process, claimed those that changed hands.
	provisioned, claimed atomic.Uint64
}

// New returns a service.
func New(options Options) (*Service, error) {
	if options.Store == nil || options.Devices == nil {
		return nil, errors.New("provision: a store and the devices are needed")
	}
	if options.Webhooks == nil {
		options.Webhooks = hearth.NoWebhooks{}
	}
	if options.Silence == nil {
		options.Silence = hearth.NoSilence
	}
	return &Service{options: options, store: options.Store}, nil
}

const (
	keyPrefix = "hp_"
	keyBytes  = 32
	// keyLength is that of a whole key, keyShown of the part by which users know it, in characters.
	keyLength = len(keyPrefix) + (keyBytes*8+5)/6
	keyShown  = len(keyPrefix) + 8
)

// newKey returns the secret of a key.
func newKey() string {
	var random [keyBytes]byte
	_, _ = rand.Read(random[:]) // it never fails: see its documentation
	return keyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// IssuedKey is a new key with its secret, which is known this once.
type IssuedKey struct {
	hearth.ProvisioningKey
	Secret string
}

// NewKey is what a user sets of a key. Zero: MaxDevices sets no limit, ExpiresAt is never, OrganizationID is the caller's own scope.
type NewKey struct {
	Name           string
	OrganizationID string
	DeviceType     string
	Tags           []string
	MaxDevices     int64
	ExpiresAt      time.Time
}

// CreateKey makes a key. Errors: CodeValidationFailed, CodeForbidden and CodeNotFound (see hearth.Caller.AllowProvisioning),
// CodeConflict (too many), CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) CreateKey(ctx context.Context, caller hearth.Caller, n NewKey, idempotency *hearth.IdempotencyRequest) (IssuedKey, error) {
	now := s.options.Clock.Now()
	secret := newKey()
	issued := IssuedKey{hearth.ProvisioningKey{
		ID: newid.New(), UserID: caller.UserID, OrganizationID: n.OrganizationID, Name: n.Name, Prefix: secret[:keyShown], Hash: hashOf(secret),
		DeviceType: n.DeviceType, Tags: n.Tags, MaxDevices: n.MaxDevices, CreatedAt: now, ExpiresAt: n.ExpiresAt,
	}, secret}
	if n.OrganizationID != "" {
		if err := caller.AllowOrg(n.OrganizationID, hearth.MayManageMembers); err != nil {
			return IssuedKey{}, err
		}
	}
	if problems := issued.Validate("body.", now); len(problems) > 0 {
		return IssuedKey{}, hearth.Invalid(problems...)
	}
	record, err := idempotency.Record(issued)
	if err != nil {
		return IssuedKey{}, err
	}
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{keyEntry(caller, now, "provisioning_key.create", issued.ProvisioningKey)}}
	if err := s.store.CreateProvisioningKey(ctx, issued.ProvisioningKey, effects); err != nil {
		return IssuedKey{}, err
	}
	return issued, nil
}

// keyEntry is the audit entry of a key that is made or deleted.
func keyEntry(caller hearth.Caller, at time.Time, action string, k hearth.ProvisioningKey) hearth.AuditEntry {
	entry := caller.Entry(at, action, "provisioning_key:"+k.ID)
	entry.Changes = map[string]hearth.Change{}
	note := func(field string, value any) {
		change := hearth.Change{After: value}
		if action == "provisioning_key.delete" {
			change = hearth.Change{Before: value}
		}
		entry.Changes[field] = change
	}
	note("name", k.Name)
	note("scope", k.Scope())
	note("device_type", k.DeviceType)
	if len(k.Tags) > 0 {
		note("tags", k.Tags)
	}
	if k.MaxDevices != 0 {
		note("max_devices", k.MaxDevices)
	}
	if !k.ExpiresAt.IsZero() {
		note("expires_at", k.ExpiresAt.UTC())
	}
	return entry
}

// Keys lists the keys that the caller may manage, newest first, without their secrets: all or, with orgID set, those of that
// organization. Errors: CodeForbidden, CodeNotFound (the organization), CodeValidationFailed (the cursor).
func (s *Service) Keys(ctx context.Context, caller hearth.Caller, orgID string, page hearth.Page) (hearth.List[hearth.ProvisioningKey], error) {
	reach, err := caller.Reach(orgID)
	if err == nil && orgID != "" {
		err = caller.AllowOrg(orgID, hearth.MayManageMembers)
	}
	if err != nil {
		return hearth.List[hearth.ProvisioningKey]{}, err
	}
	if orgID == "" && !reach.All {
		reach.Scopes = []hearth.Scope{hearth.UserScope(caller.UserID)}
		for id := range caller.Orgs {
			if caller.AllowOrg(id, hearth.MayManageMembers) == nil {
				reach.Scopes = append(reach.Scopes, hearth.OrgScope(id))
			}
		}
	}
	return s.store.ProvisioningKeys(ctx, reach, page)
}

// DeleteKey deletes a key: it makes no device from then on. Those that it made stay. CodeNotFound, CodeForbidden.
func (s *Service) DeleteKey(ctx context.Context, caller hearth.Caller, id string) error {
	audit := make([]hearth.AuditEntry, 1)
	now := s.options.Clock.Now()
	return s.store.DeleteProvisioningKey(ctx, id, func(k hearth.ProvisioningKey) error {
		audit[0] = keyEntry(caller, now, "provisioning_key.delete", k)
		return caller.AllowProvisioning(k)
	}, hearth.SideEffects{Audit: audit})
}

// Provisioned returns how many devices were made in this process.
func (s *Service) Provisioned() uint64 { return s.provisioned.Load() }

// Claimed returns how many devices changed hands by a claim in this process.
func (s *Service) Claimed() uint64 { return s.claimed.Load() }

// CleanUp removes expired claim codes and returns their number.
func (s *Service) CleanUp(ctx context.Context) (n int, err error) {
	const part = 500
	for {
		removed, err := s.store.DeleteExpiredClaimCodes(ctx, s.options.Clock.Now(), part)
		n += removed
		if err != nil || removed < part {
			return n, err
		}
	}
}
