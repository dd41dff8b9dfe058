package tsdb

import (
	"cmp"
	"context"
	"errors"
	"math"
	"time"

	"hearth"
)

// Table is a kind of document.
type Table uint8

// The tables. All documents of a scope are in the scope's partition.
const (
	// Chunks hold logs. Key.Major and Key.Minor are the time and the number from which on a log of the scope belongs into the
	// chunk, up to the key of the next one; the first chunk of a scope has Major math.MinInt64. Entries, MinAt and MaxAt are set.
	// Data[0] is the logs.
	Chunks Table = iota
	// Sums are sums of a scope. Key.Major is the level (LevelHour, LevelDay, LevelMonth), Key.Minor the bucket. Entries, MinAt
	// and MaxAt are set. Data[0] is the sums by event: a short blob.
	Sums
	// Cells are the long parts of Sums, by the same keys. Data[0] are sketches by event, Data[1] sums by device, Data[2] sums by
	// device and event; each may be empty.
	Cells
	// Days are the days of up to GroupSize devices. Key.Major is the day, Key.Minor the group: the device's key / GroupSize.
	// Data[0] is the sums by device, event and hour, and sketches.
	Days
	// TableCount is the number of tables.
	TableCount
)

// Key names a document. Scope is at least 1.
type Key struct {
	Table        Table
	Scope        int64
	Major, Minor int64
}

// compare orders by table, scope, Major and Minor.
func (k Key) compare(l Key) int {
	return cmp.Or(cmp.Compare(k.Table, l.Table), cmp.Compare(k.Scope, l.Scope), cmp.Compare(k.Major, l.Major), cmp.Compare(k.Minor, l.Minor))
}

// Doc is a document. A backend stores it as it is and judges nothing but its key.
type Doc struct {
	Key
	// Entries is the number of logs that the document is of, MinAt and MaxAt the times of the oldest and the newest of them, in
	// Unix milliseconds.
	Entries, MinAt, MaxAt int64
	// Data may be large: a backend whose documents are bounded splits what is too long.
	Data [3][]byte
}

// Fields says which Data of documents are wanted. What is not wanted is left nil.
type Fields [3]bool

// The fields that are asked for most.
var (
	NoData   = Fields{}
	MainData = Fields{true}
	AllData  = Fields{true, true, true}
)

// Range is a range of numbers; both ends are included.
type Range struct{ From, To int64 }

// Everything is the range of all numbers.
var Everything = Range{math.MinInt64, math.MaxInt64}

// Query asks for documents of one table.
type Query struct {
	Table Table
	// Scopes are the wanted scopes; nil is all of the partitions that the snapshot is of.
	Scopes []int64
	// Major and Minor must both hold: a query is of a rectangle, not of what lies between two keys.
	Major, Minor Range
	// Floor asks for more: of each scope also the documents of the greatest Major that is below Major.From, if there are any. Minor is
	// Everything then. Only Chunks of named scopes are asked for like that.
	Floor bool
	// Backward reverses the order.
	Backward bool
	// Limit, if not 0, is how many documents are wanted at most.
	Limit int
	Data  Fields
}

// Snapshot is what a View or an Update sees: one moment of some partitions. Every method may fail with ErrStale, after which
// nothing that came from the snapshot may be used. A snapshot is for one goroutine, and is over when the function that got it returns.
type Snapshot interface {
	// Horizon returns the time, in Unix milliseconds, before which there are no logs whatever the documents say. It starts as
	// math.MinInt64.
	Horizon() int64
	// Graves returns the graves of the partitions' scopes.
	Graves() []Grave
	// Tail returns the rows of the tail that are not folded in all of the snapshot's partitions, by ID. Row.Partitions has, of the
	// snapshot's partitions, those in which the row is not folded. Rows that lie outside of [from, to), in Unix milliseconds, may be left out.
	Tail(ctx context.Context, from, to int64) ([]TailRow, error)
	// TailData calls fn with the Data of rows that Tail returned.
	TailData(ctx context.Context, ids []int64, fn func(id int64, data []byte) error) error
	// Find calls fn with each document of the query: those of one scope by Major, then Minor, or backward; different scopes come one
	// after the other or mixed, but with Limit in any order that is the same each time. The Doc and its Data hold until fn returns. An error of
	// fn ends the search and is returned as it is; ErrEnough ends it without error. fn must not use the snapshot, but for EventNames.
	Find(ctx context.Context, query Query, fn func(*Doc) error) error
	// Bytes returns the size of the Data of all documents of a scope, at the least, as it is stored.
	Bytes(ctx context.Context, scope int64) (int64, error)
	// EventNames is the opposite of Backend.EventKeys.
	EventNames(ctx context.Context, keys []int64) (map[int64]string, error)
	// Get calls fn as Find does with those of the documents that exist, in any order. All keys are of one table.
	Get(ctx context.Context, keys []Key, data Fields, fn func(*Doc) error) error
}

// Errors of backends.
var (
	// ErrStale says that the snapshot is no longer there: it must be read anew.
	ErrStale = errors.New("tsdb: the snapshot was overtaken")
	// ErrBusy says that another one changes the partition: now, or while the change was being made.
	ErrBusy = errors.New("tsdb: the partition is being changed")
	// ErrEnough ends a search: see Snapshot.Find.
	ErrEnough = errors.New("tsdb: enough was found")
)

// ViewOptions say what a view is of.
type ViewOptions struct {
	// Operation names the question for metrics and logs: Logs, Rollups, …
	Operation string
	// Scopes are those that the question is about: the snapshot is of their partitions; nil is all scopes.
	Scopes []int64
	// Slow says that the view lasts as long as its reader likes, up to an hour: an export. Of Chunks and the tail, the snapshot
	// stays whole for an hour at least. Others get ErrStale after a minute at the earliest.
	Slow bool
}

// Change is what an Update does to a partition. The zero Change does nothing.
type Change struct {
	// Put are documents, each in place of the one of that key, if there is one. Delete are keys of documents that go; it is
	// no fault if there is none. No key is in both or twice.
	Put    []Doc
	Delete []Key
	// Folded are the IDs of rows of the tail that leave the partition. A row that has left all its partitions is removed.
	Folded []int64
}

// Grave says that the logs of a device that a scope may hold are hidden: the device was deleted or, if Moved is set, belongs to
// another scope, or is about to come into this one.
type Grave struct {
	Device, Scope int64
	Moved         bool
}

// MoveTime is how long a device that moves may be on the way. One that has not arrived by then stays where it was, and what was
// copied of its logs is a grave like others.
const MoveTime = time.Hour

// Backend stores the tail and the documents of logs. Everything it is asked to store is durable when the call returns nil. Its
// methods may be called at once from many goroutines; in a fleet from many processes. Errors are those named here, the context's,
// or hearth errors (CodeUnavailable if the database is not there).
//
// A backend has partitions, which are changed and seen each by itself, and each by one at a time. Which one a scope is in never changes.
type Backend interface {
	// Partitions returns their number, Partition the one, from 0 on, that a scope is in.
	Partitions() int
	Partition(scope int64) int

	// Append gives the batch numbers that no log ever had (First, and the Size - 1 after it), and stores it: its logs as a part of one row
	// of the tail, its checkpoint and its side effects, in one atomic step. Batches of many callers may share a step and a row: see
	// Pack, which makes the rows. An Idempotency record's FirstLog is First, if there are logs. On an error nothing
	// was stored, unless the database cannot say. Of two batches with Prune of different processes that have a log in common, the second one's
	// Prune sees what the first one stored. *hearth.Replayed and CodeIdempotencyMismatch come as hearth.IdempotencyRecord says.
	Append(ctx context.Context, batch *Batch) error

	// View calls fn with a snapshot and returns its error. When a context ends, so does the view. It does not try again: who asks does.
	View(ctx context.Context, options ViewOptions, fn func(Snapshot) error) error

	// Update calls fn with a snapshot of one partition, of this moment, and stores the change that fn returns: all of it or, also if the
	// process ends at any moment, nothing, and nothing for any reader before all of it. nil stores nothing. ErrBusy if another one changes
	// the partition, in this process or not; then fn may have been called. It may be called more than once, but then what it returned before is not stored. An
	// update that another process has left unfinished is finished, or undone, by a later one after at most 20 s.
	Update(ctx context.Context, operation string, partition int, fn func(Snapshot) (*Change, error)) error

	// Horizon returns Snapshot.Horizon as it is now. MoveHorizon sets it for all partitions at once; ErrBusy, and no change, if it is not from.
	Horizon(ctx context.Context) (int64, error)
	MoveHorizon(ctx context.Context, from, to int64) error

	// Homes returns the keys of the scopes of those devices that exist and are not deleted. It looks into the database each time.
	Homes(ctx context.Context, devices []int64) (map[int64]int64, error)
	// ScopeKeys returns the keys of those scopes that have one. A key is given once and never changes.
	ScopeKeys(ctx context.Context, scopes []hearth.Scope) (map[hearth.Scope]int64, error)
	// EventKeys returns the keys of those events that have one, of all if missing ones are to be made. Keys are at least 1, given once, and
	// never change.
	EventKeys(ctx context.Context, names []string, create bool) (map[string]int64, error)

	// DueGraves returns graves that were not cleaned yet, or, if clean is set, those that were cleaned before that time: up to limit of
	// deleted devices of one scope, by device, or all of one device that moved, unless it is just moving again.
	DueGraves(ctx context.Context, clean time.Time, limit int) ([]Grave, error)
	// Cleaned notes the time at which no logs of the graves were found any more. RemoveGraves removes them. Both take what DueGraves
	// returned, and leave a device alone that moves meanwhile.
	Cleaned(ctx context.Context, graves []Grave, at time.Time) error
	RemoveGraves(ctx context.Context, graves []Grave) error
}
