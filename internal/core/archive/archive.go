// Package archive keeps logs that retention is about to remove: as Parquet files in the blob store, by month, which
// "hearth import" reads back.
//
// A journal in the blob store makes each file and the removal that follows one deed: a crash while a file is written leaves
// the logs and takes the file; a crash after it was verified ends with the logs removed. No log is lost or kept twice.
package archive

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/parquet-go/parquet-go"

	"hearth"
	"hearth/internal/blob"
)

// Where the files lie: archive/logs/2026-03/logs-2026-03-01-to-2026-04-01-5f3a9c1e.parquet.
const (
	// Prefix is what the keys of all files begin with.
	Prefix  = "archive/logs/"
	journal = "archive/journal.json"
	// Suffix is what they end with.
	Suffix = ".parquet"
)

// Logs are what is kept.
type Logs interface {
	ScanLogs(ctx context.Context, scan hearth.LogScan) iter.Seq2[hearth.LogEntry, error]
}

// Devices are what the logs are of.
type Devices interface {
	DevicesByKey(ctx context.Context, keys []int64) ([]hearth.Device, error)
}

var (
	_ Logs    = hearth.LogStore(nil)
	_ Devices = hearth.DeviceStore(nil)
)

// Options are what the service works with. Logs, Devices and Files are required.
type Options struct {
	Logs    Logs
	Devices Devices
	Files   blob.Store
	// Log records each file; nil discards.
	Log *slog.Logger
}

// Service keeps logs. One call at a time: the job that cleans up runs once across instances.
type Service struct{ o Options }

// New makes the service.
func New(options Options) (*Service, error) {
	if options.Logs == nil || options.Devices == nil || options.Files == nil {
		return nil, errors.New("archive: logs, devices and files are needed")
	}
	options.Log = cmp.Or(options.Log, slog.New(slog.DiscardHandler))
	return &Service{options}, nil
}

// The states of an entry of the journal.
const (
	stateWriting  = "writing"
	stateRemoving = "removing"
)

// entry is the journal: what is under way. It is there only as long as something is.
type entry struct {
	State string `json:"state"`
	// File is the key of the file; Until the time before which its logs, and no others, are from.
	File  string    `json:"file"`
	Until time.Time `json:"until"`
	Rows  int64     `json:"rows"`
	// SHA256 is the file's, in hex.
	SHA256 string `json:"sha256"`
}

// Keep makes sure that the logs from before some time are in a file that was read back, and returns that time: the logs may be
// removed then, and Removed must be called after that. The time is the start of a day in UTC, not after before, and no file
// reaches over the end of a month: more says that another call has more to keep. Before the file there is an entry in the
// journal, so that a call after a crash goes on where that one stopped.
func (s *Service) Keep(ctx context.Context, before time.Time) (until time.Time, more bool, err error) {
	open, err := s.open(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	switch open.State {
	case stateRemoving:
		return open.Until, true, nil
	case stateWriting: // its logs are all still there
		if err := errors.Join(s.o.Files.Delete(ctx, open.File), s.o.Files.Delete(ctx, journal)); err != nil {
			return time.Time{}, false, err
		}
	}
	horizon := startOfDay(before)
	first, found, err := s.first(ctx, horizon)
	if err != nil || !found {
		return horizon, false, err
	}
	month := time.Date(first.Year(), first.Month(), 1, 0, 0, 0, 0, time.UTC)
	until = month.AddDate(0, 1, 0)
	if until.After(horizon) {
		until = horizon
	}
	e := entry{State: stateWriting, Until: until, File: key(startOfDay(first), until)}
	if err := s.note(ctx, e); err != nil {
		return time.Time{}, false, err
	}
	start := time.Now()
	if err := s.write(ctx, &e); err != nil {
		return time.Time{}, false, fmt.Errorf("archive logs: %w", err)
	}
	s.o.Log.InfoContext(ctx, "archived logs", "file", e.File, "rows", e.Rows, "sha256", e.SHA256, "duration", time.Since(start))
	return until, until.Before(horizon), nil
}

// Removed notes that the logs of the last file were removed.
func (s *Service) Removed(ctx context.Context) error {
	open, err := s.open(ctx)
	if err != nil || open.State != stateRemoving {
		return err
	}
	return s.o.Files.Delete(ctx, journal)
}

func startOfDay(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// key names a new file of logs of one month.
func key(from, until time.Time) string {
	var random [4]byte
	rand.Read(random[:])
	return fmt.Sprintf("%s%s/logs-%s-to-%s-%s%s", Prefix, from.Format("2006-01"), from.Format("2006-01-02"), until.Format("2006-01-02"),
		hex.EncodeToString(random[:]), Suffix)
}

// first returns the time of the oldest log from before the horizon.
func (s *Service) first(ctx context.Context, horizon time.Time) (at time.Time, found bool, err error) {
	for log, err := range s.o.Logs.ScanLogs(ctx, scanUntil(horizon)) {
		return time.UnixMilli(log.At).UTC(), err == nil, err
	}
	return at, false, nil
}

func scanUntil(until time.Time) hearth.LogScan {
	span := hearth.Export{}.Span()
	span.To = until
	return hearth.LogScan{Reach: hearth.Reach{All: true}, Span: span}
}

// open reads the journal; the zero entry if there is none.
func (s *Service) open(ctx context.Context) (e entry, err error) {
	reader, err := s.o.Files.Open(ctx, journal)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	data, err := io.ReadAll(io.LimitReader(reader, 64<<10))
	if err = errors.Join(err, reader.Close()); err != nil {
		return e, err
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("read %s: %w", journal, err)
	}
	if e.State != stateWriting && e.State != stateRemoving {
		return e, fmt.Errorf("%s is in the state %q, which this program does not know", journal, e.State)
	}
	return e, nil
}

// note writes the journal, durably.
func (s *Service) note(ctx context.Context, e entry) error {
	_, err := blob.Write(ctx, s.o.Files, blob.File{Key: journal, Fill: func(w io.Writer) error { return json.NewEncoder(w).Encode(e) }})
	return err
}

// write writes the entry's file, reads it back, and notes that the logs may go.
func (s *Service) write(ctx context.Context, e *entry) error {
	sum := sha256.New()
	info, err := blob.Write(ctx, s.o.Files, blob.File{Key: e.File, Fill: func(w io.Writer) (err error) {
		e.Rows, err = s.rows(ctx, io.MultiWriter(w, sum), e.Until)
		return err
	}})
	if err != nil {
		return err
	}
	e.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err := s.verify(ctx, *e, info.Size); err != nil {
		return err
	}
	now, err := s.open(ctx)
	if err == nil && now.File != e.File { // this run was given up for lost
		err = errors.Join(errors.New("another run has taken over"), s.o.Files.Delete(ctx, e.File))
	}
	if err != nil {
		return err
	}
	e.State = stateRemoving
	return s.note(ctx, *e)
}

// writeBuffer is what is handed to the storage at once.
const writeBuffer = 256 << 10

// rows writes the logs from before until, oldest first, and returns their number.
func (s *Service) rows(ctx context.Context, w io.Writer, until time.Time) (n int64, err error) {
	buffered := bufio.NewWriterSize(w, writeBuffer)
	file := parquet.NewGenericWriter[row](buffered, parquet.MaxRowsPerRowGroup(groupRows), parquet.Compression(&parquet.Zstd),
		parquet.CreatedBy("hearth", "", ""))
	known := known{ctx: ctx, devices: s.o.Devices, rows: map[int64]*row{}}
	batch := make([]row, 0, batchRows)
	flush := func() error {
		_, err := file.Write(batch)
		n += int64(len(batch))
		batch = batch[:0]
		return errors.Join(err, ctx.Err())
	}
	for log, err := range s.o.Logs.ScanLogs(ctx, scanUntil(until)) {
		if err != nil {
			return n, err
		}
		device, err := known.of(log.Device)
		if err != nil {
			return n, err
		}
		if device == nil {
			continue // deleted meanwhile: its logs go with it
		}
		full := *device
		full.Timestamp, full.Event, full.Value, full.ValueText = log.At, log.Event, log.Value.Number(), log.Value.Text()
		if kind := log.Value.Kind(); kind != hearth.NumberKind {
			full.ValueType = kind.String()
		}
		if batch = append(batch, full); len(batch) == batchRows {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := flush(); err != nil {
		return n, err
	}
	return n, errors.Join(file.Close(), buffered.Flush())
}

// verify reads the file back: it must have the bytes that were written, and as many rows.
func (s *Service) verify(ctx context.Context, e entry, size int64) (err error) {
	reader, err := s.o.Files.Open(ctx, e.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	sum := sha256.New()
	if n, err := io.Copy(sum, reader); err != nil || n != size {
		return errors.Join(err, fmt.Errorf("%s has %d bytes, not the %d that were written", e.File, n, size))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != e.SHA256 {
		return fmt.Errorf("%s has the SHA-256 %s, not %s as it was written", e.File, got, e.SHA256)
	}
	file, err := parquet.OpenFile(readerAt{reader}, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", e.File, err)
	}
	if file.NumRows() != e.Rows {
		return fmt.Errorf("%s has %d rows, not the %d that were written", e.File, file.NumRows(), e.Rows)
	}
	return nil
}

// readerAt reads at places of a reader that seeks; one goroutine at a time.
type readerAt struct{ io.ReadSeeker }

// ReadAt implements io.ReaderAt.
func (r readerAt) ReadAt(p []byte, offset int64) (int, error) {
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}
