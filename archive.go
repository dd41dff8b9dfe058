package hearth

import (
	"context"
	"iter"
	"time"
)

// MaxArchivePart is the largest number of records of an ArchivePart.
const MaxArchivePart = 1 << 16

// ArchivePart is some records of a store as an archive holds them: up to MaxArchivePart of one kind, the other fields
// being empty. Every field of a record is carried, secrets as the store has them (hashed or sealed).
type ArchivePart struct {
	Counters       []StoreCounters // one
	Users          []User
	Tries          []ArchivedTries
	PasswordResets []PasswordReset
	Sessions       []Session
	RefreshTokens  []ArchivedRefreshToken
	Organizations  []Organization
	// Members are without Name and Email, which are the users'.
	Members       []Member
	Invitations   []Invitation
	Devices       []Device
	DeviceTokens  []DeviceToken
	Notifications []Notification
	Settings      []ArchivedSettings
	Watches       []DeviceWatch
	Schedules     []ExportSchedule
	Exports       []Export
	Checkpoints   []Checkpoint
	Idempotency   []IdempotencyRecord
	Outbox        []OutboxJob
	// Audit entries have ChangesText, which the hash is over, and no Changes.
	Audit []AuditEntry
	// Logs have their Seq. Rollups are not carried: they follow from the logs.
	Logs []LogEntry
}

// StoreCounters are the numbers that a store must not use again.
type StoreCounters struct {
	// LastDevice is the highest Device.Key, LastLog the highest LogEntry.Seq that was ever given.
	LastDevice int64
	LastLog    uint64
}

// ArchivedTries are the failed logins that are counted under a key.
type ArchivedTries struct {
	Key []byte
	Tries
}

// ArchivedRefreshToken is a refresh token of a session, spent or not.
type ArchivedRefreshToken struct {
	Hash      []byte
	SessionID string
	Spent     bool
}

// ArchivedSettings are the types of notifications as a user set them, without the defaults in the gaps.
type ArchivedSettings struct {
	UserID string
	Types  map[NotificationType]Delivery
}

// Restore is a restoring that has begun and not ended.
type Restore struct {
	// Source names what is restored, so that another thing is not mixed in: at most 200 bytes.
	Source    string
	StartedAt time.Time
	// Done counts the records that are stored, by names that the restorer returns.
	Done map[string]int64
}

// Archiver is a store whose whole content can be archived, and restored into an empty store of any kind.
type Archiver interface {
	// Archive returns everything that readers see of the store at one moment, in parts. Writes go on meanwhile. Kinds come one
	// after the other in the order of ArchivePart's fields; the order within a kind is the store's and, as long as nothing
	// changes, always the same; audit entries come by Seq. Memory is bounded. The sequence ends after an error.
	Archive(ctx context.Context) iter.Seq2[ArchivePart, error]
	// BeginRestore marks an empty store as being restored from restore.Source, or finds such a mark of the same Source, and
	// returns the mark with what is done. CodeConflict if the store is not empty, or marked for another Source.
	BeginRestore(ctx context.Context, restore Restore) (Restore, error)
	// RestorePart stores the records and the mark's Done. Where the engine cannot do both in one atomic step, records come
	// first, and storing them again changes nothing. Kinds come in the order of ArchivePart's fields, logs in any order.
	// CodeConflict without a mark, and for an audit entry that does not follow the one before.
	RestorePart(ctx context.Context, part ArchivePart, restore Restore) error
	// EndRestore takes the mark away: the store may be used.
	EndRestore(ctx context.Context) error
	// Restoring returns the mark; CodeNotFound if there is none. A store with a mark must not be served from.
	Restoring(ctx context.Context) (Restore, error)
}
