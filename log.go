package hearth

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"iter"
	"time"
)

// Limits of logs.
const (
	MaxEvent         = 64
	MaxLogBatch      = 10_000
	MaxSummaryEvents = 50             // that a LogSummary names
	MaxLogValue      = 1e300          // so that no sum of logs overflows
	MaxLogFuture     = 24 * time.Hour // how far ahead of now a timestamp may be
	minLogTime       = -62135596800000
	maxLogTime       = 253402300799999
	eventAlphabet    = "letters, digits and _.:*/-"
)

// Log is one reading of a device as clients see it.
type Log struct {
	ID       string
	DeviceID string
	Event    string
	Value    Value
	At       time.Time
}

// LogEntry is one reading on its way in or out of a store.
type LogEntry struct {
	// Device is Device.Key.
	Device int64
	Event  string
	Value  Value
	// At is Unix milliseconds.
	At int64
	// Seq is the store's number of the entry: unique, and what orders entries of the same time. Set by the store.
	Seq uint64
}

// LogSummary stands for logs that were not published one by one.
type LogSummary struct {
	DeviceID string
	Count    int
	// Latest are the newest of them by event, of MaxSummaryEvents events at most.
	Latest map[string]LatestLog
}

// LatestLog is the newest log of an event.
type LatestLog struct {
	Value Value
	At    time.Time
}

var logIDEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// LogID returns the opaque, stable id of the entry with that number.
func LogID(seq uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seq)
	return logIDEncoding.EncodeToString(b[:])
}

// EventRule says what the name of an event may be.
const EventRule = "must be 1 to 64 " + eventAlphabet

// ValidEvent reports whether event is 1 to 64 of [A-Za-z0-9_.:*/-].
func ValidEvent(event string) bool {
	if len(event) == 0 || len(event) > MaxEvent {
		return false
	}
	for i := range len(event) {
		switch c := event[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == ':', c == '*', c == '/', c == '-':
		default:
			return false
		}
	}
	return true
}

// Problems returns the fields of the entry that are wrong, and why, judged at the time now.
func (e LogEntry) Problems(now time.Time) (wrong []FieldError) {
	if !ValidEvent(e.Event) {
		wrong = append(wrong, FieldError{"event", EventRule})
	}
	if problem := e.Value.problem(); problem != "" {
		wrong = append(wrong, FieldError{"value", problem})
	}
	switch {
	case e.At > now.Add(MaxLogFuture).UnixMilli():
		wrong = append(wrong, FieldError{"timestamp", "is more than 24 hours in the future"})
	case e.At < minLogTime || e.At > maxLogTime:
		wrong = append(wrong, FieldError{"timestamp", "must be of the years 1 to 9999"})
	}
	return wrong
}

// Problem returns the first of the Problems; "" if nothing is wrong.
func (e LogEntry) Problem(now time.Time) (field, message string) {
	for _, first := range e.Problems(now) {
		return first.Location, first.Message
	}
	return "", ""
}

// MaxWrongLogs is how many wrong logs of a batch are named, each with its wrong fields.
const MaxWrongLogs = 20

// LogFault is a field of a log of a batch that could not be read. Its Location is the field's name, or "" for the log itself.
type LogFault struct {
	// Index is the log's place in the batch.
	Index int
	FieldError
}

// Span is a time range: From inclusive, To exclusive, both whole milliseconds.
type Span struct {
	From time.Time
	To   time.Time
}

// LogQuery asks for the logs of one device.
type LogQuery struct {
	Device int64
	Span   Span
	// Event, if set, returns only logs of that event.
	Event string
	// Ascending is oldest first; the default is newest first.
	Ascending bool
	// After is where the page starts: the time and number of the last entry of the page before. Nil is the beginning.
	After *LogEntry
	Limit int
}

// LogScan asks for the logs of many devices, for exports.
type LogScan struct {
	Reach Reach
	// Devices, if not nil, picks devices of the reach by key.
	Devices []int64
	// Events, if not nil, picks events.
	Events []string
	Span   Span
}

// LogDeletion says which logs are to be deleted.
type LogDeletion struct {
	Device int64
	Span   Span
	// Event, if set, deletes only logs of that event.
	Event string
}

// Checkpoint says how far an import has come; it is stored with the rows that it counts.
type Checkpoint struct {
	// ID is a hash of the source and how it is read; Mark is whatever the import needs to go on, at most 1 KiB.
	ID   string
	Rows int64
	Mark []byte
}

// LogStore keeps logs, and rollups that equal them at every moment. Late and out-of-order logs land where they belong.
type LogStore interface {
	// AppendLogs stores all entries or none, durably, rollups with them; no entry is lost or doubled by a crash at any
	// moment. It returns the Seq of the first entry; the others follow by one each. Entries of a device that is gone are
	// passed over. At most MaxLogBatch entries. checkpoint may be nil. The stored effects.Idempotency has the first number as its
	// FirstLog, if there are entries.
	AppendLogs(ctx context.Context, entries []LogEntry, checkpoint *Checkpoint, effects SideEffects) (first uint64, err error)
	// AppendNewLogs is AppendLogs without the entries whose device, event, time and value, with its type, are those of a stored log or of an
	// entry before them. Of two calls at once one stores what they have in common. It returns the entries that were stored and the Seq of the
	// first. effects is called with their number, once or more often.
	AppendNewLogs(
		ctx context.Context, entries []LogEntry, checkpoint *Checkpoint, effects func(stored int) (SideEffects, error),
	) (stored []LogEntry, first uint64, err error)
	// ImportCheckpoint returns the stored checkpoint; CodeNotFound.
	ImportCheckpoint(ctx context.Context, id string) (Checkpoint, error)
	// Logs returns up to Limit+1 entries of one device, so that the asker sees whether there are more.
	Logs(ctx context.Context, query LogQuery) ([]LogEntry, error)
	// LatestLogs returns the newest log of each event of the devices, by device and event: by time, of the same time the one that was stored
	// later. Their Seq is not set.
	LatestLogs(ctx context.Context, devices []int64) ([]LogEntry, error)
	// States returns how long each value of an event held, exactly, from one snapshot. CodeValidationFailed if there are more than MaxStateLogs
	// logs or MaxStateValues values.
	States(ctx context.Context, query StateQuery) (States, error)
	// ScanLogs returns every entry that the scan asks for, oldest first, from one snapshot, in bounded memory. The sequence
	// ends after an error.
	ScanLogs(ctx context.Context, scan LogScan) iter.Seq2[LogEntry, error]
	// Rollups answers all groupings from one snapshot; see RollupQuery.
	Rollups(ctx context.Context, query RollupQuery) ([][]Rollup, error)
	// LogBytes returns about how many bytes the stored logs of a scope take, with their rollups.
	LogBytes(ctx context.Context, scope Scope) (int64, error)
	// CountLogs returns the number of logs of all time within reach.
	CountLogs(ctx context.Context, reach Reach) (int64, error)
	// TrimLogs removes logs from before the start of the hour that before is in, for every reader at once, and takes back space in a small step.
	// more says that another step is wanted; removed counts the entries that this step took out. An earlier time than that of
	// the calls before it lets logs from then on in again, once no step more is wanted; what was removed stays away.
	TrimLogs(ctx context.Context, before time.Time) (removed int64, more bool, err error)
	// DeleteLogs deletes logs of one device and returns their number. Rollups equal the logs at every moment, and no log comes back. It goes
	// from the oldest day to the newest, some days in an atomic step: after an error some are gone, which deleted counts; the same call
	// deletes the others. What is stored while it runs may stay.
	DeleteLogs(ctx context.Context, deletion LogDeletion) (deleted int64, err error)
	// Reclaim takes back, in a small step, the space of deleted devices; more says that another step is wanted.
	Reclaim(ctx context.Context) (more bool, err error)
}
