package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"hearth"
)

// Meta stands in every document that takes part in atomic steps. Embed it with `bson:",inline"`. It is exported for package
// bson alone, which looks into no other embedded type.
type Meta struct {
	// V counts the document's changes from 1.
	V int64 `bson:"v"`
	// Lock is the id of the step that is about to change the document; nobody else writes it meanwhile.
	Lock string `bson:"lock,omitempty"`
	// Draft marks a document that is not there yet for anybody but the step with that lock.
	Draft bool `bson:"draft,omitempty"`
}

// State returns the document's own.
func (m Meta) State() Meta { return m }

// stored is a document with Meta.
type stored interface{ State() Meta }

// Document is a document whose fields are decoded later.
type Document struct{ bson.Raw }

// UnmarshalBSON implements bson.Unmarshaler.
func (d *Document) UnmarshalBSON(data []byte) error {
	d.Raw = append(bson.Raw(nil), data...)
	return nil
}

// State returns what the document has of Meta.
func (d Document) State() (m Meta) {
	if err := bson.Unmarshal(d.Raw, &m); err != nil {
		panic("mongodb: a document that was decoded before cannot be: " + err.Error())
	}
	return m
}

// What a step reads and writes may not be as it was.
var (
	// ErrStale says that a document changed after the step read it: the step is built anew.
	ErrStale = errors.New("mongodb: a document changed meanwhile")
	// ErrGone is load's for a document that is not there.
	ErrGone = errors.New("mongodb: there is no such document")
)

// Step is one write in the making. Its methods only note what is to be done: nothing is written before the function that
// builds the Step returns. Versions are those of the documents as load returned them.
type Step struct {
	DB *DB
	id string
	// along may be replaced while the step is built.
	Effects hearth.SideEffects
	ops     []op
}

type opKind string

const (
	opInsert opKind = "insert"
	opUpdate opKind = "update"
	opRemove opKind = "remove"
	opSweep  opKind = "sweep"
	opPurge  opKind = "purge"
	opNote   opKind = "note"
)

// op is one part of a step. The stored form, inside of a commit, has no documents of opInsert and opNote: those are
// written before it. Filter and Update are marshalled, since their names begin with "$".
type op struct {
	Kind   opKind `bson:"kind"`
	Coll   string `bson:"coll"`
	ID     any    `bson:"id,omitempty"`
	Filter []byte `bson:"filter,omitempty"`
	Update []byte `bson:"update,omitempty"`
	// Held marks an update of nothing: what the step read by that document's leave must show before others may lock it.
	Held bool `bson:"held,omitempty"`

	version int64
	doc     any
	taken   error
}

// Insert adds a document, a struct with the _id id and a Meta. If the id is taken, the step is refused with the error
// taken; if another unique key is, the step is built anew.
func (st *Step) Insert(coll string, id, doc any, taken error) {
	st.ops = append(st.ops, op{Kind: opInsert, Coll: coll, ID: id, doc: doc, taken: taken})
}

// Update changes the document with that id, if it still has that version, which counts up. The update may be nil: then the
// step only demands that nobody else changes the document at the same time, and lets go of it when all else shows.
func (st *Step) Update(coll string, id any, version int64, update bson.D) {
	st.ops = append(st.ops, op{
		Kind: opUpdate, Coll: coll, ID: id, version: version, Update: marshal(With(update, "$inc", "v", int64(1))), Held: update == nil,
	})
}

// Remove removes the document with that id, if it still has that version.
func (st *Step) Remove(coll string, id any, version int64) {
	st.ops = append(st.ops, op{Kind: opRemove, Coll: coll, ID: id, version: version})
}

// Sweep updates all documents that match, after the rest of the step is decided. It may run more than once, and late: the
// filter must not match what was written after the step. It counts versions up, so that steps that read before it notice.
func (st *Step) Sweep(coll string, filter, update bson.D) {
	st.ops = append(st.ops, op{Kind: opSweep, Coll: coll, Filter: marshal(filter), Update: marshal(With(update, "$inc", "v", int64(1)))})
}

// Purge removes all documents that match, as sweep updates them.
func (st *Step) Purge(coll string, filter bson.D) {
	st.ops = append(st.ops, op{Kind: opPurge, Coll: coll, Filter: marshal(filter)})
}

// Note writes a document before the step is decided, without a lock: for what means nothing to anybody unless the step
// comes about. It is removed when the step is refused, and may stay behind after a crash.
func (st *Step) Note(coll string, id, doc any) {
	st.ops = append(st.ops, op{Kind: opNote, Coll: coll, ID: id, doc: doc})
}

// marshal encodes what the package itself put together.
func marshal(d bson.D) []byte {
	raw, err := bson.Marshal(d)
	if err != nil {
		panic("mongodb: a filter or update that cannot be encoded: " + err.Error())
	}
	return raw
}

// With adds field: value to the operator's part of an update.
func With(update bson.D, operator, field string, value any) bson.D {
	update = slices.Clone(update)
	for i, part := range update {
		if fields, ok := part.Value.(bson.D); ok && part.Key == operator {
			update[i].Value = append(slices.Clone(fields), bson.E{Key: field, Value: value})
			return update
		}
	}
	return append(update, bson.E{Key: operator, Value: bson.D{{Key: field, Value: value}}})
}

// Load reads a document for the step, as every finished write left it: one that an unfinished write holds is waited for.
// errGone if it is not there.
func Load[T stored](ctx context.Context, db *DB, coll string, filter bson.D) (T, error) {
	for {
		var doc T
		var id struct {
			ID any `bson:"_id"`
		}
		raw, err := db.Collection(coll).FindOne(ctx, filter).Raw()
		if errors.Is(err, mongo.ErrNoDocuments) {
			return doc, ErrGone
		}
		if err == nil {
			err = errors.Join(bson.Unmarshal(raw, &doc), bson.Unmarshal(raw, &id))
		}
		if err != nil {
			return doc, err
		}
		m := doc.State()
		if m.Lock == "" {
			return doc, nil
		}
		if err := db.Await(ctx, coll, id.ID, m.Lock); err != nil {
			return doc, err
		}
	}
}

// versionOf is the condition on a document's version: one that was written before steps could change it has none.
func versionOf(o op) any {
	if o.version == 0 {
		return nil
	}
	return o.version
}

// Writing says what a write is, beside what it does.
type Writing struct {
	// Name is the contract's method, for the observer.
	Name string
	// Line is the document that most of these writes meet at, such as "users/ID": those of this process wait for one another.
	// "" waits for nobody.
	Line    string
	Effects hearth.SideEffects
}

// Commit does one atomic step. build reads what it needs with load, notes in the step what is to be written, and may set
// step.along; an error of it refuses the step. It runs anew, with a new step, whenever a document changed meanwhile.
func (db *DB) Commit(ctx context.Context, w Writing, build func(ctx context.Context, st *Step) error) error {
	return db.doInLine(ctx, w.Name, w.Line, func(ctx context.Context) error {
		for try := 0; ; try++ {
			st := &Step{DB: db, id: uuid.Must(uuid.NewV7()).String(), Effects: w.Effects}
			err := db.attempt(ctx, st, build)
			if !errors.Is(err, ErrStale) && !isDeadlock(err) {
				return err
			}
			if late := Pause(ctx, try); late != nil {
				return fmt.Errorf("%w, %d times: %w", err, try+1, late)
			}
		}
	})
}

// attempt builds the step once and writes it, or returns errStale.
func (db *DB) attempt(ctx context.Context, st *Step, build func(context.Context, *Step) error) error {
	refusal := build(ctx, st)
	if IsAway(refusal) || errors.Is(refusal, ErrStale) {
		return refusal
	}
	// First of all a replay changes nothing, and is refused nothing either.
	if err := db.replay(ctx, st.Effects.Idempotency); err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}
	var err error
	if st.Effects.Jobs, err = st.Effects.AllJobs(); err != nil {
		return err
	}
	if st.isPlain() {
		return db.writePlain(ctx, st.ops[0])
	}
	if len(st.ops) == 0 && IsEmpty(st.Effects) {
		return nil
	}
	err = db.writeStep(ctx, st)
	if _, ok := errors.AsType[*hearth.Error](err); ok && st.Effects.Idempotency != nil {
		// What refused it may be the same request, done meanwhile by another.
		if replayed := db.replay(ctx, st.Effects.Idempotency); replayed != nil {
			return replayed
		}
	}
	return err
}

// IsEmpty reports whether there are no side effects.
func IsEmpty(effects hearth.SideEffects) bool {
	return effects.Idempotency == nil && len(effects.Audit) == 0 && len(effects.Jobs) == 0 && len(effects.Unjudged) == 0
}

// isPlain reports whether the step is the write of one document and nothing else: the server does that in one atomic command.
func (st *Step) isPlain() bool {
	if len(st.ops) != 1 || !IsEmpty(st.Effects) {
		return false
	}
	switch st.ops[0].Kind {
	case opInsert, opUpdate, opRemove:
		return true
	}
	return false
}

func (db *DB) writePlain(ctx context.Context, o op) error {
	coll := db.Collection(o.Coll)
	free := bson.D{{Key: "_id", Value: o.ID}, {Key: "v", Value: versionOf(o)}, {Key: "lock", Value: nil}}
	switch o.Kind {
	case opInsert:
		_, err := coll.InsertOne(ctx, o.doc)
		if IsDuplicate(err) {
			return db.taken(ctx, o)
		}
		return err
	case opUpdate:
		result, err := coll.UpdateOne(ctx, free, bson.Raw(o.Update))
		if err == nil && result.MatchedCount == 0 {
			return ErrStale
		}
		return err
	default:
		result, err := coll.DeleteOne(ctx, free)
		if err == nil && result.DeletedCount == 0 {
			return ErrStale
		}
		return err
	}
}

// taken says why a document could not be inserted: its id belongs to another that is there (o.taken), or to one that is not
// there yet and may never be, or another key is taken (errStale).
func (db *DB) taken(ctx context.Context, o op) error {
	var m Meta
	err := db.Collection(o.Coll).FindOne(ctx, ByID(o.ID)).Decode(&m)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return ErrStale
	case err != nil:
		return err
	case m.Lock != "":
		if err := db.Await(ctx, o.Coll, o.ID, m.Lock); err != nil {
			return err
		}
		return ErrStale
	case o.taken == nil:
		return hearth.Errorf(hearth.CodeConflict, "the id is taken")
	}
	return o.taken
}

// byCollection groups the step's ops of the kinds by collection, in a fixed order.
func (st *Step) byCollection(kinds ...opKind) (order []string, groups map[string][]op) {
	groups = map[string][]op{}
	for _, o := range st.ops {
		if slices.Contains(kinds, o.Kind) {
			groups[o.Coll] = append(groups[o.Coll], o)
		}
	}
	return slices.Sorted(maps.Keys(groups)), groups
}

// GuardDoc stands for a rule about many documents: a step that could break it changes the guard's version, so that of two such
// steps one is built anew.
type GuardDoc struct {
	ID   string `bson:"_id"`
	Meta `bson:",inline"`
}

// Guard makes the step one of those that follow one another.
func (st *Step) Guard(ctx context.Context, name string) error {
	g, err := Load[GuardDoc](ctx, st.DB, Guards, ByID(name))
	if err == nil {
		st.Update(Guards, name, g.V, nil)
	}
	return err
}
