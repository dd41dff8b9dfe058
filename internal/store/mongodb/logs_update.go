package mongodb

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/tsdb"
)

// A partition is changed so: its documents are in versions, and so is the partition. Who reads sees the documents of versions up
// to the partition's, except those that such a version replaced.
//
//  1. Claim: the number of a version that never was is taken, unless the partition is not as it was read.
//  2. Write: new documents are inserted with that version; those that they replace are marked with it. Nobody sees a difference.
//  3. Commit: the partition gets the version, unless the claim was taken away. The change has happened exactly now.
//  4. Sweep: the partition is taken off the rows of the tail that were folded. Readers pass them over already.
//
// A claim that is not committed after claimTime is taken away by the next one: its version goes into the partition's list of
// aborted versions, which count for nobody, also if the one who had it goes on to write. Replaced documents are removed some
// minutes later, or when no slow view is left that may need them.
const (
	// claimTime is how long a claim is left to who has it.
	claimTime = 20 * time.Second
	// keepReplaced is how long replaced documents stay: longer than any view, by clocks that differ.
	keepReplaced = 2*viewTime + time.Minute
	// keepAbortedVersion is how long nobody forgets an aborted version: longer than any write is under way.
	keepAbortedVersion = time.Hour
	// manyReplaced is the number of versions from which replaced documents are removed by a change.
	manyReplaced = 16
	// manyFolded is the number of rows that the state of a partition may name for longer than needed.
	manyFolded = 64
)

// partitionState is a document of log_partitions.
type partitionState struct {
	ID int64 `bson:"_id"`
	// Ver is the version of the partition, Last the newest one that was claimed.
	Ver  int64  `bson:"ver"`
	Last int64  `bson:"last"`
	Work *claim `bson:"work,omitempty"`
	// Folded are the rows that version Ver folded: they may still name the partition.
	Folded []int64 `bson:"folded,omitempty"`
	// Old are versions that replaced documents, which are still there.
	Old     []versionAt `bson:"old,omitempty"`
	Aborted []versionAt `bson:"aborted,omitempty"`
	Pins    []pinned    `bson:"pins,omitempty"`
	// Horizon, of allPartitions alone, is the time in Unix milliseconds before which there are no logs.
	Horizon int64 `bson:"horizon,omitempty"`
}

// claim is a change that is being written.
type claim struct {
	Ver int64  `bson:"ver"`
	By  string `bson:"by"`
	At  int64  `bson:"at"`
}

// versionAt is a version, and when it was committed or aborted, in Unix milliseconds.
type versionAt struct {
	Ver int64 `bson:"v"`
	At  int64 `bson:"t"`
}

// pinned is a slow view that began at a time, in Unix milliseconds.
type pinned struct {
	ID string `bson:"id"`
	At int64  `bson:"t"`
}

func (s *partitionState) isAborted(ver int64) bool {
	return slices.ContainsFunc(s.Aborted, func(a versionAt) bool { return a.Ver == ver })
}

// partitionStates are the states of some partitions.
type partitionStates struct {
	parts   []int
	byID    map[int64]*partitionState
	horizon int64
}

// same reports whether no change was committed between two readings.
func (a *partitionStates) same(b *partitionStates) bool {
	for id, state := range a.byID {
		if state.Ver != b.byID[id].Ver {
			return false
		}
	}
	return true
}

// readStates reads the horizon and, not before it, the states of partitions.
func (b *logBackend) readStates(ctx context.Context, parts []int) (*partitionStates, error) {
	ids := []int64{allPartitions}
	for _, p := range parts {
		ids = append(ids, int64(p))
	}
	found, err := findAll[partitionState](ctx, b.states, bson.D{{Key: "_id", Value: anyOf(ids)}}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, err
	}
	out := &partitionStates{parts: parts, byID: make(map[int64]*partitionState, len(found)), horizon: math.MinInt64}
	for i := range found {
		if found[i].ID == allPartitions {
			out.horizon = found[i].Horizon
			continue
		}
		out.byID[found[i].ID] = &found[i]
	}
	if len(out.byID) < len(parts) {
		return nil, errGone
	}
	return out, nil
}

// Update implements tsdb.Backend. The claim is as short as the writing: what fn returns counts if the partition is still as fn
// saw it.
func (b *logBackend) Update(ctx context.Context, operation string, partition int, fn func(tsdb.Snapshot) (*tsdb.Change, error)) error {
	if !b.changing[partition].TryLock() {
		return tsdb.ErrBusy
	}
	defer b.changing[partition].Unlock()
	return b.store.doLong(ctx, operation, func(ctx context.Context) error {
		began := time.Now()
		gravesOf := b.gravesMeanwhile(ctx, nil)
		states, err := b.readStates(ctx, []int{partition})
		graves, failed := gravesOf()
		if err := cmp.Or(err, failed); err != nil {
			return err
		}
		u := &update{b: b, state: states.byID[int64(partition)], snapshot: b.newSnapshot(states, began)}
		if w := u.state.Work; w != nil && w.By != b.name && b.now().UnixMilli()-w.At < claimTime.Milliseconds() {
			return tsdb.ErrBusy
		}
		u.snapshot.graves = slices.DeleteFunc(graves, func(g tsdb.Grave) bool { return b.Partition(g.Scope) != partition })
		u.snapshot.absent = map[tsdb.Key]bool{}
		change, err := fn(u.snapshot)
		if err != nil || change == nil || len(change.Put)+len(change.Delete)+len(change.Folded) == 0 {
			return err
		}
		replaced, err := u.replaced(ctx, change)
		if err != nil {
			return err
		}
		// From here on it is for all: who asked for it may go.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
		defer cancel()
		return u.store(ctx, change, replaced)
	})
}

// updateTimeout bounds the writing of a change.
const updateTimeout = 5 * time.Minute

// update is one change in the making.
type update struct {
	b        *logBackend
	state    *partitionState
	snapshot *logSnapshot
	// claimed is the version that it makes.
	claimed int64
}

// replaced returns the ids of the documents that the change replaces or deletes.
func (u *update) replaced(ctx context.Context, change *tsdb.Change) (ids []int64, err error) {
	var unknown [tsdb.TableCount][]tsdb.Key
	all := make([]tsdb.Key, 0, len(change.Put)+len(change.Delete))
	for i := range change.Put {
		all = append(all, change.Put[i].Key)
	}
	all = append(all, change.Delete...)
	for _, key := range all {
		if u.snapshot.seen[key] == nil && !u.snapshot.knows(key) {
			unknown[key.Table] = append(unknown[key.Table], key)
		}
	}
	for _, keys := range unknown {
		if len(keys) > 0 {
			if err := u.snapshot.get(ctx, keys, tsdb.NoData, func(*logDoc) error { return nil }); err != nil {
				return nil, err
			}
		}
	}
	for _, key := range all {
		if d := u.snapshot.seen[key]; d != nil {
			ids = append(ids, d.ID)
		}
	}
	return ids, u.snapshot.fresh()
}

// store writes and commits the change.
func (u *update) store(ctx context.Context, change *tsdb.Change, replaced []int64) error {
	b := u.b
	if len(u.state.Folded) > 0 && b.swept[u.state.ID] != u.state.Ver {
		if err := u.sweep(ctx, u.state.Folded, nil); err != nil {
			return err
		}
	}
	if err := u.claim(ctx); err != nil {
		return err
	}
	if docs := u.documents(change); len(docs) > 0 {
		if err := b.store.insertMissing(ctx, collDocuments, docs); err != nil {
			return err
		}
	}
	if err := u.mark(ctx, replaced); err != nil {
		return err
	}
	if err := u.commit(ctx, change, len(replaced) > 0); err != nil {
		return err
	}
	return u.sweepFolded(ctx, change.Folded)
}

// claim takes a version's number. A claim that is there is over: it is taken away.
func (u *update) claim(ctx context.Context) error {
	now := u.b.now().UnixMilli()
	u.claimed = u.state.Last + 1
	filter := bson.D{{Key: "_id", Value: u.state.ID}, {Key: "last", Value: u.state.Last}, {Key: "work.ver", Value: nil}}
	set := bson.D{{Key: "last", Value: u.claimed}, {Key: "work", Value: claim{Ver: u.claimed, By: u.b.name, At: now}}}
	if w := u.state.Work; w != nil {
		filter[2].Value = w.Ver
		u.state.Aborted = append(u.state.Aborted, versionAt{w.Ver, now})
		set = append(set, bson.E{Key: "aborted", Value: u.state.Aborted})
	}
	result, err := u.b.states.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: bson.D{{Key: "folded", Value: ""}}}})
	if err != nil {
		return err
	}
	if result.MatchedCount == 0 {
		return tsdb.ErrBusy
	}
	if u.state.Work != nil {
		return u.undo(ctx, u.state.Work.Ver)
	}
	return nil
}

// undo removes what an aborted version wrote.
func (u *update) undo(ctx context.Context, ver int64) error {
	first, end := docID(u.state.ID, ver, 0), docID(u.state.ID, ver+1, 0)
	err := again(ctx, func() error {
		// By the partial index of gone.
		_, err := u.b.docs.UpdateMany(ctx, bson.D{{Key: "gone", Value: first}}, bson.D{{Key: "$unset", Value: bson.D{{Key: "gone", Value: ""}}}})
		return err
	})
	if err != nil {
		return err
	}
	return again(ctx, func() error {
		_, err := u.b.docs.DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: first}, {Key: "$lt", Value: end}}}})
		return err
	})
}

// documents returns what is inserted for the change.
func (u *update) documents(change *tsdb.Change) (docs []any) {
	number := int64(0)
	next := func() int64 {
		number++
		return docID(u.state.ID, u.claimed, number)
	}
	for i := range change.Put {
		from := &change.Put[i]
		d := logDoc{
			ID: next(), Table: from.Table, Scope: from.Scope, Major: from.Major, Minor: from.Minor, N: from.Entries, MinAt: from.MinAt, MaxAt: from.MaxAt,
			Data0: from.Data[0], Data1: from.Data[1], Data2: from.Data[2],
		}
		if d.Table == tsdb.Sums && d.Major == tsdb.LevelHour {
			d.Hour = &d.Minor
		}
		if d.Table == tsdb.Chunks || len(d.Data0)+len(d.Data1)+len(d.Data2) > u.b.maxInline {
			whole := slices.Concat(from.Data[:]...)
			d.Lengths = []int{len(d.Data0), len(d.Data1), len(d.Data2)}
			d.Data0, d.Data1, d.Data2 = nil, nil, nil
			for some := range slices.Chunk(whole, u.b.maxInline) {
				part := partDoc{ID: next(), Data: some}
				d.Parts = append(d.Parts, part.ID)
				docs = append(docs, part)
			}
		}
		docs = append(docs, d)
	}
	return docs
}

// mark notes on the replaced documents what replaces them.
func (u *update) mark(ctx context.Context, replaced []int64) error {
	ours := docID(u.state.ID, u.claimed, 0)
	free := bson.A{nil, ours}
	for _, a := range u.state.Aborted {
		free = append(free, docID(u.state.ID, a.Ver, 0))
	}
	return chunked(replaced, func(some []int64) error {
		return again(ctx, func() error {
			result, err := u.b.docs.UpdateMany(ctx,
				bson.D{{Key: "_id", Value: anyOf(some)}, {Key: "gone", Value: bson.D{{Key: "$in", Value: free}}}},
				bson.D{{Key: "$set", Value: bson.D{{Key: "gone", Value: ours}}}})
			if err == nil && result.MatchedCount < int64(len(some)) {
				return tsdb.ErrBusy // the claim was taken away, and others have replaced them
			}
			return err
		})
	})
}

// commit makes the change visible. Replaced documents of long ago go with it, when there are many, or they are very old.
func (u *update) commit(ctx context.Context, change *tsdb.Change, replaces bool) error {
	now := u.b.now().UnixMilli()
	old := u.state.Old
	if due := u.state.due(now); len(due) >= manyReplaced || len(due) > 0 && now-due[0].At > 2*keepReplaced.Milliseconds() {
		if err := u.b.remove(ctx, u.state.ID, due); err != nil {
			return err
		}
		old = old[len(due):]
	}
	if replaces {
		old = append(slices.Clip(old), versionAt{u.claimed, now})
	}
	// What was aborted long ago is looked for once more, and forgotten.
	aborted := u.state.Aborted
	for len(aborted) > 0 && now-aborted[0].At > keepAbortedVersion.Milliseconds() {
		if err := u.undo(ctx, aborted[0].Ver); err != nil {
			return err
		}
		aborted = aborted[1:]
	}
	set := bson.D{{Key: "ver", Value: u.claimed}, {Key: "old", Value: old}}
	if len(aborted) < len(u.state.Aborted) {
		set = append(set, bson.E{Key: "aborted", Value: aborted})
	}
	if len(change.Folded) > 0 {
		set = append(set, bson.E{Key: "folded", Value: change.Folded})
	}
	commit := bson.D{{Key: "$set", Value: set}, {Key: "$unset", Value: bson.D{{Key: "work", Value: ""}}}}
	if over := now - 2*slowViewTime.Milliseconds(); slices.ContainsFunc(u.state.Pins, func(p pinned) bool { return p.At < over }) {
		commit = append(commit, bson.E{Key: "$pull", Value: bson.D{{Key: "pins", Value: bson.D{{Key: "t", Value: bson.D{{Key: "$lt", Value: over}}}}}}})
	}
	result, err := u.b.states.UpdateOne(ctx, bson.D{{Key: "_id", Value: u.state.ID}, {Key: "work.ver", Value: u.claimed}}, commit)
	if err == nil && result.MatchedCount == 0 {
		return tsdb.ErrBusy
	}
	return err
}

// due returns the oldest versions, as far as what they replaced is not needed by any view.
func (s *partitionState) due(now int64) []versionAt {
	until := now
	for _, pin := range s.Pins {
		if now-pin.At < 2*slowViewTime.Milliseconds() {
			until = min(until, pin.At)
		}
	}
	until -= keepReplaced.Milliseconds()
	n := 0
	for n < len(s.Old) && s.Old[n].At < until {
		n++
	}
	return s.Old[:n]
}

// remove removes the documents that versions replaced.
func (b *logBackend) remove(ctx context.Context, partition int64, versions []versionAt) error {
	return chunked(versions, func(some []versionAt) error {
		ids := make([]int64, len(some))
		for i, v := range some {
			ids[i] = docID(partition, v.Ver, 0)
		}
		// By the partial index of gone. The data apart goes first.
		gone := bson.D{{Key: "gone", Value: anyOf(ids)}}
		docs, err := findAll[logDoc](ctx, b.docs, append(gone, bson.E{Key: "parts", Value: bson.D{{Key: "$exists", Value: true}}}), only("parts"))
		if err != nil {
			return err
		}
		var parts []int64
		for i := range docs {
			parts = append(parts, docs[i].Parts...)
		}
		remove := func(filter bson.D) error {
			return again(ctx, func() error {
				_, err := b.docs.DeleteMany(ctx, filter)
				return err
			})
		}
		err = chunked(parts, func(some []int64) error { return remove(bson.D{{Key: "_id", Value: anyOf(some)}}) })
		if err != nil {
			return err
		}
		return remove(gone)
	})
}

// sweepFolded takes the partition off the rows that the change folded. It is committed: what cannot be done now is done by the next change.
func (u *update) sweepFolded(ctx context.Context, folded []int64) error {
	if len(folded) == 0 {
		return nil
	}
	alone := map[int64]bool{}
	for i := range u.snapshot.rows {
		alone[u.snapshot.rows[i].ID] = len(u.snapshot.rows[i].everywhere) == 1
	}
	if err := u.sweep(ctx, folded, alone); err != nil {
		u.b.store.options.Logger.DebugContext(ctx, "folded rows are left to the next fold", "error", err)
		return nil
	}
	u.b.swept[u.state.ID] = u.claimed
	if len(folded) < manyFolded {
		return nil
	}
	_, err := u.b.states.UpdateOne(ctx, bson.D{{Key: "_id", Value: u.state.ID}, {Key: "ver", Value: u.claimed}, {Key: "work.ver", Value: nil}},
		bson.D{{Key: "$unset", Value: bson.D{{Key: "folded", Value: ""}}}})
	if err != nil {
		u.b.store.options.Logger.DebugContext(ctx, "folded rows stay noted until the next fold", "error", err)
	}
	return nil
}

// sweep takes the partition off rows of the tail, and removes those that it was the last of; alone are known to be in no other.
func (u *update) sweep(ctx context.Context, rows []int64, alone map[int64]bool) error {
	var last, shared []int64
	for _, id := range rows {
		if alone[id] {
			last = append(last, id)
		} else {
			shared = append(shared, id)
		}
	}
	byIDs := func(ids []int64) bson.D { return bson.D{{Key: "_id", Value: anyOf(ids)}} }
	return again(ctx, func() error {
		if len(last) > 0 {
			if _, err := u.b.tail.DeleteMany(ctx, byIDs(last)); err != nil {
				return err
			}
		}
		if len(shared) == 0 {
			return nil
		}
		_, err := u.b.tail.UpdateMany(ctx, byIDs(shared), bson.D{{Key: "$pull", Value: bson.D{{Key: "open", Value: u.state.ID}}}})
		if err != nil {
			return err
		}
		_, err = u.b.tail.DeleteMany(ctx, append(byIDs(shared), bson.E{Key: "open", Value: bson.D{{Key: "$size", Value: 0}}}))
		return err
	})
}

// tend removes what was replaced in partitions that nobody changes any more.
func (b *logBackend) tend(ctx context.Context) error {
	now := b.now().UnixMilli()
	states, err := findAll[partitionState](ctx, b.states, bson.D{{Key: "old.t", Value: bson.D{{Key: "$lt", Value: now - 2*keepReplaced.Milliseconds()}}}})
	if err != nil {
		return err
	}
	for i := range states {
		state := &states[i]
		due := state.due(now)
		if len(due) == 0 || state.Work != nil {
			continue
		}
		if err := b.remove(ctx, state.ID, due); err != nil {
			return err
		}
		_, err := b.states.UpdateOne(ctx, bson.D{{Key: "_id", Value: state.ID}, {Key: "last", Value: state.Last}, {Key: "work.ver", Value: nil}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "old", Value: state.Old[len(due):]}}}})
		if err != nil {
			return err
		}
	}
	return nil
}
