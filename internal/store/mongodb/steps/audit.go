package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

// auditDoc is the stored form of an entry. Inside of a commit it has no number and no hashes yet.
type auditDoc struct {
	Seq int64 `bson:"_id,omitempty"`
	// Ref is the commit's id and the place in it: unique, so that a commit that is applied twice appends once.
	Ref       string `bson:"ref"`
	PrevHash  string `bson:"prev_hash,omitempty"`
	Hash      string `bson:"hash,omitempty"`
	At        int64  `bson:"at"`
	ActorID   string `bson:"actor_id"`
	Action    string `bson:"action"`
	Target    string `bson:"target"`
	Result    string `bson:"result"`
	IP        string `bson:"ip"`
	UserAgent string `bson:"user_agent"`
	RequestID string `bson:"request_id"`
	Changes   string `bson:"changes"`
}

func newAuditDoc(e hearth.AuditEntry, ref string) (auditDoc, error) {
	text, err := e.EncodedChanges()
	if err != nil {
		return auditDoc{}, err
	}
	return auditDoc{
		Ref: ref, At: hearth.Millis(e.At).UnixMilli(), ActorID: e.ActorID, Action: e.Action, Target: e.Target, Result: e.Result,
		IP: e.IP, UserAgent: e.UserAgent, RequestID: e.RequestID, Changes: text,
	}, nil
}

func (d auditDoc) entry() hearth.AuditEntry {
	e := hearth.AuditEntry{
		Seq: d.Seq, PrevHash: d.PrevHash, Hash: d.Hash, At: FromMillis(d.At), ActorID: d.ActorID, Action: d.Action, Target: d.Target,
		Result: d.Result, IP: d.IP, UserAgent: d.UserAgent, RequestID: d.RequestID, ChangesText: d.Changes,
	}
	// An edited text need not be JSON: the chain tells of it, and the list still shows the rest.
	if err := json.Unmarshal([]byte(d.Changes), &e.Changes); err != nil {
		e.Changes = map[string]hearth.Change{"(not readable)": {}}
	}
	return e
}

// chained returns the entry as it stands behind head.
func (d auditDoc) chained(head hearth.AuditHead) auditDoc {
	d.Seq, d.PrevHash = head.Seq+1, head.Hash
	d.Hash = d.entry().Sum()
	return d
}

// appender appends to the chain. The chain has one end, so appends come one after another: those of this process share one
// write, and of those of many processes one wins the next number (the _id) and the others go on behind it.
type appender struct {
	db   *DB
	turn chan struct{}

	mu      sync.Mutex
	waiting []*appending

	// head is the chain's end as this process knows it; only who is in turn uses it. Known is false before the first append and
	// after a failed one.
	head  hearth.AuditHead
	known bool
}

// appending is the entries of one commit; done gets the result.
type appending struct {
	docs []auditDoc
	done chan error
}

const (
	// maxAuditGroup bounds the entries of one write, and maxAuditPart those of one commit in it.
	maxAuditGroup, maxAuditPart = 500, 100
	auditHeadID                 = "head"
)

func newAppender(db *DB) *appender { return &appender{db: db, turn: make(chan struct{}, 1)} }

// append stores the entries, in their order, unless they are stored already. Between parts of many, entries of other commits are stored.
func (a *appender) append(ctx context.Context, docs []auditDoc) error {
	for part := range slices.Chunk(docs, maxAuditPart) {
		if err := a.appendPart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (a *appender) appendPart(ctx context.Context, docs []auditDoc) error {
	own := &appending{docs: docs, done: make(chan error, 1)}
	a.mu.Lock()
	a.waiting = append(a.waiting, own)
	a.mu.Unlock()
	for {
		select {
		case err := <-own.done:
			return err
		case a.turn <- struct{}{}:
			// For others too, who may be there longer than this one.
			together, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.db.settleWithin())
			a.storeGroup(together)
			cancel()
			<-a.turn
		case <-ctx.Done():
			return ctx.Err() // who is in turn may still store them
		}
	}
}

// storeGroup stores what waits, for everybody.
func (a *appender) storeGroup(ctx context.Context) {
	a.mu.Lock()
	var group []*appending
	var docs []auditDoc
	for len(a.waiting) > 0 && (len(group) == 0 || len(docs)+len(a.waiting[0].docs) <= maxAuditGroup) {
		group, docs = append(group, a.waiting[0]), append(docs, a.waiting[0].docs...)
		a.waiting = a.waiting[1:]
	}
	a.mu.Unlock()
	if len(group) == 0 {
		return
	}
	err := a.store(ctx, docs)
	if err != nil {
		a.known = false
	}
	for _, w := range group {
		w.done <- err
	}
}

func (a *appender) store(ctx context.Context, docs []auditDoc) error {
	for try := 0; len(docs) > 0; try++ {
		if err := pauseAfterFirst(ctx, try); err != nil {
			return err
		}
		if !a.known {
			head, err := a.db.readHead(ctx)
			if err != nil {
				return err
			}
			a.head, a.known = head, true
		}
		head, rows := a.head, make([]any, 0, len(docs))
		for _, doc := range docs {
			doc = doc.chained(head)
			head = hearth.AuditHead{Seq: doc.Seq, Hash: doc.Hash}
			rows = append(rows, doc)
		}
		if err := a.db.crashes("entries"); err != nil {
			return err
		}
		_, err := a.db.Collection(Audit).InsertMany(ctx, rows)
		switch {
		case err == nil:
			a.head = head
			return a.db.moveHead(ctx, head)
		case !IsDuplicate(err) && !isDeadlock(err):
			return err
		}
		// Another process was faster, or stored some of these for us. Those before the refused one are stored.
		a.known = false
		if docs, err = a.db.notStored(ctx, docs); err != nil {
			return err
		}
	}
	_, err := a.db.readHead(ctx) // moves the head over what another stored
	return err
}

func pauseAfterFirst(ctx context.Context, try int) error {
	if try == 0 {
		return nil
	}
	return Pause(ctx, try-1)
}

// notStored returns those of the entries that are not in the chain, by the unique index of ref.
func (db *DB) notStored(ctx context.Context, docs []auditDoc) ([]auditDoc, error) {
	refs := make(bson.A, 0, len(docs))
	for _, doc := range docs {
		refs = append(refs, doc.Ref)
	}
	found, err := FindAll[auditDoc](ctx, db.Collection(Audit), bson.D{{Key: "ref", Value: bson.D{{Key: "$in", Value: refs}}}},
		options.Find().SetProjection(bson.D{{Key: "ref", Value: 1}}))
	if err != nil {
		return nil, err
	}
	stored := map[string]bool{}
	for _, doc := range found {
		stored[doc.Ref] = true
	}
	var rest []auditDoc
	for _, doc := range docs {
		if !stored[doc.Ref] {
			rest = append(rest, doc)
		}
	}
	return rest, nil
}

type auditHeadDoc struct {
	Seq  int64  `bson:"seq"`
	Hash string `bson:"hash"`
}

// readHead returns the end of the chain. The head is stored after the entries: if a crash came between, it is moved now. Where
// the newest entries were removed the head stays beyond them, so that the gap shows.
func (db *DB) readHead(ctx context.Context) (hearth.AuditHead, error) {
	var doc auditHeadDoc
	err := db.Collection(AuditHead).FindOne(ctx, ByID(auditHeadID)).Decode(&doc)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return hearth.AuditHead{}, err
	}
	head := hearth.AuditHead(doc)
	for {
		next, err := db.auditChain(ctx, head.Seq, maxAuditGroup)
		if err != nil || len(next) == 0 {
			return head, err
		}
		last := next[len(next)-1]
		head = hearth.AuditHead{Seq: last.Seq, Hash: last.Hash}
		if err := db.moveHead(ctx, head); err != nil {
			return head, err
		}
	}
}

// moveHead stores the head, unless a later one is stored.
func (db *DB) moveHead(ctx context.Context, head hearth.AuditHead) error {
	if err := db.crashes("head"); err != nil {
		return err
	}
	heads := db.Collection(AuditHead)
	return Again(ctx, func() error {
		result, err := heads.UpdateOne(ctx,
			bson.D{{Key: "_id", Value: auditHeadID}, {Key: "seq", Value: bson.D{{Key: "$lt", Value: head.Seq}}}}, Set(auditHeadDoc(head)))
		if err != nil || result.MatchedCount > 0 {
			return err
		}
		_, err = heads.InsertOne(ctx, bson.D{{Key: "_id", Value: auditHeadID}, {Key: "seq", Value: head.Seq}, {Key: "hash", Value: head.Hash}})
		if !IsDuplicate(err) {
			return err
		}
		// There is a head: later than this one, or made meanwhile.
		_, err = heads.UpdateOne(ctx,
			bson.D{{Key: "_id", Value: auditHeadID}, {Key: "seq", Value: bson.D{{Key: "$lt", Value: head.Seq}}}}, Set(auditHeadDoc(head)))
		return err
	})
}

// logAudit tells the log of entries that were stored by a write of this process.
func (db *DB) logAudit(ctx context.Context, docs []auditDoc) {
	for _, d := range docs {
		db.Options.Logger.InfoContext(ctx, d.Action, "kind", "audit", "ref", d.Ref, "actor", d.ActorID, "target", d.Target,
			"result", d.Result, "ip", d.IP, "request_id", d.RequestID)
	}
}

// auditChain is served by _id.
func (db *DB) auditChain(ctx context.Context, after int64, limit int) ([]auditDoc, error) {
	return FindAll[auditDoc](ctx, db.Collection(Audit), bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
}

// TrimmedUpTo returns the number up to which the newest trimming says that entries are no longer kept; 0 if there was none.
func (db *DB) TrimmedUpTo(ctx context.Context) (int64, error) {
	found, err := FindAll[auditDoc](ctx, db.Collection(Audit), bson.D{{Key: "action", Value: hearth.AuditTrim}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(1))
	if err != nil || len(found) == 0 {
		return 0, err
	}
	last, _ := found[0].entry().Trimmed()
	return last.Seq, nil
}

// rowsAtOnce bounds the documents of one command that reads, stores or removes some.
const rowsAtOnce = 1000

// RemoveAudit implements hearth.AuditStore.
func (db *DB) RemoveAudit(ctx context.Context, upTo int64) (removed int, err error) {
	for {
		n := int64(0)
		err := db.Do(ctx, "RemoveAudit", func(ctx context.Context) error {
			trimmed, err := db.TrimmedUpTo(ctx)
			if err != nil {
				return err
			}
			if upTo > trimmed {
				return hearth.Errorf(hearth.CodeConflict, "audit entries are not removed before an entry says so")
			}
			first, err := db.auditChain(ctx, 0, 1)
			if err != nil || len(first) == 0 || first[0].Seq > upTo {
				return err
			}
			result, err := db.Collection(Audit).DeleteMany(ctx,
				bson.D{{Key: "_id", Value: bson.D{{Key: "$lte", Value: min(upTo, first[0].Seq+rowsAtOnce-1)}}}})
			if err == nil {
				n = result.DeletedCount
			}
			return err
		})
		removed += int(n)
		if err != nil || n == 0 {
			return removed, err
		}
	}
}

// AuditHead implements hearth.AuditStore.
func (db *DB) AuditHead(ctx context.Context) (head hearth.AuditHead, err error) {
	err = db.Do(ctx, "AuditHead", func(ctx context.Context) error {
		head, err = db.readHead(ctx)
		return err
	})
	return head, err
}

// ScanAudit gives the entries behind the one with the number after, up to the one with the number last.
func (db *DB) ScanAudit(ctx context.Context, after, last int64, give func(hearth.AuditEntry) error) error {
	for after < last {
		docs, err := db.auditChain(ctx, after, rowsAtOnce)
		if err != nil || len(docs) == 0 {
			return err
		}
		for _, d := range docs {
			if after = d.Seq; after > last {
				return nil
			}
			if err := give(d.entry()); err != nil {
				return err
			}
		}
	}
	return nil
}

// RestoreAudit stores entries as they are, behind those that are there.
func (db *DB) RestoreAudit(ctx context.Context, entries []hearth.AuditEntry) error {
	head, err := db.readHead(ctx)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(entries, rowsAtOnce) {
		var docs []auditDoc
		for _, e := range some {
			if e.Seq <= head.Seq && len(docs) == 0 {
				stored, err := db.auditChain(ctx, e.Seq-1, 1)
				if err != nil {
					return err
				}
				if len(stored) == 1 && stored[0].Seq == e.Seq && stored[0].Hash == e.Hash {
					continue // it was stored before
				}
			}
			if head.Seq == 0 && e.Seq > 1 { // those before were trimmed
				head = hearth.AuditHead{Seq: e.Seq - 1, Hash: e.PrevHash}
			}
			if e.Seq != head.Seq+1 || e.PrevHash != head.Hash {
				return hearth.Errorf(hearth.CodeConflict, "audit entry %d does not follow entry %d", e.Seq, head.Seq)
			}
			head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
			docs = append(docs, auditDoc{
				Seq: e.Seq, Ref: fmt.Sprintf("restored/%d", e.Seq), PrevHash: e.PrevHash, Hash: e.Hash, At: e.At.UnixMilli(), ActorID: e.ActorID,
				Action: e.Action, Target: e.Target, Result: e.Result, IP: e.IP, UserAgent: e.UserAgent, RequestID: e.RequestID, Changes: e.ChangesText,
			})
		}
		if len(docs) == 0 {
			continue
		}
		if _, err := db.Collection(Audit).InsertMany(ctx, docs); err != nil {
			return err
		}
		if err := db.moveHead(ctx, head); err != nil {
			return err
		}
	}
	return nil
}
