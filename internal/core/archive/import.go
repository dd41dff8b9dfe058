package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"hearth"
)

// Sink is where the logs of a file go.
type Sink interface {
	// Writable returns those of the devices' ids that logs can be stored for.
	Writable(ctx context.Context, ids []string) (map[string]bool, error)
	// Create makes devices that a file of an export names and that are not there, with their ids, at most hearth.MaxDeviceBatch.
	Create(ctx context.Context, devices []Device) error
	// Ingest stores a batch with its checkpoint, both or neither.
	Ingest(ctx context.Context, batch Batch) error
	// Checkpoint returns a stored checkpoint; CodeNotFound.
	Checkpoint(ctx context.Context, id string) (hearth.Checkpoint, error)
}

// Device is a device to make.
type Device struct{ ID, Name, Type string }

// Batch is what is stored in one step.
type Batch struct {
	// Devices are device ids; Entries have the index into them as their Device.
	Devices    []string
	Entries    []hearth.LogEntry
	Checkpoint hearth.Checkpoint
	// Rows are the entries' places in the file, from 1.
	Rows []int64
}

// Import says what is read back. File, Size and Sink are required.
type Import struct {
	// File is a file of the archive, or of an export of logs.
	File io.ReaderAt
	Size int64
	Sink Sink
	// Oldest, if set, is the time before which logs would be removed again at once: a file with such a log is refused.
	Oldest time.Time
	// SkipInvalid passes over logs of devices that are not there, and counts them; otherwise they end the import.
	SkipInvalid bool
	// BatchRows is how many rows are stored at once, at most hearth.MaxLogBatch; 0 is 5,000.
	BatchRows int
	// Progress is called after every batch; nil is not called.
	Progress func(Progress)
}

// Progress is how far an import has come, in rows.
type Progress struct {
	// Rows were stored by this run, Before were passed by the ones before it, Skipped were of devices that are not there.
	Rows    int64
	Before  int64
	Skipped int64
	// Total is what the file has.
	Total int64
	// Devices were made by this run.
	Devices int
}

// maxWrong is how many wrong rows are named.
const maxWrong = 20

// mark is what a checkpoint holds next to the number of rows that were passed.
type mark struct {
	Skipped int64 `json:"skipped"`
}

// stored is a row as far as it is read back.
type stored struct {
	Timestamp int64  `parquet:"timestamp,timestamp(millisecond)"`
	DeviceID  string `parquet:"device_id"`
	// DeviceName and DeviceType are what a device that is not there is made with.
	DeviceName string `parquet:"device_name,optional"`
	DeviceType string `parquet:"device_type,optional"`

	Event string  `parquet:"event"`
	Value float64 `parquet:"value"`
	// Files of earlier versions, which have numbers alone, lack these.
	ValueType string `parquet:"value_type,optional"`
	ValueText string `parquet:"value_text,optional"`
}

// value returns the row's value; false for an unknown type or a string without text.
func (s *stored) value(text func(string) string) (hearth.Value, bool) {
	switch s.ValueType {
	case "":
		return hearth.Number(s.Value), true
	case hearth.BooleanKind.String():
		return hearth.Boolean(s.Value != 0), true
	case hearth.TextKind.String():
		return hearth.Text(text(s.ValueText)), s.ValueText != ""
	}
	return hearth.Value{}, false
}

// Run reads the file back: to the devices of the same ids, each log as it was, in the file's order. Devices that are not there are
// made for a file of an export; they end the import of a file of the archive, which has devices that were deleted since. An import that was cut
// off goes on where its last batch ended, and a file that was read before adds nothing: its SHA-256 identifies it.
func (i Import) Run(ctx context.Context) (Progress, error) {
	if i.File == nil || i.Sink == nil || i.BatchRows < 0 || i.BatchRows > hearth.MaxLogBatch {
		return Progress{}, errors.New("archive: an import needs a file and a sink, and at most 10,000 rows at once")
	}
	i.BatchRows = cmp.Or(i.BatchRows, 5000)
	if i.Progress == nil {
		i.Progress = func(Progress) {}
	}
	r := &reading{Import: i, writable: map[string]bool{}, names: map[string]string{}}
	err := r.run(ctx)
	return r.progress, err
}

// reading is an import under way.
type reading struct {
	Import
	progress Progress
	id       string
	at       int64 // rows of the file that were passed
	writable map[string]bool
	create   bool              // whether devices that are not there are made
	names    map[string]string // the texts of the file, each once
	rows     []stored
}

func (r *reading) run(ctx context.Context) error {
	file, err := parquet.OpenFile(r.File, r.Size)
	if err != nil {
		return fmt.Errorf("this is no Parquet file: %w", err)
	}
	for _, name := range []string{"timestamp", "device_id", "event", "value"} {
		if _, ok := file.Schema().Lookup(name); !ok {
			return fmt.Errorf("the file has no column %q: it is neither of the archive nor an export of logs", name)
		}
	}
	_, archived := file.Schema().Lookup("owner_id")
	r.create = !archived
	r.progress.Total = file.NumRows()
	if err := r.resume(ctx); err != nil {
		return err
	}
	reader := parquet.NewGenericReader[stored](file)
	defer reader.Close()
	if err := reader.SeekToRow(r.at); err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	r.rows = make([]stored, r.BatchRows)
	for r.at < r.progress.Total {
		n, err := reader.Read(r.rows)
		if err != nil && !errors.Is(err, io.EOF) || n == 0 {
			return fmt.Errorf("read row %d: %w", r.at+1, errors.Join(err, io.ErrUnexpectedEOF))
		}
		if err := r.store(ctx, r.rows[:n]); err != nil {
			return err
		}
		r.Progress(r.progress)
	}
	return nil
}

// resume finds out how far this file was read before.
func (r *reading) resume(ctx context.Context) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(r.File, 0, r.Size)); err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	r.id = "parquet:" + hex.EncodeToString(sum.Sum(nil))
	checkpoint, err := r.Sink.Checkpoint(ctx, r.id)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	r.at, r.progress.Before = checkpoint.Rows, checkpoint.Rows
	return nil
}

// text returns a copy of s that does not hold a page of the file, the same for the same text.
func (r *reading) text(s string) string {
	if known, ok := r.names[s]; ok {
		return known
	}
	if len(r.names) >= maxKnown {
		clear(r.names)
	}
	s = strings.Clone(s)
	r.names[s] = s
	return s
}

// store stores a batch.
func (r *reading) store(ctx context.Context, rows []stored) error {
	if err := r.ask(ctx, rows); err != nil {
		return err
	}
	var batch Batch
	var wrong []string
	index := map[string]int64{}
	skipped := int64(0)
	for n := range rows {
		row := &rows[n]
		place := r.at + int64(n) + 1
		problem := ""
		value, ok := row.value(r.text)
		switch {
		case !r.writable[row.DeviceID]:
			if r.SkipInvalid {
				skipped++
				continue
			}
			problem = "the device " + row.DeviceID + " is not there, or not yours"
		case !r.Oldest.IsZero() && row.Timestamp < r.Oldest.UnixMilli():
			problem = "it is older than HEARTH_RETENTION, and would be removed again at once: set that longer, or off"
		case !ok:
			problem = "value_type must be null, boolean, or string with a value_text"
		}
		if problem != "" {
			if wrong = append(wrong, fmt.Sprintf("row %d: %s", place, problem)); len(wrong) == maxWrong {
				break
			}
			continue
		}
		device, ok := index[row.DeviceID]
		if !ok {
			device = int64(len(batch.Devices))
			batch.Devices = append(batch.Devices, r.text(row.DeviceID))
			index[batch.Devices[device]] = device
		}
		batch.Entries = append(batch.Entries, hearth.LogEntry{Device: device, Event: r.text(row.Event), Value: value, At: row.Timestamp})
		batch.Rows = append(batch.Rows, place)
	}
	if len(wrong) > 0 {
		return &InvalidRows{Rows: wrong}
	}
	passed, err := json.Marshal(mark{Skipped: skipped})
	if err != nil {
		return err
	}
	batch.Checkpoint = hearth.Checkpoint{ID: r.id, Rows: r.at + int64(len(rows)), Mark: passed}
	if err := r.Sink.Ingest(ctx, batch); err != nil {
		return err
	}
	r.at += int64(len(rows))
	r.progress.Rows += int64(len(batch.Rows))
	r.progress.Skipped += skipped
	return nil
}

// ask finds out which of the rows' devices can be written to.
func (r *reading) ask(ctx context.Context, rows []stored) error {
	var ids []string
	var named []Device
	for n := range rows {
		id := rows[n].DeviceID
		if _, asked := r.writable[id]; !asked {
			id = r.text(id)
			r.writable[id] = false
			ids = append(ids, id)
			named = append(named, Device{ID: id, Name: r.text(rows[n].DeviceName), Type: r.text(rows[n].DeviceType)})
		}
	}
	if len(ids) == 0 {
		return nil
	}
	writable, err := r.Sink.Writable(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r.writable[id] = writable[id]
	}
	if !r.create {
		return nil
	}
	named = slices.DeleteFunc(named, func(d Device) bool { return writable[d.ID] })
	for part := range slices.Chunk(named, hearth.MaxDeviceBatch) {
		if err := r.Sink.Create(ctx, part); err != nil {
			return fmt.Errorf("make devices: %w", err)
		}
		for _, d := range part {
			r.writable[d.ID] = true
		}
		r.progress.Devices += len(part)
	}
	return nil
}

// InvalidRows is the end of an import at rows that cannot be stored. What came before them is stored.
type InvalidRows struct {
	// Rows are the first of the wrong ones.
	Rows []string
}

// Error lists the rows.
func (e *InvalidRows) Error() string {
	return "rows cannot be stored:\n  " + strings.Join(e.Rows, "\n  ")
}
