package hearth

import (
	"context"
	"time"
)

// Limits of provisioning. A name's length is in characters, a secret's in bytes.
const (
	MaxProvisioningKeys    = 100 // of one scope
	MaxProvisioningKeyName = 100
	MaxProvisioningDevices = 10_000_000 // of one key
	MaxProvisioningSecret  = 256
	MaxClaimCodes          = 20 // of one device, until they expire
	ClaimCodeTTL           = 15 * time.Minute
)

// ProvisioningKey lets devices make themselves in a scope. Only the SHA-256 of the key is kept.
type ProvisioningKey struct {
	ID string
	// UserID is who made the key: the owner of its devices, unless OrganizationID is set.
	UserID         string
	OrganizationID string
	Name           string
	// Prefix is how the key begins, by which users tell it from others.
	Prefix string
	Hash   []byte
	// DeviceType and Tags are those of its devices.
	DeviceType string
	Tags       []string
	// MaxDevices is how many devices the key makes; 0 sets no limit. Devices is how many it has made, deleted ones too.
	MaxDevices int64
	Devices    int64
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
}

// Scope returns who the key's devices belong to.
func (k ProvisioningKey) Scope() Scope {
	if k.OrganizationID != "" {
		return OrgScope(k.OrganizationID)
	}
	return UserScope(k.UserID)
}

// Validate checks what users set of a key that is made now; locations start with prefix, such as "body.".
func (k ProvisioningKey) Validate(prefix string, now time.Time) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkText(k.Name, MaxProvisioningKeyName); message != "" {
		bad("name", message)
	}
	if message := checkText(k.DeviceType, MaxDeviceType); message != "" {
		bad("device_type", message)
	}
	if message := checkTags(k.Tags); message != "" {
		bad("tags", message)
	}
	if k.MaxDevices < 0 || k.MaxDevices > MaxProvisioningDevices {
		bad("max_devices", "must be 1 to 10000000")
	}
	if !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(now) {
		bad("expires_at", "must be in the future")
	}
	return errs
}

// AllowProvisioning is the one rule of who may see and delete a provisioning key: its user, or who may manage the members of its
// organization. Nil if the caller may, CodeNotFound if the caller may not know of it, CodeForbidden otherwise.
func (c Caller) AllowProvisioning(k ProvisioningKey) error {
	switch {
	case k.OrganizationID != "":
		err := c.AllowOrg(k.OrganizationID, MayManageMembers)
		if ErrorCode(err) == CodeNotFound {
			return NotFound("provisioning key")
		}
		return err
	case c.IsAdmin(), c.owns(k.UserID):
		return nil
	}
	return NotFound("provisioning key")
}

// Provisioned says which device a serial made in the scope of a key, wherever that device is now.
type Provisioned struct {
	Scope    Scope
	Serial   string
	DeviceID string
	// SecretHash is the SHA-256 of the secret with which the device gets another token, with the scope and the serial; nil: it
	// gave none.
	SecretHash []byte
}

// Provisioning is what a provisioning key and a serial are answered with.
type Provisioning struct {
	// Device is the device to make; it is not looked at where the serial has one.
	Device Device
	// Token takes the place of the device's provisioned token; its DeviceID is the device's.
	Token DeviceToken
	// SecretHash is that of a new device; see Provisioned.
	SecretHash []byte
	Effects    SideEffects
}

// ClaimCode makes a device that of the user who has the code. Only its SHA-256 is kept.
type ClaimCode struct {
	Hash     []byte
	DeviceID string
	// Scope is the device's when the code was made; the store sets it. A code opens no device that changed hands since.
	Scope     Scope
	CreatedBy string // a user
	CreatedAt time.Time
	ExpiresAt time.Time
}

// ProvisioningStore keeps provisioning keys, what they made, and claim codes. Every write is atomic and durable when it returns;
// errors are of the codes named here, those of functions that are passed in, and CodeUnavailable and CodeStorageFull. A deleted
// organization takes its keys along, a deleted device what its serial made and its codes.
type ProvisioningStore interface {
	// CreateProvisioningKey stores a key; CodeNotFound if its organization is gone, CodeConflict if its scope has
	// MaxProvisioningKeys.
	CreateProvisioningKey(ctx context.Context, key ProvisioningKey, effects SideEffects) error
	// ProvisioningKeys lists the keys within reach, newest first; the page's sort is "".
	ProvisioningKeys(ctx context.Context, reach Reach, page Page) (List[ProvisioningKey], error)
	// DeleteProvisioningKey removes a key, unless check refuses it; CodeNotFound.
	DeleteProvisioningKey(ctx context.Context, id string, check func(ProvisioningKey) error, effects SideEffects) error

	// Provision makes a device by the key with that hash, which counts it, or returns the device that the serial made in the key's
	// scope before and that is still there; either has the new token in place of its earlier provisioned one. decide sees the
	// key, its user, and what the serial made (nil: nothing), and says what to write, or refuses; it may run more than once.
	// CodeNotFound if there is no such key or no organization any more, SerialTaken if another device has the serial.
	Provision(ctx context.Context, keyHash []byte, serial string, decide DecideProvisioning) (Device, error)

	// CreateClaimCode stores a code with the Scope of its device, unless check refuses that; CodeNotFound if it is gone, CodeConflict if it has
	// MaxClaimCodes that have not expired.
	CreateClaimCode(ctx context.Context, code ClaimCode, check func(Device) error, effects SideEffects) error
	// ClaimCode finds a code; CodeNotFound.
	ClaimCode(ctx context.Context, hash []byte) (ClaimCode, error)
	// ClaimDevice is TransferDevice for the device of a code: in the same step the codes of the device are removed, and its tokens
	// but for the provisioned one. CodeNotFound too if the code was used meanwhile.
	ClaimDevice(ctx context.Context, code ClaimCode, change func(Device) (Device, error), effects SideEffects) (Device, error)
	// DeleteExpiredClaimCodes removes up to limit codes that expired by now, and returns their number.
	DeleteExpiredClaimCodes(ctx context.Context, now time.Time, limit int) (int, error)
}

// DecideProvisioning says what a provisioning key is answered with; see ProvisioningStore. With an error it returns the idempotency
// record alone, so that a repetition is refused nothing.
type DecideProvisioning func(key ProvisioningKey, user User, known *Provisioned) (Provisioning, error)
