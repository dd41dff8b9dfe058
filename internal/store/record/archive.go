package record

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hearth/internal/store/archive"
)

// archiveRows is how many records other than logs come in one part.
const archiveRows = 1000

// ArchiveKinds returns the names of the kinds of an archive, in their order: what is named by others comes before them.
func ArchiveKinds() []string {
	names := []string{archive.CountersKind}
	for _, s := range archivedSchemas() {
		names = append(names, s.Name)
	}
	return append(names, archive.LogsKind)
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
	var record any = new(archive.Counters)
	if kind != archive.CountersKind {
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
func Records(p *archive.Part) ([]any, error) {
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
	Counters archive.Counters
	// Special gives the records of those kinds that the store keeps in its own way, pointers to the kind's struct.
	Special map[string]func(ctx context.Context, give func(record any) error) error
	// Keep, if not nil, picks the devices, by key.
	Keep func(key int64) bool
	// Yield takes a part; false ends the archive.
	Yield func(archive.Part) bool

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
		err = a.Give(ctx, archive.Part{Kind: archive.CountersKind, Lines: [][]byte{line}})
	}
	for _, s := range archivedSchemas() {
		if err == nil {
			err = a.kind(ctx, s)
		}
	}
	return err
}

// Give passes a part on.
func (a *Archive) Give(ctx context.Context, part archive.Part) error {
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
	part := archive.Part{Kind: s.Name, Lines: make([][]byte, len(batch))}
	for i, record := range batch {
		if part.Lines[i], err = Encode(nil, record); err != nil {
			return err
		}
	}
	return a.Give(ctx, part)
}
