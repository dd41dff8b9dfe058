package mongodb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/tsdb"
)

const (
	// viewTime is how long a snapshot may be used, slowViewTime how long that of a slow view.
	viewTime     = 90 * time.Second
	slowViewTime = time.Hour
	// viewTries bounds how often a view looks anew for a moment in which nothing was folded.
	viewTries = 50
)

// logSnapshot is a moment of some partitions: their documents at the versions of states, and the rows of the tail that were
// not folded at those.
type logSnapshot struct {
	b      *logBackend
	states *partitionStates
	// until is when the documents that the snapshot sees may be gone.
	until  time.Time
	graves []tsdb.Grave
	// rows are nil until they are read, data those of a slow view.
	rows []tailDoc
	data map[int64][]byte
	// seen are chunks that came, without their data, for who changes the partition all documents; then absent is what did not come
	// when asked for. mu guards both, and searched.
	mu     sync.Mutex
	seen   map[tsdb.Key]*logDoc
	absent map[tsdb.Key]bool
	// searched are searches for chunks that found all that there is.
	searched []tsdb.Query
	// replaced are the versions whose documents are not seen by anyone who reads now, as the database filters them.
	replaced []int64
}

// View implements tsdb.Backend.
func (b *logBackend) View(ctx context.Context, o tsdb.ViewOptions, fn func(tsdb.Snapshot) error) error {
	do := b.store.do
	if o.Slow {
		do = b.store.doLong
	}
	return do(ctx, o.Operation, func(ctx context.Context) error {
		var parts []int
		for _, scope := range o.Scopes {
			parts = append(parts, b.Partition(scope))
		}
		if o.Scopes == nil {
			for p := range partitions {
				parts = append(parts, p)
			}
		}
		slices.Sort(parts)
		parts = slices.Compact(parts)
		if o.Slow {
			unpin, err := b.pin(ctx, parts)
			if err != nil {
				return err
			}
			defer unpin()
		}
		graves := b.gravesMeanwhile(ctx, o.Scopes)
		s, err := b.openView(ctx, parts, o.Slow)
		found, failed := graves()
		if err := cmp.Or(err, failed); err != nil {
			return err
		}
		s.graves = found
		return fn(s)
	})
}

// openView reads the tail and the versions of partitions. That nothing was committed in between is seen by reading the
// versions again.
func (b *logBackend) openView(ctx context.Context, parts []int, slow bool) (*logSnapshot, error) {
	began := time.Now()
	before, err := b.readStates(ctx, parts)
	for try := 0; err == nil && try < viewTries; try++ {
		s := b.newSnapshot(before, began)
		if err := s.readTail(ctx); err != nil {
			return nil, err
		}
		if slow {
			s.until = began.Add(slowViewTime)
			if err := s.loadTail(ctx); err != nil && !errors.Is(err, tsdb.ErrStale) { // if a row is gone, so is the version
				return nil, err
			}
		}
		began = time.Now()
		after, err := b.readStates(ctx, parts)
		if err != nil {
			return nil, err
		}
		if before.same(after) {
			// Folded rows were taken off the tail after the versions were read first; the horizon must not be older than the versions.
			before.horizon = after.horizon
			return s, nil
		}
		before = after
	}
	return nil, cmp.Or(err, tsdb.ErrStale)
}

func (b *logBackend) newSnapshot(states *partitionStates, began time.Time) *logSnapshot {
	s := &logSnapshot{b: b, states: states, until: began.Add(viewTime)}
	for _, state := range states.byID {
		for _, old := range state.Old {
			s.replaced = append(s.replaced, docID(state.ID, old.Ver, 0))
		}
	}
	return s
}

// pin asks that what is replaced from now on stays for a slow view; unpin ends that.
func (b *logBackend) pin(ctx context.Context, parts []int) (unpin func(), err error) {
	pin := pinned{ID: uuid.NewString(), At: b.now().UnixMilli()}
	filter := bson.D{{Key: "_id", Value: anyOf(parts)}}
	change := func(ctx context.Context, operator string, value any) error {
		return again(ctx, func() error {
			_, err := b.states.UpdateMany(ctx, filter, bson.D{{Key: operator, Value: bson.D{{Key: "pins", Value: value}}}})
			return err
		})
	}
	unpin = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.store.options.OperationTimeout)
		defer cancel()
		if err := change(ctx, "$pull", bson.D{{Key: "id", Value: pin.ID}}); err != nil {
			b.store.options.Logger.DebugContext(ctx, "the end of a long view was not noted; what it needed stays for an hour", "error", err)
		}
	}
	return unpin, change(ctx, "$push", pin)
}

// readTail reads what the rows of the tail say of themselves.
func (s *logSnapshot) readTail(ctx context.Context) error {
	// By the index of open.
	docs, err := findAll[tailDoc](ctx, s.b.tail, live(bson.E{Key: "open", Value: anyOf(s.states.parts)}),
		options.Find().SetProjection(bson.D{{Key: "data", Value: 0}}).SetSort(bson.D{{Key: "_id", Value: 1}}))
	s.rows = make([]tailDoc, 0, len(docs))
	for _, d := range docs {
		open := d.Open
		d.Open = nil
		for _, p := range open {
			if state := s.states.byID[int64(p)]; state != nil && !slices.Contains(state.Folded, d.ID) {
				d.Open = append(d.Open, p)
			}
		}
		if len(d.Open) > 0 {
			d.everywhere = open
			s.rows = append(s.rows, d)
		}
	}
	return err
}

// loadTail reads the data of all rows.
func (s *logSnapshot) loadTail(ctx context.Context) error {
	s.data = map[int64][]byte{}
	ids := make([]int64, len(s.rows))
	for i := range s.rows {
		ids[i] = s.rows[i].ID
	}
	return s.readData(ctx, ids, func(id int64, data []byte) error {
		s.data[id] = slices.Clone(data)
		return nil
	})
}

func (s *logSnapshot) Horizon() int64 { return s.states.horizon }

func (s *logSnapshot) Graves() []tsdb.Grave { return s.graves }

func (s *logSnapshot) Tail(ctx context.Context, from, to int64) (rows []tsdb.TailRow, err error) {
	if s.rows == nil {
		if err := s.readTail(ctx); err != nil {
			return nil, err
		}
	}
	for i := range s.rows {
		if d := &s.rows[i]; d.MaxAt >= from && d.MinAt < to {
			rows = append(rows, d.row())
		}
	}
	return rows, nil
}

func (s *logSnapshot) TailData(ctx context.Context, ids []int64, fn func(id int64, data []byte) error) error {
	if s.data == nil {
		return s.readData(ctx, ids, fn)
	}
	for _, id := range ids {
		if err := fn(id, s.data[id]); err != nil {
			return err
		}
	}
	return nil
}

// readData reads rows; ErrStale if one is gone.
func (s *logSnapshot) readData(ctx context.Context, ids []int64, fn func(id int64, data []byte) error) error {
	return chunked(ids, func(some []int64) error {
		cursor, err := s.b.tail.Find(ctx, bson.D{{Key: "_id", Value: anyOf(some)}}, only("data"))
		if err != nil {
			return err
		}
		n := 0
		for cursor.Next(ctx) {
			id, data := cursor.Current.Lookup("_id").Int64(), []byte(nil)
			if value, err := cursor.Current.LookupErr("data"); err == nil {
				_, data = value.Binary()
			}
			n++
			if err := fn(id, data); err != nil {
				return errors.Join(err, cursor.Close(ctx))
			}
		}
		if err := errors.Join(cursor.Err(), cursor.Close(ctx)); err != nil {
			return err
		}
		if n < len(some) {
			return tsdb.ErrStale // folded and removed since
		}
		return nil
	})
}

// logDoc is a version of a document, in log_documents. It is written once; only Gone is set later, to docID of the version that
// replaces it.
type logDoc struct {
	// ID is the partition, the version and a number; see docID.
	ID    int64      `bson:"_id"`
	Table tsdb.Table `bson:"t"`
	Scope int64      `bson:"s"`
	Major int64      `bson:"a"`
	Minor int64      `bson:"b"`
	N     int64      `bson:"n,omitempty"`
	MinAt int64      `bson:"lo,omitempty"`
	MaxAt int64      `bson:"hi,omitempty"`
	Data0 []byte     `bson:"d0,omitempty"`
	Data1 []byte     `bson:"d1,omitempty"`
	Data2 []byte     `bson:"d2,omitempty"`
	Gone  int64      `bson:"gone,omitempty"`
	// Hour is the bucket of a sum of an hour: trimming looks for the oldest of all scopes.
	Hour *int64 `bson:"h,omitempty"`
	// Parts are the ids of the documents with the data, joined, of a chunk, whose data is not wanted when chunks are looked for, or of a
	// document that is too long; Lengths tell where it is cut.
	Parts   []int64 `bson:"parts,omitempty"`
	Lengths []int   `bson:"lengths,omitempty"`
}

// partDoc is a part of the data of a long document.
type partDoc struct {
	ID   int64  `bson:"_id"`
	Data []byte `bson:"data"`
}

func (d *logDoc) key() tsdb.Key {
	return tsdb.Key{Table: d.Table, Scope: d.Scope, Major: d.Major, Minor: d.Minor}
}

// docID is the _id of a document: the range of a version of a partition is that of all its documents.
func docID(partition, version, number int64) int64 { return partition<<56 | version<<24 | number }

func splitID(id int64) (partition, version int64) { return id >> 56, id >> 24 & (1<<32 - 1) }

// sees reports whether a document is of the snapshot.
func (s *logSnapshot) sees(d *logDoc) bool {
	p, ver := splitID(d.ID)
	state := s.states.byID[p]
	if state == nil || ver > state.Ver || state.isAborted(ver) {
		return false
	}
	_, gone := splitID(d.Gone)
	return d.Gone == 0 || gone > state.Ver || state.isAborted(gone)
}
