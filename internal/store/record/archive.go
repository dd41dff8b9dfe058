package record

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"hearth"
)

// MaxPart is the largest number of records of a Part.
const MaxPart = 1 << 16

// archiveRows is how many records other than logs come in one part.
const archiveRows = 1000

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
	// after the other in the order of ArchiveKinds; the order within a kind is the store's and, as long as nothing changes, always
	// the same. Memory is bounded. The sequence ends after an error.
	Archive(ctx context.Context) iter.Seq2[Part, error]
	// BeginRestore marks an empty store as being restored from restore.Source, or finds such a mark of the same Source, and
	// returns the mark with what is done. CodeConflict if the store is not empty, or marked for another Source.
	BeginRestore(ctx context.Context, restore Restore) (Restore, error)
	// RestorePart stores the records and the mark's Done. Where the engine cannot do both in one atomic step, records come
	// first, and storing them again changes nothing. Kinds come in the order of ArchiveKinds, logs in any order. CodeConflict
	// without a mark, and for an audit entry that does not follow the one before.
	RestorePart(ctx context.Context, part Part, restore Restore) error
	// EndRestore takes the mark away: the store may be used.
	EndRestore(ctx context.Context) error
	// Restoring returns the mark; CodeNotFound if there is none. A store with a mark must not be served from.
	Restoring(ctx context.Context) (Restore, error)
}

// ArchiveKinds returns the names of the kinds of an archive, in their order: what is named by others comes before them.
func ArchiveKinds() []string {
	names := []string{CountersKind}
	for _, s := range archivedSchemas() {
		names = append(names, s.Name)
	}
	return append(names, LogsKind)
}

func archivedSchemas() []*Schema {
	return slices.DeleteFunc(Schemas(), func(s *Schema) bool { return s.Shared })
}

// SchemaOf returns the description of an archive's kind; nil if there is none.
func SchemaOf(kind string) *Schema {
	all := archivedSchemas()
	if i := slices.IndexFunc(all, func(s *Schema) bool { return s.Name == kind }); i >= 0 {
		return all[i]
	}
	return nil
}

// Encode appends a record, a pointer to its struct, to dst as a line of an archive.
func Encode(dst []byte, record any) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(record)
	return out.Bytes(), err
}

// Decode reads a line of an archive into a pointer to the kind's struct; unknown fields are refused.
func Decode(kind string, line []byte) (any, error) {
	var record any = new(Counters)
	if kind != CountersKind {
		s := SchemaOf(kind)
		if s == nil {
			return nil, fmt.Errorf("there is no kind %q", kind)
		}
		record = s.fresh()
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return record, decoder.Decode(record)
}

// Records decodes the lines of a part.
func (p *Part) Records() ([]any, error) {
	records := make([]any, 0, len(p.Lines))
	for _, line := range p.Lines {
		record, err := Decode(p.Kind, line)
		if err != nil {
			return nil, fmt.Errorf("a record of %s: %w", p.Kind, err)
		}
		records = append(records, record)
	}
	return records, nil
}

// Restored completes archived records of a kind before they are stored.
func (s *Schema) Restored(ctx context.Context, tx Tx, records []any) error {
	if s.restored == nil {
		return nil
	}
	return s.restored(ctx, tx, records)
}

// RestoredInSteps reports whether Restored changes other records.
func (s *Schema) RestoredInSteps() bool { return s.restored != nil }

// ErrArchiveEnded is the error of an archive whose reader has had enough.
var ErrArchiveEnded = errors.New("record: the reader of the archive has had enough")

// Archive makes the parts of an archive.
type Archive struct {
	Reader   Reader
	Counters Counters
	// Special gives the records of those kinds that the store keeps in its own way, pointers to the kind's struct.
	Special map[string]func(ctx context.Context, give func(record any) error) error
	// Keep, if not nil, picks the devices, by key.
	Keep func(key int64) bool
	// Yield takes a part; false ends the archive.
	Yield func(Part) bool

	// given are the identities of what others hang on, by kind: of devices all, of the rest the highest, since ids ascend with
	// time and what hangs on a higher one is too new.
	devices map[string]bool
	last    map[string]string
	batch   []any
}

// Run gives all parts but the logs.
func (a *Archive) Run(ctx context.Context) error {
	a.devices, a.last = map[string]bool{}, map[string]string{}
	line, err := Encode(nil, a.Counters)
	if err == nil {
		err = a.Give(ctx, Part{Kind: CountersKind, Lines: [][]byte{line}})
	}
	for _, s := range archivedSchemas() {
		if err == nil {
			err = a.kind(ctx, s)
		}
	}
	return err
}

// Give passes a part on.
func (a *Archive) Give(ctx context.Context, part Part) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !a.Yield(part) {
		return ErrArchiveEnded
	}
	return nil
}

func (a *Archive) kind(ctx context.Context, s *Schema) error {
	a.batch = nil
	if special := a.Special[s.Name]; special != nil {
		err := special(ctx, func(record any) error { return a.add(ctx, s, record) })
		return errors.Join(err, a.flush(ctx, s, err))
	}
	// The records are in the order of their identity, each decoded when the next is asked for.
	var record any
	order := Order{By: s.ID[0]}
	if len(s.ID) > 1 {
		order.Tie = s.ID[1]
	}
	err := a.Reader.Find(ctx, s, Query{Order: order}, func() (any, error) {
		if record != nil {
			if err := a.add(ctx, s, record); err != nil {
				return nil, err
			}
		}
		record = s.fresh()
		return record, nil
	})
	if err == nil && record != nil {
		err = a.add(ctx, s, record)
	}
	return errors.Join(err, a.flush(ctx, s, err))
}

// add gathers records, but for those that hang on what the archive does not have.
func (a *Archive) add(ctx context.Context, s *Schema, record any) error {
	for field, kind := range s.Of {
		id, _ := s.Field(field).Get(record).(string)
		if kind == devices.Name && !a.devices[id] || kind != devices.Name && id > a.last[kind] {
			return nil
		}
	}
	if d, ok := record.(*device); ok {
		if a.Keep != nil && !a.Keep(d.Key) {
			return nil
		}
		a.devices[d.ID] = true
	} else if id, ok := s.IDOf(record)[0].(string); ok && len(s.ID) == 1 {
		a.last[s.Name] = max(a.last[s.Name], id)
	}
	if a.batch = append(a.batch, record); len(a.batch) == archiveRows {
		return a.flush(ctx, s, nil)
	}
	return nil
}

// flush gives what was gathered, unless there was an error.
func (a *Archive) flush(ctx context.Context, s *Schema, before error) (err error) {
	batch := a.batch
	if a.batch = nil; before != nil || len(batch) == 0 {
		return nil //nolint:nilerr // who has the error returns it
	}
	if s.archived != nil {
		if batch, err = s.archived(ctx, a.Reader, batch); err != nil || len(batch) == 0 {
			return err
		}
	}
	part := Part{Kind: s.Name, Lines: make([][]byte, len(batch))}
	for i, record := range batch {
		if part.Lines[i], err = Encode(nil, record); err != nil {
			return err
		}
	}
	return a.Give(ctx, part)
}
