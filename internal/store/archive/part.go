// Package archive is the form in which the content of a store leaves it and comes back: parts of records or logs, and the mark of a restoring.
package archive

import (
	"context"
	"iter"
	"time"

	"hearth"
)

// MaxPart is the largest number of records of a Part.
const MaxPart = 1 << 16

// The kinds of an archive that are not described, the numbers that are used up and the logs, and those that stores write by hand.
const (
	CountersKind    = "counters"
	LogsKind        = "logs"
	DevicesKind     = "devices"
	CheckpointsKind = "import_checkpoints"
	IdempotencyKind = "idempotency"
	AuditKind       = "audit"
)

// Part is some records of one kind as an archive holds them: up to MaxPart. Every field of a record is carried, secrets as the
// store has them (hashed or encrypted).
type Part struct {
	Kind string
	// Lines are records in JSON, each with its newline. Audit entries come by number.
	Lines [][]byte
	// Logs, in place of lines, have their Seq. Rollups are not carried: they follow from the logs.
	Logs []hearth.LogEntry
}

// Len returns the number of records.
func (p *Part) Len() int { return len(p.Lines) + len(p.Logs) }

// Skip leaves out the first n records.
func (p *Part) Skip(n int) {
	p.Lines = p.Lines[min(n, len(p.Lines)):]
	p.Logs = p.Logs[min(n, len(p.Logs)):]
}

// Counters are the numbers that a store must not use again.
type Counters struct {
	// LastDevice is the highest Device.Key, LastLog the highest LogEntry.Seq that was ever given.
	LastDevice int64  `json:"last_device"`
	LastLog    uint64 `json:"last_log"`
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
	// after the other in the order of Kinds; the order within a kind is the store's and, as long as nothing changes, always
	// the same. Memory is bounded. The sequence ends after an error.
	Archive(ctx context.Context) iter.Seq2[Part, error]
	// BeginRestore marks an empty store as being restored from restore.Source, or finds such a mark of the same Source, and
	// returns the mark with what is done. CodeConflict if the store is not empty, or marked for another Source.
	BeginRestore(ctx context.Context, restore Restore) (Restore, error)
	// RestorePart stores the records and the mark's Done. Where the engine cannot do both in one atomic step, records come
	// first, and storing them again changes nothing. Kinds come in the order of Kinds, logs in any order. CodeConflict
	// without a mark, and for an audit entry that does not follow the one before.
	RestorePart(ctx context.Context, part Part, restore Restore) error
	// EndRestore takes the mark away: the store may be used.
	EndRestore(ctx context.Context) error
	// Restoring returns the mark; CodeNotFound if there is none. A store with a mark must not be served from.
	Restoring(ctx context.Context) (Restore, error)
}
