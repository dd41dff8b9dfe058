package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hearth/internal/store/record"
)

// archiveRows is how many records other than logs come in one part.
const archiveRows = 1000

// Kinds returns the names of the kinds of an archive, in their order: what is named by others comes before them.
func Kinds() []string {
	names := []string{CountersKind}
	for _, s := range archivedSchemas() {
		names = append(names, s.Name)
	}
	return append(names, LogsKind)
}

func archivedSchemas() []*record.Schema {
	return slices.DeleteFunc(record.Schemas(), func(s *record.Schema) bool { return s.Shared })
}

// SchemaOf returns the description of an archive's kind; nil if there is none.
func SchemaOf(kind string) *record.Schema {
	all := archivedSchemas()
	if i := slices.IndexFunc(all, func(s *record.Schema) bool { return s.Name == kind }); i >= 0 {
		return all[i]
	}
	return nil
}

// Encode appends a record, a pointer to its struct, to dst as a line of an archive.
func Encode(dst []byte, stored any) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(stored)
	return out.Bytes(), err
}

// Decode reads a line of an archive into a pointer to the kind's struct; unknown fields are refused.
func Decode(kind string, line []byte) (any, error) {
	var stored any = new(Counters)
	if kind != CountersKind {
		s := SchemaOf(kind)
		if s == nil {
			return nil, fmt.Errorf("there is no kind %q", kind)
		}
		stored = s.Fresh()
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return stored, decoder.Decode(stored)
}

// Records decodes the lines of a part.
func Records(p *Part) ([]any, error) {
	records := make([]any, 0, len(p.Lines))
	for _, line := range p.Lines {
		stored, err := Decode(p.Kind, line)
		if err != nil {
			return nil, fmt.Errorf("a record of %s: %w", p.Kind, err)
		}
		records = append(records, stored)
	}
	return records, nil
}

// ErrEnded is the error of an archive whose reader has had enough.
var ErrEnded = errors.New("archive: the reader of the archive has had enough")

// Writer makes the parts of an archive.
type Writer struct {
	Reader   record.Reader
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
func (w *Writer) Run(ctx context.Context) error {
	w.devices, w.last = map[string]bool{}, map[string]string{}
	line, err := Encode(nil, w.Counters)
	if err == nil {
		err = w.Give(ctx, Part{Kind: CountersKind, Lines: [][]byte{line}})
	}
	for _, s := range archivedSchemas() {
		if err == nil {
			err = w.kind(ctx, s)
		}
	}
	return err
}

// Give passes a part on.
func (w *Writer) Give(ctx context.Context, part Part) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !w.Yield(part) {
		return ErrEnded
	}
	return nil
}

func (w *Writer) kind(ctx context.Context, s *record.Schema) error {
	w.batch = nil
	if special := w.Special[s.Name]; special != nil {
		err := special(ctx, func(stored any) error { return w.add(ctx, s, stored) })
		return errors.Join(err, w.flush(ctx, s, err))
	}
	// The records are in the order of their identity, each decoded when the next is asked for.
	var stored any
	order := record.Order{By: s.ID[0]}
	if len(s.ID) > 1 {
		order.Tie = s.ID[1]
	}
	err := w.Reader.Find(ctx, s, record.Query{Order: order}, func() (any, error) {
		if stored != nil {
			if err := w.add(ctx, s, stored); err != nil {
				return nil, err
			}
		}
		stored = s.Fresh()
		return stored, nil
	})
	if err == nil && stored != nil {
		err = w.add(ctx, s, stored)
	}
	return errors.Join(err, w.flush(ctx, s, err))
}

// add gathers records, but for those that hang on what the archive does not have.
func (w *Writer) add(ctx context.Context, s *record.Schema, stored any) error {
	for field, kind := range s.Of {
		id, _ := s.Field(field).Get(stored).(string)
		if kind == DevicesKind && !w.devices[id] || kind != DevicesKind && id > w.last[kind] {
			return nil
		}
	}
	id, _ := s.IDOf(stored)[0].(string)
	switch {
	case s.Name == DevicesKind:
		if key, _ := s.Field("key").Get(stored).(int64); w.Keep != nil && !w.Keep(key) {
			return nil
		}
		w.devices[id] = true
	case len(s.ID) == 1:
		w.last[s.Name] = max(w.last[s.Name], id)
	}
	if w.batch = append(w.batch, stored); len(w.batch) == archiveRows {
		return w.flush(ctx, s, nil)
	}
	return nil
}

// flush gives what was gathered, unless there was an error.
func (w *Writer) flush(ctx context.Context, s *record.Schema, before error) (err error) {
	batch := w.batch
	if w.batch = nil; before != nil || len(batch) == 0 {
		return nil //nolint:nilerr // who has the error returns it
	}
	if batch, err = s.Archived(ctx, w.Reader, batch); err != nil || len(batch) == 0 {
		return err
	}
	part := Part{Kind: s.Name, Lines: make([][]byte, len(batch))}
	for i, stored := range batch {
		if part.Lines[i], err = Encode(nil, stored); err != nil {
			return err
		}
	}
	return w.Give(ctx, part)
}
