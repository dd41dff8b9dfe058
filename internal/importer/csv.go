package importer

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"hearth"
)

// csvSink is where rows go.
type csvSink interface {
	// Devices returns the ids of all devices that rows may name, by name.
	Devices(ctx context.Context) (map[string]string, error)
	// Writable returns those of the devices' ids that logs can be stored for.
	Writable(ctx context.Context, ids []string) (map[string]bool, error)
	// Create makes devices, at most hearth.MaxDeviceBatch, and returns their ids in order.
	Create(ctx context.Context, devices []csvDevice) (ids []string, err error)
	// Ingest stores a batch with its checkpoint, both or neither.
	Ingest(ctx context.Context, batch csvBatch) error
	// Checkpoint returns a stored checkpoint; CodeNotFound.
	Checkpoint(ctx context.Context, id string) (hearth.Checkpoint, error)
}

// csvDevice is a device to make, with that id if it is set.
type csvDevice struct {
	ID   string
	Name string
	Type string
}

// csvBatch is what is stored in one step.
type csvBatch struct {
	// Devices are device ids; Entries have the index into them as their Device.
	Devices    []string
	Entries    []hearth.LogEntry
	Checkpoint hearth.Checkpoint
	// Lines are the entries' line numbers.
	Lines []int64
}

// Columns are the names of the columns in the header.
type Columns struct {
	Device, Type, Event, Value, Timestamp string
}

// DefaultColumns are the names that a file has unless others are given.
func DefaultColumns() Columns {
	return Columns{Device: "device", Type: "type", Event: "event", Value: "value", Timestamp: "timestamp"}
}

// csvImport says what is imported and how.
type csvImport struct {
	// Open opens the file, packed by gzip or zstd or not; it may be called twice. Size is its length in bytes if it is known, for the
	// progress.
	Open func() (io.ReadCloser, error)
	Size int64
	Sink csvSink
	// Target names whom the logs are for: an import for somebody else is another import.
	Target  string
	Columns Columns
	// Event and Type, if set, stand for the columns.
	Event string
	Type  string
	// Format says how the text is read; format is what it comes to.
	Format Format
	format format
	// SkipInvalid passes over rows that are wrong, counts them and names the first; otherwise they end the import.
	SkipInvalid bool
	// BatchRows is how many rows are stored at once, at most hearth.MaxLogBatch; 0 is 5,000.
	BatchRows int
	Clock     hearth.Clock
	// Progress is called after every batch; nil: it is not.
	Progress func(Progress)
}

// defaultType is the type of devices where neither a column nor an option says it.
const defaultType = "device"

func (o csvImport) validate() (csvImport, error) {
	if o.Open == nil || o.Sink == nil {
		return o, errors.New("importer: a source and a sink are needed")
	}
	o.BatchRows = cmp.Or(o.BatchRows, 5000)
	if o.BatchRows < 0 || o.BatchRows > hearth.MaxLogBatch {
		return o, fmt.Errorf("importer: a batch has 1 to %d rows", hearth.MaxLogBatch)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	var err error
	o.format, err = checkText(o.Format, o.Columns, o.Event, o.Type)
	return o, err
}

// checkText checks what is said of a text file; an error names the flag.
func checkText(f Format, columns Columns, event, kind string) (format, error) {
	switch {
	case event != "" && !hearth.ValidEvent(event):
		return format{}, fmt.Errorf("--event %q: write 1 to 64 letters, digits and _.:*/-", event)
	case len([]rune(kind)) > hearth.MaxDeviceType:
		return format{}, fmt.Errorf("--type: write at most %d characters", hearth.MaxDeviceType)
	case f.Wide && event != "":
		return format{}, errors.New("--wide and --event: in a wide file the columns are the events; leave one out")
	}
	names := []string{columns.Timestamp}
	if f.Device == "" {
		names = append(names, columns.Device)
	}
	if !f.Wide {
		names = append(names, columns.Value)
		if event == "" {
			names = append(names, columns.Event)
		}
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return format{}, fmt.Errorf("the column %q is named for two things", name)
		}
	}
	return f.parse()
}

// Progress is how far an import has come.
type Progress struct {
	// Rows were stored by this run, Before by the ones before it; Skipped were wrong.
	Rows    int64
	Before  int64
	Skipped int64
	// Devices were made by this run.
	Devices int
	// Invalid are the first of the rows that were skipped: "line 17: value must be a number".
	Invalid []string
	// Read is how much of the file was read, of Size bytes.
	Read int64
	Size int64
}

// InvalidRows is the end of an import at rows that are wrong. What came before them is stored.
type InvalidRows struct {
	// Rows are the first of the wrong ones: "line 17: value must be a number".
	Rows []string
}

// Error lists the rows.
func (e *InvalidRows) Error() string { return "rows are not valid:\n  " + strings.Join(e.Rows, "\n  ") }

// maxInvalidRows is how many wrong rows are named.
const maxInvalidRows = 20

// run imports the file and returns the final progress. An import that was cut off goes on where its last batch ended; a
// file that was imported before adds what was appended to it since. Fails with *InvalidRows, and with the errors of the sink.
func (o csvImport) run(ctx context.Context) (Progress, error) {
	options, err := o.validate()
	if err != nil {
		return Progress{}, err
	}
	options.Open = func() (io.ReadCloser, error) { // a line may be endless
		file, err := o.Open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{&untilDone{ctx, file}, file}, nil
	}
	r := &run{options: options, progress: Progress{Size: options.Size}}
	err = r.run(ctx)
	return r.progress, err
}

type run struct {
	options  csvImport
	progress Progress
	opened   io.ReadCloser
	file     *counter
	text     io.Closer
	lines    *lines
	layout   layout
	id       string
	mark     mark
	devices  map[string]string
	// writable are the ids that were looked up, and the names and types of the rows that are to be made with theirs.
	writable map[string]bool
	wanted   map[string]csvDevice

	entries []hearth.LogEntry
	numbers []int64
	ids     []string
	index   map[string]int64
	wrong   []string
	skipped int64
}

// counter counts what was read.
type counter struct {
	reader io.Reader
	n      int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	c.n += int64(n)
	return n, err
}

// unpacked returns the text of a file that may be packed by gzip or zstd.
func unpacked(source io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(source, 1<<20)
	head, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(buffered)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		decoder, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return decoder.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}

// maxZstdWindow bounds the memory that unpacking takes.
const maxZstdWindow = 128 << 20

// open begins the file anew.
func (r *run) open() error {
	if err := r.close(); err != nil {
		return err
	}
	source, err := r.options.Open()
	if err != nil {
		return err
	}
	r.opened, r.file = source, &counter{reader: source}
	text, err := unpacked(r.file)
	if err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	r.text = text
	decoded, err := decode(text, r.options.format.encoding)
	if err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	r.lines = newLines(decoded)
	return nil
}

func (r *run) close() error {
	if r.opened == nil {
		return nil
	}
	err := r.opened.Close()
	if r.text != nil {
		err = errors.Join(err, r.text.Close())
	}
	r.opened, r.text = nil, nil
	return err
}

// begin opens the file and reads the header.
func (r *run) begin() error {
	if err := r.open(); err != nil {
		return err
	}
	header, err := r.lines.next()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty: it needs a header")
	}
	if err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	if r.layout, err = layoutOf(header, r.options); err != nil || !r.layout.json {
		return err
	}
	return r.open() // it has no header
}

func (r *run) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.begin(); err != nil {
		return err
	}
	r.writable = map[string]bool{}
	if r.devices, err = r.options.Sink.Devices(ctx); err != nil {
		return err
	}
	if err := r.resume(ctx); err != nil {
		return err
	}
	r.progress.Before = r.mark.Rows
	for {
		more, err := r.gather()
		if err != nil {
			return err
		}
		if len(r.wrong) > 0 && !r.options.SkipInvalid {
			return &InvalidRows{Rows: r.wrong}
		}
		if len(r.entries) > 0 || r.skipped > 0 {
			if err := r.store(ctx); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// gather reads rows for a batch; more is false at the end of the file.
func (r *run) gather() (more bool, err error) {
	r.entries, r.numbers, r.ids, r.index, r.wrong, r.skipped = r.entries[:0], r.numbers[:0], nil, map[string]int64{}, nil, 0
	r.wanted = map[string]csvDevice{}
	now := r.options.Clock.Now()
	for len(r.entries) < r.options.BatchRows {
		line, first, err := r.layout.next(r.lines)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil && !errors.Is(err, errLine) {
			return false, fmt.Errorf("read line %d: %w", r.lines.number, err)
		}
		var row row
		problem := "is longer than 64 KiB"
		if err == nil {
			if len(line) == 0 {
				continue
			}
			if row, problem = r.layout.parse(line, now); problem == "" && len(row.readings) == 0 {
				continue
			}
		}
		if problem != "" {
			if r.wrong = append(r.wrong, fmt.Sprintf("line %d: %s", first, problem)); !r.options.SkipInvalid && len(r.wrong) == maxInvalidRows {
				return false, nil
			}
			if r.options.SkipInvalid {
				r.skipped++
				r.wrong = r.wrong[:min(len(r.wrong), maxInvalidRows)]
			}
			continue
		}
		r.take(row, first)
	}
	return true, nil
}

// take puts a row into the batch.
func (r *run) take(row row, line int64) {
	key := row.device
	if row.id != nil {
		key = row.id
	}
	at, ok := r.index[string(key)]
	if !ok {
		name := string(key)
		at = int64(len(r.ids))
		r.index[name] = at
		id, known := r.devices[name]
		switch {
		case row.id != nil:
			id = name
			r.wanted[id] = csvDevice{ID: id, Name: string(row.device), Type: string(row.kind)}
		case !known:
			// A device that is not there yet has its type where its id will be.
			id = newDevice + string(row.kind)
		}
		r.ids = append(r.ids, id)
	}
	for _, one := range row.readings {
		r.entries = append(r.entries, hearth.LogEntry{Device: at, Event: one.event, Value: one.value, At: row.at})
		r.numbers = append(r.numbers, line)
	}
}

// newDevice marks, in place of an id, a device to be made.
const newDevice = "\x00"

// store makes the batch's new devices and stores it with its checkpoint.
func (r *run) store(ctx context.Context) error {
	if err := r.create(ctx); err != nil {
		return err
	}
	next := r.mark
	next.Rows += int64(len(r.entries))
	next.Skipped += r.skipped
	next.Offset, next.Line, next.Open, next.Sum = r.lines.offset, r.lines.number, r.lines.open, r.lines.sum()
	checkpoint, err := next.checkpoint(r.id)
	if err != nil {
		return err
	}
	batch := csvBatch{Devices: r.ids, Entries: r.entries, Checkpoint: checkpoint, Lines: r.numbers}
	if err := r.options.Sink.Ingest(ctx, batch); err != nil {
		return err
	}
	r.mark = next
	r.progress.Rows += int64(len(r.numbers))
	r.progress.Skipped += r.skipped
	if room := maxInvalidRows - len(r.progress.Invalid); room > 0 {
		r.progress.Invalid = append(r.progress.Invalid, r.wrong[:min(room, len(r.wrong))]...)
	}
	r.progress.Read = r.file.n
	r.options.Progress(r.progress)
	return nil
}

func (r *run) create(ctx context.Context) error {
	var devices []csvDevice
	var places []int64
	if err := r.lookUp(ctx); err != nil {
		return err
	}
	for name, at := range r.index {
		if device, named := r.wanted[name]; named {
			if !r.writable[name] {
				devices, places = append(devices, device), append(places, at)
			}
			continue
		}
		if kind, missing := strings.CutPrefix(r.ids[at], newDevice); missing {
			devices = append(devices, csvDevice{Name: name, Type: kind})
			places = append(places, at)
		}
	}
	for start := 0; start < len(devices); start += hearth.MaxDeviceBatch {
		end := min(start+hearth.MaxDeviceBatch, len(devices))
		ids, err := r.options.Sink.Create(ctx, devices[start:end])
		if err != nil {
			return fmt.Errorf("make devices: %w", err)
		}
		for i, id := range ids {
			r.ids[places[start+i]] = id
			if devices[start+i].ID != "" {
				r.writable[id] = true
			} else {
				r.devices[devices[start+i].Name] = id
			}
		}
		r.progress.Devices += len(ids)
	}
	return nil
}

// lookUp finds out which of the batch's ids are devices that can be written to.
func (r *run) lookUp(ctx context.Context) error {
	var ids []string
	for id := range r.wanted {
		if _, asked := r.writable[id]; !asked {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	writable, err := r.options.Sink.Writable(ctx, ids)
	for _, id := range ids {
		r.writable[id] = writable[id]
	}
	return err
}
