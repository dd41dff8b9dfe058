package provision

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"strings"

	"hearth"
	"hearth/internal/newid"
)

// Request is a device that asks for its token. Name and Secret may be empty.
type Request struct {
	Key    string
	Serial string
	Name   string
	Secret string
}

// Result is a device with its token, which is known this once.
type Result struct {
	DeviceID string
	Token    string
	// Again says that the device was made earlier.
	Again bool
}

func errKey() error {
	return hearth.Errorf(hearth.CodeUnauthenticated, "the provisioning key is not valid")
}

// Provision makes the device of a serial, or returns the one that the serial made in the key's scope before another token, if it
// proves its secret; the former token ends. Errors: CodeValidationFailed, CodeUnauthenticated (the key is unknown, expired or a disabled
// user's), CodeConflict (the serial is taken and no secret proves it), CodeForbidden (the key has made MaxDevices),
// CodeIdempotencyMismatch, *hearth.Replayed. Only what makes a device is kept under an idempotency key: the secret makes the rest safe
// to repeat.
func (s *Service) Provision(ctx context.Context, caller hearth.Caller, r Request, idempotency *hearth.IdempotencyRequest) (Result, error) {
	now := s.options.Clock.Now()
	device := hearth.Device{
		ID: newid.New(), Name: cmp.Or(r.Name, r.Serial), Type: "device", Serial: r.Serial, Status: hearth.StatusActive,
		Interval: hearth.DefaultHeartbeatInterval, Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	problems := device.Validate("body.")
	if r.Serial == "" {
		problems = []hearth.FieldError{{Location: "body.serial", Message: "must not be empty"}}
	}
	if len(r.Secret) > hearth.MaxProvisioningSecret {
		problems = append(problems, hearth.FieldError{Location: "body.secret", Message: "is longer than 256 bytes"})
	}
	if len(problems) > 0 {
		return Result{}, hearth.Invalid(problems...)
	}
	if len(r.Key) != keyLength || !strings.HasPrefix(r.Key, keyPrefix) {
		return Result{}, errKey()
	}
	token, secret := s.options.Devices.NewToken(device.ID)
	token.Provisioned = true
	made := Result{DeviceID: device.ID, Token: secret}
	record, err := idempotency.Record(made)
	if err != nil {
		return Result{}, err
	}
	refused := hearth.Provisioning{Effects: hearth.SideEffects{Idempotency: record}}
	entry := caller.Entry(now, "device.provision", "device:"+device.ID)
	again := false
	var scope hearth.Scope
	notes, rules := map[hearth.Scope]hearth.WebhookNote{}, map[hearth.Scope]hearth.SilenceNote{}
	decide := func(k hearth.ProvisioningKey, user hearth.User, known *hearth.Provisioned) (hearth.Provisioning, error) {
		entry.ActorID = "provisioning_key:" + k.ID
		if user.Disabled || !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
			return refused, errKey()
		}
		hash := secretHash(k.Scope(), r.Serial, r.Secret)
		if again = known != nil; again {
			entry.Target = "device:" + known.DeviceID
			if hash == nil || subtle.ConstantTimeCompare(hash, known.SecretHash) != 1 {
				return refused, hearth.SerialTaken("body.serial")
			}
			entry.Changes = map[string]hearth.Change{"token_id": {After: token.ID}}
			return hearth.Provisioning{Token: token, Effects: hearth.SideEffects{Audit: []hearth.AuditEntry{entry}}}, nil
		}
		if k.MaxDevices != 0 && k.Devices >= k.MaxDevices {
			return refused, hearth.Errorf(hearth.CodeForbidden, "the provisioning key has made all of its %d devices", k.MaxDevices)
		}
		d := device
		d.Type, d.Tags, d.OwnerID, d.OrganizationID = k.DeviceType, k.Tags, k.UserID, k.OrganizationID
		entry.Changes = map[string]hearth.Change{
			"name": {After: d.Name}, "type": {After: d.Type}, "serial": {After: d.Serial}, "scope": {After: d.Scope()}, "token_id": {After: token.ID},
		}
		if scope = d.Scope(); notes[scope] == nil {
			return refused, errNoNote
		}
		jobs, err := notes[scope](now, d.ID, d)
		if err != nil {
			return refused, err
		}
		effects := hearth.SideEffects{Idempotency: record, Audit: []hearth.AuditEntry{entry}, Jobs: append(jobs, rules[scope](d.ID)...)}
		return hearth.Provisioning{Device: d, Token: token, SecretHash: hash, Effects: effects}, nil
	}
	after, err := s.store.Provision(ctx, hashOf(r.Key), r.Serial, decide)
	for errors.Is(err, errNoNote) { // the key has said whose webhooks are sent the device
		if rules[scope], err = s.options.Silence(ctx, scope); err == nil {
			notes[scope], err = s.options.Webhooks.WebhookNote(ctx, scope, hearth.WebhookDeviceCreated)
		}
		unlock := func() {}
		if err == nil {
			unlock, err = s.options.Devices.Room(ctx, scope)
		}
		if err == nil {
			after, err = s.store.Provision(ctx, hashOf(r.Key), r.Serial, decide)
			unlock()
		}
	}
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return Result{}, errKey()
	case hearth.ErrorCode(err) == hearth.CodeConflict && again && r.Secret != "":
		// This may be a guess: it must be seen.
		entry.Result, entry.Changes = string(hearth.CodeConflict), nil
		if auditErr := s.store.AppendAudit(ctx, entry); auditErr != nil {
			return Result{}, auditErr
		}
		return Result{}, err
	case err != nil:
		return Result{}, err
	case again:
		s.options.Devices.TokensEnded(after.ID)
		return Result{DeviceID: after.ID, Token: secret, Again: true}, nil
	}
	s.provisioned.Add(1)
	s.options.Devices.Created(after)
	return made, nil
}

// errNoNote ends a step that does not know yet which webhooks are sent the device.
var errNoNote = errors.New("provision: the webhooks are not known")

// secretHash returns the hash of a device's secret, which differs from that of another device with the same one; nil for none.
func secretHash(scope hearth.Scope, serial, secret string) []byte {
	if secret == "" {
		return nil
	}
	return hashOf(string(scope) + "\x00" + serial + "\x00" + secret)
}
