package mongodb

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// A partition is changed so: each change is a version, and documents are stored once for each version that changed them. Readers at a
// version see the newest document of each key up to it.
//
//  1. Claim: a new number is claimed, unless the partition is not as it was read.
//  2. Insert: new documents are inserted with that version, and for deleted ones a mark of the deletion. No reader sees a difference.
//  3. Commit: the partition gets the version, unless the claim was taken over. The change has happened exactly now.
//  4. Sweep: the partition leaves the rows of the tail that were folded. Replaced documents get the version that replaced them, by
//     which readers leave them out, and a time from which on the server removes them. Readers would be right without either.
//
// A claim that is not committed after claimTime is taken over by the next one: its version is dropped, which means that its documents
// count for no reader, also if the process that had it goes on to write. A sweep that was not done is done by the next change.
const (
	// claimTime is how long a claim is left to its process.
	claimTime = 20 * time.Second
	// keepReplaced is how long replaced documents stay: longer than any view. With a long view, replaced chunks stay for keepLong.
	keepReplaced = 2*viewTime + time.Minute
	keepLong     = longViewTime + 10*time.Minute
	// keepDropped is how many dropped versions are remembered: as many take far longer than any write may be under way.
	keepDropped = 64
	// manyFolded is the number of rows that the state of a partition may name for longer than needed.
	manyFolded = 64
	// updateTimeout bounds the writing of a change.
	updateTimeout = 5 * time.Minute
)

// partitionState is a document of log_partitions.
type partitionState struct {
	ID int64 `bson:"_id"`
	// Version is what readers see, Claimed the newest version that was claimed: another one, with a Claim, while a change is written.
	Version int64  `bson:"version"`
	Claimed int64  `bson:"claimed"`
	Claim   *claim `bson:"claim,omitempty"`
	// Dropped are versions that were claimed and not committed.
	Dropped []int64 `bson:"dropped,omitempty"`
	// Folded are the rows that Version folded: they may still name the partition.
	Folded []int64 `bson:"folded,omitempty"`
	// At is when Version was committed, Long when the last long view began, both by the server's clock.
	At   time.Time `bson:"at"`
	Long time.Time `bson:"long"`
	// Horizon, of allPartitions alone, is the time in Unix milliseconds before which there are no logs.
	Horizon int64 `bson:"horizon"`
}

type claim struct {
	By string `bson:"by"`
	At int64  `bson:"at"`
}

// logDoc is a document of the log engine at a version, in log_documents.
type logDoc struct {
	// ID is the partition, the version and a number; see docID.
	ID int64 `bson:"_id"`
	// K orders documents as their keys do; see orderedKey.
	K       []byte     `bson:"k"`
	Version int64      `bson:"v"`
	Table   tsdb.Table `bson:"t"`
	Scope   int64      `bson:"s"`
	Major   int64      `bson:"a"`
	Minor   int64      `bson:"b"`
	N       int64      `bson:"n,omitempty"`
	MinAt   int64      `bson:"lo,omitempty"`
	MaxAt   int64      `bson:"hi,omitempty"`
	Data0   []byte     `bson:"d0,omitempty"`
	Data1   []byte     `bson:"d1,omitempty"`
	Data2   []byte     `bson:"d2,omitempty"`
	// Hour is the bucket of a sum of an hour: trimming looks for the oldest of all scopes.
	Hour *int64 `bson:"h,omitempty"`
	// Deleted says that the version deleted the document.
	Deleted bool `bson:"del,omitempty"`
	// Of, if not 0, is in how many documents a long one is stored, of which this is number Part: D is its part of the data, which
	// all have in Lengths.
	Of      int    `bson:"of,omitempty"`
	Part    int    `bson:"part,omitempty"`
	Lengths []int  `bson:"lengths,omitempty"`
	D       []byte `bson:"d,omitempty"`
	// Gone is docID of the version that replaced it, as far as that is noted; the server removes it at PurgeAt.
	Gone    int64      `bson:"gone,omitempty"`
	PurgeAt *time.Time `bson:"purge_at,omitempty"`

	parts []*logDoc // of a long document, this one among them
}

// chunkData is the table of the chunks with their data; tsdb.Chunks is the table of the chunks without, so that looking for some
// does not read what is in them. Both are written together.
const chunkData tsdb.Table = 100

func (d *logDoc) key() tsdb.Key {
	return tsdb.Key{Table: d.Table, Scope: d.Scope, Major: d.Major, Minor: d.Minor}
}

func (d *logDoc) doc() *tsdb.Doc {
	out := &tsdb.Doc{Key: d.key(), Entries: d.N, MinAt: d.MinAt, MaxAt: d.MaxAt, Data: [3][]byte{d.Data0, d.Data1, d.Data2}}
	if out.Table == chunkData {
		out.Table = tsdb.Chunks
	}
	return out
}

// docID is the _id of a document: the range of a version of a partition is that of all its documents.
func docID(partition, version, number int64) int64 { return partition<<56 | version<<24 | number }

// ofVersion is the filter of a version's documents.
func ofVersion(partition, version int64) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: docID(partition, version, 0)}, {Key: "$lt", Value: docID(partition, version+1, 0)}}}}
}

// orderedKey returns bytes that are ordered as the numbers are.
func orderedKey(table tsdb.Table, scope, major, minor int64) []byte {
	out := append(make([]byte, 0, 25), byte(table))
	for _, n := range []int64{scope, major, minor} {
		out = binary.BigEndian.AppendUint64(out, uint64(n)^1<<63)
	}
	return out
}

// Update implements tsdb.Backend. The claim is as short as the writing: what fn returns counts if the partition is still as fn
// saw it.
func (b *logBackend) Update(ctx context.Context, operation string, partition int, fn func(tsdb.Snapshot) (*tsdb.Change, error)) error {
	if !b.changing[partition].TryLock() {
		return tsdb.ErrBusy
	}
	defer b.changing[partition].Unlock()
	return b.store.DoLong(ctx, operation, func(ctx context.Context) error {
		s, err := b.open(ctx, []int{partition}, nil)
		if err != nil {
			return err
		}
		u := &update{logBackend: b, state: s.states[int64(partition)]}
		if c := u.state.Claim; c != nil && c.By != b.name && b.claimed(c.At) {
			return tsdb.ErrBusy
		}
		change, err := fn(s)
		if err != nil || change == nil || len(change.Put)+len(change.Delete)+len(change.Folded) == 0 {
			return err
		}
		// From here on it is for all: the caller may go.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
		defer cancel()
		return u.write(ctx, change)
	})
}

// claimed reports whether a claim of that time, in Unix milliseconds, is still its process's. One that is far ahead was made before the clock
// was put back.
func (b *logBackend) claimed(at int64) bool {
	return b.now().Sub(time.UnixMilli(at)).Abs() < claimTime
}

// update is one change in the making, of a partition with that state.
type update struct {
	*logBackend
	state *partitionState
}

// write writes and commits the change.
func (u *update) write(ctx context.Context, change *tsdb.Change) error {
	if u.swept[u.state.ID] != u.state.Version {
		written, err := steps.FindAll[logDoc](ctx, u.docs, ofVersion(u.state.ID, u.state.Version), only("k", "t", "del"))
		if err != nil {
			return err
		}
		if err := u.sweep(ctx, written); err != nil {
			return err
		}
	}
	if err := u.claim(ctx); err != nil {
		return err
	}
	docs := u.documents(change)
	if len(docs) > 0 {
		if err := u.store.InsertMissing(ctx, collDocuments, docs); err != nil {
			return err
		}
	}
	if err := u.commit(ctx, change); err != nil {
		return err
	}
	if err := u.sweep(ctx, docs); err != nil {
		u.store.Options.Logger.DebugContext(ctx, "what a change of logs replaced is left to the next change", "error", err)
	}
	return nil
}

// claim claims the next version. A claim that is there is over: its version is dropped.
func (u *update) claim(ctx context.Context) error {
	filter := bson.D{{Key: "_id", Value: u.state.ID}, {Key: "version", Value: u.state.Version}, {Key: "claimed", Value: u.state.Claimed}}
	set := bson.D{{Key: "claimed", Value: u.state.Claimed + 1}, {Key: "claim", Value: claim{By: u.name, At: u.now().UnixMilli()}}}
	if u.state.Claim != nil {
		dropped := append(u.state.Dropped, u.state.Claimed)
		if len(dropped) > keepDropped {
			// What it wrote after it was dropped goes, before it is forgotten.
			if _, err := u.store.DeleteAll(ctx, collDocuments, ofVersion(u.state.ID, dropped[0])); err != nil {
				return err
			}
			dropped = dropped[1:]
		}
		set = append(set, bson.E{Key: "dropped", Value: dropped})
	}
	result, err := u.states.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: bson.D{{Key: "folded", Value: ""}}}})
	if err == nil && result.MatchedCount == 0 {
		return tsdb.ErrBusy
	}
	if err == nil && u.state.Claim != nil {
		_, err = u.store.DeleteAll(ctx, collDocuments, ofVersion(u.state.ID, u.state.Claimed))
	}
	u.state.Claimed++
	return err
}

// documents returns what is inserted for the change.
func (u *update) documents(change *tsdb.Change) (docs []logDoc) {
	add := func(d logDoc) {
		d.ID, d.Version = docID(u.state.ID, u.state.Claimed, int64(len(docs))), u.state.Claimed
		d.K = orderedKey(d.Table, d.Scope, d.Major, d.Minor)
		docs = append(docs, d)
	}
	for i := range change.Put {
		from := &change.Put[i]
		d := logDoc{Table: from.Table, Scope: from.Scope, Major: from.Major, Minor: from.Minor, N: from.Entries, MinAt: from.MinAt, MaxAt: from.MaxAt}
		if d.Table == tsdb.Sums && d.Major == codec.LevelHour {
			d.Hour = &d.Minor
		}
		if d.Table == tsdb.Chunks {
			add(d)
			d.Table = chunkData
		}
		if whole := slices.Concat(from.Data[:]...); len(whole) > maxInline {
			d.Lengths = []int{len(from.Data[0]), len(from.Data[1]), len(from.Data[2])}
			d.Of = (len(whole) + maxInline - 1) / maxInline
			for d.D = range slices.Chunk(whole, maxInline) {
				add(d)
				d.Part++
			}
			continue
		}
		d.Data0, d.Data1, d.Data2 = from.Data[0], from.Data[1], from.Data[2]
		add(d)
	}
	for _, key := range change.Delete {
		d := logDoc{Table: key.Table, Scope: key.Scope, Major: key.Major, Minor: key.Minor, Deleted: true}
		if add(d); d.Table == tsdb.Chunks {
			d.Table = chunkData
			add(d)
		}
	}
	return docs
}

// commit makes the change visible.
func (u *update) commit(ctx context.Context, change *tsdb.Change) error {
	filter := bson.D{{Key: "_id", Value: u.state.ID}, {Key: "version", Value: u.state.Version}, {Key: "claimed", Value: u.state.Claimed}}
	set := bson.D{{Key: "version", Value: u.state.Claimed}}
	if len(change.Folded) > 0 {
		set = append(set, bson.E{Key: "folded", Value: change.Folded})
	}
	committed := &partitionState{}
	err := u.states.FindOneAndUpdate(ctx, filter, bson.D{
		{Key: "$set", Value: set}, {Key: "$unset", Value: bson.D{{Key: "claim", Value: ""}}}, {Key: "$currentDate", Value: bson.D{{Key: "at", Value: true}}},
	}, options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(committed)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return tsdb.ErrBusy
	}
	u.state = committed
	return err
}

// sweep does what is left of the partition's version, which wrote these documents.
func (u *update) sweep(ctx context.Context, written []logDoc) error {
	if err := u.sweepTail(ctx, u.state.Folded); err != nil {
		return err
	}
	var chunks, others [][]byte
	deletes := false
	for i := range written {
		d := &written[i]
		deletes = deletes || d.Deleted
		if d.Table == tsdb.Chunks || d.Table == chunkData {
			chunks = append(chunks, d.K)
		} else {
			others = append(others, d.K)
		}
	}
	purgeAt := u.state.At.Add(keepReplaced)
	if u.state.At.Sub(u.state.Long) < longViewTime+time.Minute {
		if err := u.mark(ctx, others, purgeAt); err != nil {
			return err
		}
		others, purgeAt = nil, u.state.At.Add(keepLong)
	}
	if err := u.mark(ctx, append(chunks, others...), purgeAt); err != nil {
		return err
	}
	if deletes {
		// Only now that what it deleted is marked: a reader may have that already, but not the mark.
		err := u.updateMany(ctx, u.docs, append(ofVersion(u.state.ID, u.state.Version), bson.E{Key: "del", Value: true}), steps.Set(bson.D{{Key: "purge_at", Value: purgeAt}}))
		if err != nil {
			return err
		}
	}
	u.swept[u.state.ID] = u.state.Version
	if len(u.state.Folded) < manyFolded {
		return nil
	}
	return u.updateMany(ctx, u.states, bson.D{{Key: "_id", Value: u.state.ID}, {Key: "version", Value: u.state.Version}, {Key: "claimed", Value: u.state.Version}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "folded", Value: ""}}}})
}

// mark notes on the documents of keys that the partition's version has replaced them.
func (u *update) mark(ctx context.Context, keys [][]byte, purgeAt time.Time) error {
	gone := steps.Set(bson.D{{Key: "gone", Value: docID(u.state.ID, u.state.Version, 0)}, {Key: "purge_at", Value: purgeAt}})
	return chunked(keys, func(some [][]byte) error {
		return u.updateMany(ctx, u.docs, bson.D{
			{Key: "k", Value: anyOf(some)}, {Key: "v", Value: bson.D{{Key: "$lt", Value: u.state.Version}}}, {Key: "gone", Value: nil},
		}, gone)
	})
}

// sweepTail takes the partition off rows of the tail, and removes those that it was the last of.
func (u *update) sweepTail(ctx context.Context, rows []int64) error {
	if len(rows) == 0 {
		return nil
	}
	these := bson.E{Key: "_id", Value: anyOf(rows)}
	alone, err := u.store.DeleteAll(ctx, collTail, bson.D{these, {Key: "open", Value: bson.A{u.state.ID}}})
	if err != nil || alone == len(rows) {
		return err
	}
	if err := u.updateMany(ctx, u.tail, bson.D{these}, bson.D{{Key: "$pull", Value: bson.D{{Key: "open", Value: u.state.ID}}}}); err != nil {
		return err
	}
	_, err = u.store.DeleteAll(ctx, collTail, bson.D{these, {Key: "open", Value: bson.D{{Key: "$size", Value: 0}}}})
	return err
}

// updateMany does an update that may be done again.
func (b *logBackend) updateMany(ctx context.Context, coll *mongo.Collection, filter, change bson.D) error {
	return steps.Again(ctx, func() error {
		_, err := coll.UpdateMany(ctx, filter, change)
		return err
	})
}
