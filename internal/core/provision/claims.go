package provision

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"slices"
	"strings"

	"hearth"
)

// codeAlphabet is Crockford's: no two characters look alike.
const codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// codeLength makes codes of 60 random bits; users see them in groups of codeGroup.
const (
	codeLength = 12
	codeGroup  = 4
)

// IssuedCode is a new claim code, which is known this once.
type IssuedCode struct {
	hearth.ClaimCode
	Code string
}

// newCode returns a claim code such as 7Q4M-0XTZ-K9BD.
func newCode() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails: see its documentation
	text := base32.NewEncoding(codeAlphabet).WithPadding(base32.NoPadding).EncodeToString(random[:])[:codeLength]
	groups := make([]string, 0, codeLength/codeGroup)
	for ; text != ""; text = text[codeGroup:] {
		groups = append(groups, text[:codeGroup])
	}
	return strings.Join(groups, "-")
}

// normalCode returns the code that a user typed, without dashes, spaces and look-alikes; not ok if it cannot be one.
func normalCode(typed string) (code string, ok bool) {
	var normal strings.Builder
	for _, r := range strings.ToUpper(typed) {
		switch r {
		case '-', ' ':
			continue
		case 'O':
			r = '0'
		case 'I', 'L':
			r = '1'
		}
		if normal.Len() == codeLength || !strings.ContainsRune(codeAlphabet, r) {
			return "", false
		}
		normal.WriteRune(r)
	}
	return normal.String(), normal.Len() == codeLength
}

// CreateCode makes a claim code of a device that the caller may edit. Errors: CodeNotFound, CodeForbidden, CodeConflict (too many),
// CodeIdempotencyMismatch, *hearth.Replayed.
func (s *Service) CreateCode(ctx context.Context, caller hearth.Caller, deviceID string, idempotency *hearth.IdempotencyRequest) (IssuedCode, error) {
	now := s.options.Clock.Now()
	text := newCode()
	normal, _ := normalCode(text)
	issued := IssuedCode{hearth.ClaimCode{
		Hash: hashOf(normal), DeviceID: deviceID, CreatedBy: caller.UserID, CreatedAt: now, ExpiresAt: now.Add(hearth.ClaimCodeTTL),
	}, text}
	record, err := idempotency.Record(issued)
	if err != nil {
		return IssuedCode{}, err
	}
	entry := caller.Entry(now, "claim_code.create", "device:"+deviceID)
	entry.Changes = map[string]hearth.Change{"expires_at": {After: issued.ExpiresAt}}
	check := func(d hearth.Device) error { return caller.Allow(d, hearth.MayEdit) }
	effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}}
	if err := s.store.CreateClaimCode(ctx, issued.ClaimCode, check, effects); err != nil {
		return IssuedCode{}, err
	}
	return issued, nil
}

// Claim makes the device of a code the caller's own, with its history. Its codes end, and its tokens but for the provisioned one.
// Errors: CodeForbidden (an API key of an organization), CodeNotFound (the code is unknown, used or expired), CodeConflict (the caller
// has a device with its serial).
func (s *Service) Claim(ctx context.Context, caller hearth.Caller, typed string) (hearth.Device, error) {
	if !caller.IsUser() || caller.OnlyOrg != "" {
		return hearth.Device{}, hearth.Errorf(hearth.CodeForbidden, "only a user claims devices, or an API key that no organization binds")
	}
	before, after, err := s.claim(ctx, caller, typed)
	switch hearth.ErrorCode(err) {
	case "":
		s.claimed.Add(1)
		s.options.Devices.TokensEnded(after.ID)
		s.options.Devices.Moved(before, after)
		return after, nil
	case hearth.CodeNotFound:
		entry := caller.Entry(s.options.Clock.Now(), "device.claim", "")
		entry.Result = string(hearth.CodeNotFound)
		if err := s.store.AppendAudit(ctx, entry); err != nil {
			return hearth.Device{}, err
		}
		return hearth.Device{}, hearth.NotFound("claim code")
	}
	return hearth.Device{}, err
}

func (s *Service) claim(ctx context.Context, caller hearth.Caller, typed string) (before, after hearth.Device, err error) {
	now := s.options.Clock.Now()
	normal, ok := normalCode(typed)
	if !ok {
		return before, after, hearth.NotFound("claim code")
	}
	code, err := s.store.ClaimCode(ctx, hashOf(normal))
	if err == nil && !now.Before(code.ExpiresAt) {
		err = hearth.NotFound("claim code")
	}
	if err != nil {
		return before, after, err
	}
	left, err := s.options.Webhooks.WebhookNote(ctx, code.Scope, hearth.WebhookDeviceDeleted)
	if err != nil {
		return before, after, err
	}
	arrived, err := s.options.Webhooks.WebhookNote(ctx, hearth.UserScope(caller.UserID), hearth.WebhookDeviceCreated)
	if err != nil {
		return before, after, err
	}
	leftRules, err := s.options.Silence(ctx, code.Scope)
	if err != nil {
		return before, after, err
	}
	newRules, err := s.options.Silence(ctx, hearth.UserScope(caller.UserID))
	if err != nil {
		return before, after, err
	}
	unlock, err := s.options.Devices.Room(ctx, hearth.UserScope(caller.UserID))
	if err != nil {
		return before, after, err
	}
	defer unlock()
	var planned hearth.Device
	audit := []hearth.AuditEntry{caller.Entry(now, "device.claim", "device:"+code.DeviceID)}
	after, err = s.store.ClaimDevice(ctx, code, func(d hearth.Device) (hearth.Device, error) {
		if d.Scope() != code.Scope {
			return d, hearth.NotFound("claim code")
		}
		before = d
		d.OwnerID, d.OrganizationID, d.UpdatedAt = caller.UserID, "", now
		audit[0].Changes = map[string]hearth.Change{"scope": {Before: before.Scope(), After: d.Scope()}}
		planned = d
		planned.Version++
		return d, nil
	}, hearth.SideEffects{Audit: audit, JobsAfter: func() ([]hearth.OutboxJob, error) {
		gone, err := left(now, before.ID, before)
		if err != nil {
			return nil, err
		}
		come, err := arrived(now, planned.ID, planned)
		return slices.Concat(gone, come, leftRules(planned.ID), newRules(planned.ID)), err
	}})
	if hearth.IsSerialTaken(err) {
		err = hearth.Errorf(hearth.CodeConflict, "you have another device with the serial %s", before.Serial)
	}
	return before, after, err
}
