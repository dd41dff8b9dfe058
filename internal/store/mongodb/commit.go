package mongodb

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
func (s *Store) writeStep(ctx context.Context, st *step) error {
	c, err := s.newCommit(ctx, st)
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, st); err != nil {
		return err
	}
	if err := s.decide(ctx, st, &c); err != nil {
		return err
	}
	// Decided: from here on it is done, whoever does it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.settleWithin())
	defer cancel()
	if err := s.apply(ctx, &c); err != nil {
		return err
	}
	s.logAudit(ctx, c.Audit)
	return s.finish(ctx, &c)
}

// settleWithin bounds what is still done for a write after its caller has left.
func (s *Store) settleWithin() time.Duration { return s.options.OperationTimeout }

func (s *Store) newCommit(ctx context.Context, st *step) (commitDoc, error) {
	c := commitDoc{ID: st.id, Open: time.Now().UnixMilli()}
	for _, o := range st.ops {
		if o.Kind != opNote {
			c.Ops = append(c.Ops, o)
		}
	}
	for i, entry := range st.effects.Audit {
		doc, err := newAuditDoc(entry, fmt.Sprintf("%s/%d", st.id, i))
		if err != nil {
			return c, err
		}
		c.Audit = append(c.Audit, doc)
	}
	for _, job := range st.effects.Jobs {
		c.Jobs = append(c.Jobs, newJobDoc(cause.Mark(ctx, job)))
	}
	if r := st.effects.Idempotency; r != nil {
		c.setIdempotency(*r)
	}
	return c, nil
}

// purgeAt returns when the server may remove what hearth's clean-up should have removed by then: a day after the time that is
// as far away on the server's clock as expires is on the store's.
func (s *Store) purgeAt(expires time.Time) *time.Time {
	at := time.Now().Add(max(0, expires.Sub(s.now())) + 24*time.Hour)
	return &at
}

// prepare writes drafts and locks what changes. If a document is not as the step read it, everything is taken back.
func (s *Store) prepare(ctx context.Context, st *step) error {
	order, inserts := st.byCollection(opInsert)
	for _, coll := range order {
		if err := s.crashes("draft"); err != nil {
			return err
		}
		if err := s.writeDrafts(ctx, st, coll, inserts[coll]); err != nil {
			return s.release(ctx, st, err)
		}
	}
	order, notes := st.byCollection(opNote)
	for _, coll := range order {
		if err := s.crashes("note"); err != nil {
			return err
		}
		if err := s.writeNotes(ctx, coll, notes[coll]); err != nil {
			return s.release(ctx, st, err)
		}
	}
	order, locks := st.byCollection(opUpdate, opRemove)
	for _, coll := range order {
		if err := s.crashes("lock"); err != nil {
			return err
		}
		models := make([]mongo.WriteModel, 0, len(locks[coll]))
		for _, o := range locks[coll] {
			models = append(models, mongo.NewUpdateOneModel().
				SetFilter(bson.D{{Key: "_id", Value: o.ID}, {Key: "v", Value: versionOf(o)}, {Key: "lock", Value: nil}}).
				SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "lock", Value: st.id}}}}))
		}
		result, err := s.db.Collection(coll).BulkWrite(ctx, models)
		if err == nil && result.MatchedCount != int64(len(models)) {
			err = errStale
		}
		if err != nil {
			return s.release(ctx, st, err)
		}
	}
	return nil
}

func (s *Store) writeDrafts(ctx context.Context, st *step, coll string, inserts []op) error {
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
	_, err := s.db.Collection(coll).InsertMany(ctx, docs)
	if !isDuplicate(err) {
		return err
	}
	if bulk, ok := errors.AsType[mongo.BulkWriteException](err); ok && len(bulk.WriteErrors) > 0 {
		return s.taken(ctx, inserts[bulk.WriteErrors[0].Index])
	}
	return err
}

// writeNotes stores notes; one that is there is of the same step, built before.
func (s *Store) writeNotes(ctx context.Context, coll string, notes []op) error {
	docs := make([]any, 0, len(notes))
	for _, o := range notes {
		docs = append(docs, o.doc)
	}
	return s.insertMissing(ctx, coll, docs)
}

// insertMissing inserts those of the documents whose _id is not there.
func (s *Store) insertMissing(ctx context.Context, coll string, docs any) error {
	return again(ctx, func() error {
		_, err := s.db.Collection(coll).InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		bulk, ok := errors.AsType[mongo.BulkWriteException](err)
		if !ok || bulk.WriteConcernError != nil {
			return err
		}
		for _, failed := range bulk.WriteErrors {
			if !isDuplicate(failed) {
				return err
			}
		}
		return nil
	})
}

// release takes back what prepare did, and returns the reason for it. What it cannot take back now is taken back by whoever
// meets it.
func (s *Store) release(ctx context.Context, st *step, reason error) error {
	patience := s.settleWithin()
	if isAway(reason) {
		patience = s.options.Grace
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
		if err := s.dropLocks(ctx, coll, st.id, drafts, locks); err != nil {
			s.options.Logger.DebugContext(ctx, "a write that was given up left locks behind", "collection", coll, "error", err)
			break
		}
		if len(notes) > 0 && !errors.Is(reason, errStale) {
			// Of a step that is built anew the same notes come again.
			_, _ = s.db.Collection(coll).DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: notes}}}})
		}
	}
	return reason
}

// dropLocks takes the locks of a step that is not decided from those documents.
func (s *Store) dropLocks(ctx context.Context, coll, id string, drafts, locks bson.A) error {
	if len(drafts) > 0 {
		err := again(ctx, func() error {
			_, err := s.db.Collection(coll).DeleteMany(ctx, bson.D{
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
	return again(ctx, func() error {
		_, err := s.db.Collection(coll).UpdateMany(ctx,
			bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: locks}}}, {Key: "lock", Value: id}},
			bson.D{{Key: "$unset", Value: bson.D{{Key: "lock", Value: ""}}}})
		return err
	})
}

// decide stores the commit. Of all steps with one idempotency key one is stored; the others are answered with it.
func (s *Store) decide(ctx context.Context, st *step, c *commitDoc) error {
	for {
		if err := s.crashes("decide"); err != nil {
			return err
		}
		err := again(ctx, func() error {
			_, err := s.db.Collection(collCommits).InsertOne(ctx, c)
			return err
		})
		switch {
		case err == nil:
			return nil
		case isDuplicate(err):
			decided, err := s.decidedByOther(ctx, st, c)
			if err != nil {
				return s.release(ctx, st, err)
			}
			if decided {
				return nil
			}
		case isAway(err):
			return s.settle(ctx, st, err)
		default:
			return s.release(ctx, st, err)
		}
	}
}

// decidedByOther finds out which key of the commit is taken. It reports whether the commit itself is stored, by a repeated
// command; false asks for another try.
func (s *Store) decidedByOther(ctx context.Context, st *step, c *commitDoc) (bool, error) {
	var own commitDoc
	err := s.db.Collection(collCommits).FindOne(ctx, byID(c.ID)).Decode(&own)
	if err == nil {
		if own.Aborted {
			return false, errStale // it took too long, and somebody dropped it
		}
		return true, nil
	}
	if !errors.Is(err, mongo.ErrNoDocuments) {
		return false, err
	}
	return false, s.replay(ctx, st.effects.Idempotency)
}

// settle finds out what became of a commit whose insertion was not answered: it is forbidden, unless it is there.
func (s *Store) settle(ctx context.Context, st *step, reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Grace)
	defer cancel()
	decided, err := s.forbid(ctx, st.id)
	switch {
	case err != nil:
		return reason // the server is away: what is there is finished when it is back
	case decided:
		return nil
	}
	return s.release(ctx, st, reason)
}

// forbid makes sure that an undecided step stays undecided; it reports whether it was decided already.
func (s *Store) forbid(ctx context.Context, id string) (decided bool, err error) {
	until := time.Now().Add(keepAborted)
	err = again(ctx, func() error {
		_, err := s.db.Collection(collCommits).InsertOne(ctx, commitDoc{ID: id, Aborted: true, PurgeAt: &until})
		return err
	})
	if err == nil {
		return false, nil
	}
	if !isDuplicate(err) {
		return false, err
	}
	var c commitDoc
	err = s.db.Collection(collCommits).FindOne(ctx, byID(id), options.FindOne().SetProjection(bson.D{{Key: "aborted", Value: 1}})).Decode(&c)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return true, nil // it was decided, and is done by now
	}
	return err == nil && !c.Aborted, err
}

// apply does everything in a commit. It may run more than once, at once and late: every part asks for the step's lock, or
// is stored under a key of its own.
func (s *Store) apply(ctx context.Context, c *commitDoc) error {
	if err := s.applyOps(ctx, c); err != nil {
		return err
	}
	if len(c.Jobs) > 0 {
		if err := s.crashes("jobs"); err != nil {
			return err
		}
		if err := s.storeJobs(ctx, c.Jobs); err != nil {
			return err
		}
		s.wakeOutbox()
	}
	if len(c.Audit) > 0 {
		if err := s.audits.append(ctx, c.Audit); err != nil {
			return err
		}
	}
	return nil
}

// applyOps makes the changes, and lets go of what was only held after all others: a rule about many documents is read by leave
// of the one that is held, so whoever holds it next must see them as they are now.
func (s *Store) applyOps(ctx context.Context, c *commitDoc) error {
	var changes, held []op
	for _, o := range c.Ops {
		if o.Held {
			held = append(held, o)
		} else {
			changes = append(changes, o)
		}
	}
	if err := s.applyByCollection(ctx, c.ID, changes); err != nil {
		return err
	}
	if err := s.applySweeps(ctx, c); err != nil {
		return err
	}
	return s.applyByCollection(ctx, c.ID, held)
}

func (s *Store) applyByCollection(ctx context.Context, id string, ops []op) error {
	st := step{ops: ops}
	order, groups := st.byCollection(opInsert, opUpdate, opRemove)
	for _, coll := range order {
		if err := s.crashes("apply"); err != nil {
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
				models = append(models, mongo.NewUpdateOneModel().SetFilter(mine).SetUpdate(with(update, "$unset", "lock", "")))
			default:
				models = append(models, mongo.NewDeleteOneModel().SetFilter(mine))
			}
		}
		if shown != nil {
			models = append(models, mongo.NewUpdateManyModel().
				SetFilter(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: shown}}}, {Key: "lock", Value: id}}).
				SetUpdate(bson.D{{Key: "$unset", Value: bson.D{{Key: "lock", Value: ""}, {Key: "draft", Value: ""}}}}))
		}
		err := again(ctx, func() error {
			_, err := s.db.Collection(coll).BulkWrite(ctx, models)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) applySweeps(ctx context.Context, c *commitDoc) error {
	for _, o := range c.Ops {
		if o.Kind != opSweep && o.Kind != opPurge {
			continue
		}
		if err := s.crashes("sweep"); err != nil {
			return err
		}
		err := again(ctx, func() (err error) {
			if o.Kind == opPurge {
				_, err = s.db.Collection(o.Coll).DeleteMany(ctx, bson.Raw(o.Filter))
			} else {
				_, err = s.db.Collection(o.Coll).UpdateMany(ctx, bson.Raw(o.Filter), bson.Raw(o.Update))
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
func (s *Store) finish(ctx context.Context, c *commitDoc) error {
	if err := s.crashes("finish"); err != nil {
		return err
	}
	commits := s.loose.Collection(collCommits)
	return again(ctx, func() (err error) {
		if c.Idempotency == "" {
			_, err = commits.DeleteOne(ctx, bson.D{{Key: "_id", Value: c.ID}, {Key: "open", Value: bson.D{{Key: "$exists", Value: true}}}})
			return err
		}
		_, err = commits.UpdateOne(ctx, byID(c.ID), bson.D{
			{Key: "$unset", Value: bson.D{
				{Key: "open", Value: ""}, {Key: "ops", Value: ""}, {Key: "audit", Value: ""}, {Key: "jobs", Value: ""},
			}},
			{Key: "$set", Value: bson.D{{Key: "purge_at", Value: s.purgeAt(fromMillis(c.Expires))}}},
		})
		return err
	})
}

// crashes is where a test lets the process die: nothing of the step is done after an error of it.
func (s *Store) crashes(at string) error {
	if s.crash == nil {
		return nil
	}
	return s.crash(at)
}

// millis returns the stored form of a time: Unix milliseconds; 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// fromMillis reads the stored form back.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
