package steps

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hearth/internal/cause"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// keepAborted is how long a step that was dropped is remembered: far longer than its owner could still be under way.
const keepAborted = 24 * time.Hour

// commitDoc decides a step: it is decided exactly when its commit is stored. It is removed when everything in it is done;
// one with an idempotency key stays, without its operations, until that expires.
type commitDoc struct {
	ID string `bson:"_id"`
	// Open is when it was stored, in Unix milliseconds, until everything in it is done.
	Open int64 `bson:"open,omitempty"`
	// Aborted marks the place of a step that must not be decided any more.
	Aborted bool       `bson:"aborted,omitempty"`
	Ops     []op       `bson:"ops,omitempty"`
	Audit   []auditDoc `bson:"audit,omitempty"`
	Jobs    []jobDoc   `bson:"jobs,omitempty"`

	// Idempotency names the idempotency record (see idempotencyID); unique. The fields below are the record's.
	Idempotency string `bson:"once,omitempty"`
	Fingerprint string `bson:"fingerprint,omitempty"`
	Operation   string `bson:"operation,omitempty"`
	What        []byte `bson:"answer,omitempty"`
	FirstLog    int64  `bson:"first_log,omitempty"`
	Created     int64  `bson:"created,omitempty"`
	Expires     int64  `bson:"expires,omitempty"`
	// PurgeAt is when the server removes it for good; never set while it is open.
	PurgeAt *time.Time `bson:"purge_at,omitempty"`
}

// writeStep prepares, decides and applies. Any error but one of the database being away means that nothing was written.
func (db *DB) writeStep(ctx context.Context, st *Step) error {
	c, err := db.newCommit(ctx, st)
	if err != nil {
		return err
	}
	if err := db.prepare(ctx, st); err != nil {
		return err
	}
	if err := db.decide(ctx, st, &c); err != nil {
		return err
	}
	// Decided: from here on it is done, whoever does it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), db.settleWithin())
	defer cancel()
	if err := db.apply(ctx, &c); err != nil {
		return err
	}
	db.logAudit(ctx, c.Audit)
	return db.finish(ctx, &c)
}

// settleWithin bounds what is still done for a write after its caller has left.
func (db *DB) settleWithin() time.Duration { return db.Options.OperationTimeout }

func (db *DB) newCommit(ctx context.Context, st *Step) (commitDoc, error) {
	c := commitDoc{ID: st.id, Open: time.Now().UnixMilli()}
	for _, o := range st.ops {
		if o.Kind != opNote {
			c.Ops = append(c.Ops, o)
		}
	}
	for i, entry := range st.Effects.Audit {
		doc, err := newAuditDoc(entry, fmt.Sprintf("%s/%d", st.id, i))
		if err != nil {
			return c, err
		}
		c.Audit = append(c.Audit, doc)
	}
	for _, job := range st.Effects.Jobs {
		c.Jobs = append(c.Jobs, newJobDoc(cause.Mark(ctx, job)))
	}
	if r := st.Effects.Idempotency; r != nil {
		c.setIdempotency(*r)
	}
	return c, nil
}

// PurgeAt returns when the server may remove what hearth's clean-up should have removed by then: a day after the time that is
// as far away on the server's clock as expires is on the store's.
func (db *DB) PurgeAt(expires time.Time) *time.Time {
	at := time.Now().Add(max(0, expires.Sub(db.Now())) + 24*time.Hour)
	return &at
}

// prepare writes drafts and locks what changes. If a document is not as the step read it, everything is taken back.
func (db *DB) prepare(ctx context.Context, st *Step) error {
	order, inserts := st.byCollection(opInsert)
	for _, coll := range order {
		if err := db.crashes("draft"); err != nil {
			return err
		}
		if err := db.writeDrafts(ctx, st, coll, inserts[coll]); err != nil {
			return db.release(ctx, st, err)
		}
	}
	order, notes := st.byCollection(opNote)
	for _, coll := range order {
		if err := db.crashes("note"); err != nil {
			return err
		}
		if err := db.writeNotes(ctx, coll, notes[coll]); err != nil {
			return db.release(ctx, st, err)
		}
	}
	order, locks := st.byCollection(opUpdate, opRemove)
	for _, coll := range order {
		if err := db.crashes("lock"); err != nil {
			return err
		}
		models := make([]mongo.WriteModel, 0, len(locks[coll]))
		for _, o := range locks[coll] {
			models = append(models, mongo.NewUpdateOneModel().
				SetFilter(bson.D{{Key: "_id", Value: o.ID}, {Key: "v", Value: versionOf(o)}, {Key: "lock", Value: nil}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "lock", Value: st.id}}}}))
		}
		result, err := db.Collection(coll).BulkWrite(ctx, models)
		if err == nil && result.MatchedCount != int64(len(models)) {
			err = ErrStale
		}
		if err != nil {
			return db.release(ctx, st, err)
		}
	}
	return nil
}

func (db *DB) writeDrafts(ctx context.Context, st *Step, coll string, inserts []op) error {
	docs := make([]any, 0, len(inserts))
	for _, o := range inserts {
		raw, err := bson.Marshal(o.doc)
		if err != nil {
			return fmt.Errorf("encode a document of %s: %w", coll, err)
		}
		var fields bson.D
		if err := bson.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("encode a document of %s: %w", coll, err)
		}
		docs = append(docs, append(fields, bson.E{Key: "lock", Value: st.id}, bson.E{Key: "draft", Value: true}))
	}
	_, err := db.Collection(coll).InsertMany(ctx, docs)
	if !IsDuplicate(err) {
		return err
	}
	if bulk, ok := errors.AsType[mongo.BulkWriteException](err); ok && len(bulk.WriteErrors) > 0 {
		return db.taken(ctx, inserts[bulk.WriteErrors[0].Index])
	}
	return err
}

// writeNotes stores notes; one that is there is of the same step, built before.
func (db *DB) writeNotes(ctx context.Context, coll string, notes []op) error {
	docs := make([]any, 0, len(notes))
	for _, o := range notes {
		docs = append(docs, o.doc)
	}
	return db.InsertMissing(ctx, coll, docs)
}

// release takes back what prepare did, and returns the reason for it. What it cannot take back now is taken back by whoever
// meets it.
func (db *DB) release(ctx context.Context, st *Step, reason error) error {
	patience := db.settleWithin()
	if IsAway(reason) {
		patience = db.Options.Grace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	order, groups := st.byCollection(opInsert, opNote, opUpdate, opRemove)
	for _, coll := range order {
		var drafts, notes, locks bson.A
		for _, o := range groups[coll] {
			switch o.Kind {
			case opInsert:
				drafts = append(drafts, o.ID)
			case opNote:
				notes = append(notes, o.ID)
			default:
				locks = append(locks, o.ID)
			}
		}
		if err := db.dropLocks(ctx, coll, st.id, drafts, locks); err != nil {
			db.Options.Logger.DebugContext(ctx, "a write that was given up left locks behind", "collection", coll, "error", err)
			break
		}
		if len(notes) > 0 && !errors.Is(reason, ErrStale) {
			// Of a step that is built anew the same notes come again.
			_, _ = db.Collection(coll).DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: notes}}}})
		}
	}
	return reason
}

// dropLocks takes the locks of a step that is not decided from those documents.
func (db *DB) dropLocks(ctx context.Context, coll, id string, drafts, locks bson.A) error {
	if len(drafts) > 0 {
		err := Again(ctx, func() error {
			_, err := db.Collection(coll).DeleteMany(ctx, bson.D{
				{Key: "_id", Value: bson.D{{Key: "$in", Value: drafts}}}, {Key: "lock", Value: id}, {Key: "draft", Value: true},
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(locks) == 0 {
		return nil
	}
	return Again(ctx, func() error {
		_, err := db.Collection(coll).UpdateMany(ctx,
			bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: locks}}}, {Key: "lock", Value: id}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: "lock", Value: ""}}}})
		return err
	})
}

// decide stores the commit. Of all steps with one idempotency key one is stored; the others are answered with it.
func (db *DB) decide(ctx context.Context, st *Step, c *commitDoc) error {
	for {
		if err := db.crashes("decide"); err != nil {
			return err
		}
		err := Again(ctx, func() error {
			_, err := db.Collection(Commits).InsertOne(ctx, c)
			return err
		})
		switch {
		case err == nil:
			return nil
		case IsDuplicate(err):
			decided, err := db.decidedByOther(ctx, st, c)
			if err != nil {
				return db.release(ctx, st, err)
			}
			if decided {
				return nil
			}
		case IsAway(err):
			return db.settle(ctx, st, err)
		default:
			return db.release(ctx, st, err)
		}
	}
}

// decidedByOther finds out which key of the commit is taken. It reports whether the commit itself is stored, by a repeated
// command; false asks for another try.
func (db *DB) decidedByOther(ctx context.Context, st *Step, c *commitDoc) (bool, error) {
	var own commitDoc
	err := db.Collection(Commits).FindOne(ctx, ByID(c.ID)).Decode(&own)
	if err == nil {
		if own.Aborted {
			return false, ErrStale // it took too long, and somebody dropped it
		}
		return true, nil
	}
	if !errors.Is(err, mongo.ErrNoDocuments) {
		return false, err
	}
	return false, db.replay(ctx, st.Effects.Idempotency)
}

// settle finds out what became of a commit whose insertion was not answered: it is forbidden, unless it is there.
func (db *DB) settle(ctx context.Context, st *Step, reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), db.Options.Grace)
	defer cancel()
	decided, err := db.forbid(ctx, st.id)
	switch {
	case err != nil:
		return reason // the server is away: what is there is finished when it is back
	case decided:
		return nil
	}
	return db.release(ctx, st, reason)
}

// forbid makes sure that an undecided step stays undecided; it reports whether it was decided already.
func (db *DB) forbid(ctx context.Context, id string) (decided bool, err error) {
	until := time.Now().Add(keepAborted)
	err = Again(ctx, func() error {
		_, err := db.Collection(Commits).InsertOne(ctx, commitDoc{ID: id, Aborted: true, PurgeAt: &until})
		return err
	})
	if err == nil {
		return false, nil
	}
	if !IsDuplicate(err) {
		return false, err
	}
	var c commitDoc
	err = db.Collection(Commits).FindOne(ctx, ByID(id), options.FindOne().SetProjection(bson.D{{Key: "aborted", Value: 1}})).Decode(&c)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return true, nil // it was decided, and is done by now
	}
	return err == nil && !c.Aborted, err
}

// apply does everything in a commit. It may run more than once, at once and late: every part asks for the step's lock, or
// is stored under a key of its own.
func (db *DB) apply(ctx context.Context, c *commitDoc) error {
	if err := db.applyOps(ctx, c); err != nil {
		return err
	}
	if len(c.Jobs) > 0 {
		if err := db.crashes("jobs"); err != nil {
			return err
		}
		if err := db.storeJobs(ctx, c.Jobs); err != nil {
			return err
		}
		db.wakeOutbox()
	}
	if len(c.Audit) > 0 {
		if err := db.audits.append(ctx, c.Audit); err != nil {
			return err
		}
	}
	return nil
}

// applyOps makes the changes, and lets go of what was only held after all others: a rule about many documents is read by leave
// of the one that is held, so whoever holds it next must see them as they are now.
func (db *DB) applyOps(ctx context.Context, c *commitDoc) error {
	var changes, held []op
	for _, o := range c.Ops {
		if o.Held {
			held = append(held, o)
		} else {
			changes = append(changes, o)
		}
	}
	if err := db.applyByCollection(ctx, c.ID, changes); err != nil {
		return err
	}
	if err := db.applySweeps(ctx, c); err != nil {
		return err
	}
	return db.applyByCollection(ctx, c.ID, held)
}

func (db *DB) applyByCollection(ctx context.Context, id string, ops []op) error {
	st := Step{ops: ops}
	order, groups := st.byCollection(opInsert, opUpdate, opRemove)
	for _, coll := range order {
		if err := db.crashes("apply"); err != nil {
			return err
		}
		var models []mongo.WriteModel
		var shown bson.A
		for _, o := range groups[coll] {
			mine := bson.D{{Key: "_id", Value: o.ID}, {Key: "lock", Value: id}}
			switch o.Kind {
			case opInsert:
				shown = append(shown, o.ID)
			case opUpdate:
				var update bson.D
				if err := bson.Unmarshal(o.Update, &update); err != nil {
					return fmt.Errorf("decode an update of %s: %w", coll, err)
				}
				models = append(models, mongo.NewUpdateOneModel().SetFilter(mine).SetUpdate(With(update, "$unset", "lock", "")))
			default:
				models = append(models, mongo.NewDeleteOneModel().SetFilter(mine))
			}
		}
		if shown != nil {
			models = append(models, mongo.NewUpdateManyModel().
				SetFilter(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: shown}}}, {Key: "lock", Value: id}}).
				SetUpdate(bson.D{{Key: "$unset", Value: bson.D{{Key: "lock", Value: ""}, {Key: "draft", Value: ""}}}}))
		}
		err := Again(ctx, func() error {
			_, err := db.Collection(coll).BulkWrite(ctx, models)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) applySweeps(ctx context.Context, c *commitDoc) error {
	for _, o := range c.Ops {
		if o.Kind != opSweep && o.Kind != opPurge {
			continue
		}
		if err := db.crashes("sweep"); err != nil {
			return err
		}
		err := Again(ctx, func() (err error) {
			if o.Kind == opPurge {
				_, err = db.Collection(o.Coll).DeleteMany(ctx, bson.Raw(o.Filter))
			} else {
				_, err = db.Collection(o.Coll).UpdateMany(ctx, bson.Raw(o.Filter), bson.Raw(o.Update))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finish puts away a commit that is applied. Were it lost, the commit would be applied once more, which changes nothing:
// so it need not be durable.
func (db *DB) finish(ctx context.Context, c *commitDoc) error {
	if err := db.crashes("finish"); err != nil {
		return err
	}
	commits := db.loose.Collection(Commits)
	return Again(ctx, func() (err error) {
		if c.Idempotency == "" {
			_, err = commits.DeleteOne(ctx, bson.D{{Key: "_id", Value: c.ID}, {Key: "open", Value: bson.D{{Key: "$exists", Value: true}}}})
			return err
		}
		_, err = commits.UpdateOne(ctx, ByID(c.ID), bson.D{
			{Key: "$unset", Value: bson.D{
				{Key: "open", Value: ""}, {Key: "ops", Value: ""}, {Key: "audit", Value: ""}, {Key: "jobs", Value: ""},
			}},
			{Key: "$set", Value: bson.D{{Key: "purge_at", Value: db.PurgeAt(FromMillis(c.Expires))}}},
		})
		return err
	})
}

// crashes is where a test lets the process die: nothing of the step is done after an error of it.
func (db *DB) crashes(at string) error {
	if db.Crash == nil {
		return nil
	}
	return db.Crash(at)
}
