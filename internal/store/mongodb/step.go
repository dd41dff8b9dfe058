package mongodb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

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

func (m Meta) state() Meta { return m }

// stored is a document with Meta.
type stored interface{ state() Meta }

// Errors inside of the package.
var (
	// errStale says that a document changed after the step read it: the step is built anew.
	errStale = errors.New("mongodb: a document changed meanwhile")
	// errGone is load's for a document that is not there.
	errGone = errors.New("mongodb: there is no such document")
)

// step is one write in the making. Its methods only note what is to be done: nothing is written before the function that
// builds the step returns. Versions are those of the documents as load returned them.
type step struct {
	s  *Store
	id string
	// along may be replaced while the step is built.
	effects hearth.SideEffects
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

// insert adds a document, a struct with the _id id and a Meta. If the id is taken, the step is refused with the error
// taken; if another unique key is, the step is built anew.
func (st *step) insert(coll string, id, doc any, taken error) {
	st.ops = append(st.ops, op{Kind: opInsert, Coll: coll, ID: id, doc: doc, taken: taken})
}

// update changes the document with that id, if it still has that version, which counts up. The update may be nil: then the
// step only demands that nobody else changes the document at the same time, and lets go of it when all else shows.
func (st *step) update(coll string, id any, version int64, update bson.D) {
	st.ops = append(st.ops, op{
		Kind: opUpdate, Coll: coll, ID: id, version: version, Update: marshal(with(update, "$inc", "v", int64(1))), Held: update == nil,
	})
}

// remove removes the document with that id, if it still has that version.
func (st *step) remove(coll string, id any, version int64) {
	st.ops = append(st.ops, op{Kind: opRemove, Coll: coll, ID: id, version: version})
}

// sweep updates all documents that match, after the rest of the step is decided. It may run more than once, and late: the
// filter must not match what was written after the step. It counts versions up, so that steps that read before it notice.
func (st *step) sweep(coll string, filter, update bson.D) {
	st.ops = append(st.ops, op{Kind: opSweep, Coll: coll, Filter: marshal(filter), Update: marshal(with(update, "$inc", "v", int64(1)))})
}

// purge removes all documents that match, as sweep updates them.
func (st *step) purge(coll string, filter bson.D) {
	st.ops = append(st.ops, op{Kind: opPurge, Coll: coll, Filter: marshal(filter)})
}

// note writes a document before the step is decided, without a lock: for what means nothing to anybody unless the step
// comes about. It is removed when the step is refused, and may stay behind after a crash.
func (st *step) note(coll string, id, doc any) {
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

// with adds field: value to the operator's part of an update.
func with(update bson.D, operator, field string, value any) bson.D {
	update = slices.Clone(update)
	for i, part := range update {
		if fields, ok := part.Value.(bson.D); ok && part.Key == operator {
			update[i].Value = append(slices.Clone(fields), bson.E{Key: field, Value: value})
			return update
		}
	}
	return append(update, bson.E{Key: operator, Value: bson.D{{Key: field, Value: value}}})
}

// set returns the update that returns a document the fields of a struct; "_id" and Meta must not be among them.
func set(fields any) bson.D { return bson.D{{Key: "$set", Value: fields}} }

// live is the filter of documents that are there for everybody.
func live(filter ...bson.E) bson.D { return append(bson.D{{Key: "draft", Value: nil}}, filter...) }

// load reads a document for the step, as every finished write left it: one that an unfinished write holds is waited for.
// errGone if it is not there.
func load[T stored](ctx context.Context, st *step, coll string, filter bson.D) (T, error) {
	for {
		var doc T
		var id struct {
			ID any `bson:"_id"`
		}
		raw, err := st.s.db.Collection(coll).FindOne(ctx, filter).Raw()
		if errors.Is(err, mongo.ErrNoDocuments) {
			return doc, errGone
		}
		if err == nil {
			err = errors.Join(bson.Unmarshal(raw, &doc), bson.Unmarshal(raw, &id))
		}
		if err != nil {
			return doc, err
		}
		m := doc.state()
		if m.Lock == "" {
			return doc, nil
		}
		if err := st.s.await(ctx, coll, id.ID, m.Lock); err != nil {
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

// byID is the filter of one document.
func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// writing says what a write is, beside what it does.
type writing struct {
	// name is the contract's method, for the observer.
	name string
	// line is the document that most of these writes meet at, such as "users/ID": those of this process wait for one another.
	// "" waits for nobody.
	line    string
	effects hearth.SideEffects
}

// commit does one atomic step. build reads what it needs with load, notes in the step what is to be written, and may set
// step.along; an error of it refuses the step. It runs anew, with a new step, whenever a document changed meanwhile.
func (s *Store) commit(ctx context.Context, w writing, build func(ctx context.Context, st *step) error) error {
	return s.doInLine(ctx, w.name, w.line, func(ctx context.Context) error {
		for try := 0; ; try++ {
			st := &step{s: s, id: uuid.Must(uuid.NewV7()).String(), effects: w.effects}
			err := s.attempt(ctx, st, build)
			if !errors.Is(err, errStale) && !isDeadlock(err) {
				return err
			}
			if late := pause(ctx, try); late != nil {
				return fmt.Errorf("%w, %d times: %w", err, try+1, late)
			}
		}
	})
}

// attempt builds the step once and writes it, or returns errStale.
func (s *Store) attempt(ctx context.Context, st *step, build func(context.Context, *step) error) error {
	refusal := build(ctx, st)
	if isAway(refusal) || errors.Is(refusal, errStale) {
		return refusal
	}
	// First of all a replay changes nothing, and is refused nothing either.
	if err := s.replay(ctx, st.effects.Idempotency); err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}
	var err error
	if st.effects.Jobs, err = st.effects.AllJobs(); err != nil {
		return err
	}
	if st.isPlain() {
		return s.writePlain(ctx, st.ops[0])
	}
	if len(st.ops) == 0 && isEmpty(st.effects) {
		return nil
	}
	err = s.writeStep(ctx, st)
	if _, ok := errors.AsType[*hearth.Error](err); ok && st.effects.Idempotency != nil {
		// What refused it may be the same request, done meanwhile by another.
		if replayed := s.replay(ctx, st.effects.Idempotency); replayed != nil {
			return replayed
		}
	}
	return err
}

func isEmpty(effects hearth.SideEffects) bool {
	return effects.Idempotency == nil && len(effects.Audit) == 0 && len(effects.Jobs) == 0 && len(effects.Unjudged) == 0
}

// isPlain reports whether the step is the write of one document and nothing else: the server does that in one atomic command.
func (st *step) isPlain() bool {
	if len(st.ops) != 1 || !isEmpty(st.effects) {
		return false
	}
	switch st.ops[0].Kind {
	case opInsert, opUpdate, opRemove:
		return true
	}
	return false
}

func (s *Store) writePlain(ctx context.Context, o op) error {
	coll := s.db.Collection(o.Coll)
	free := bson.D{{Key: "_id", Value: o.ID}, {Key: "v", Value: versionOf(o)}, {Key: "lock", Value: nil}}
	switch o.Kind {
	case opInsert:
		_, err := coll.InsertOne(ctx, o.doc)
		if isDuplicate(err) {
			return s.taken(ctx, o)
		}
		return err
	case opUpdate:
		result, err := coll.UpdateOne(ctx, free, bson.Raw(o.Update))
		if err == nil && result.MatchedCount == 0 {
			return errStale
		}
		return err
	default:
		result, err := coll.DeleteOne(ctx, free)
		if err == nil && result.DeletedCount == 0 {
			return errStale
		}
		return err
	}
}

// taken says why a document could not be inserted: its id belongs to another that is there (o.taken), or to one that is not
// there yet and may never be, or another key is taken (errStale).
func (s *Store) taken(ctx context.Context, o op) error {
	var m Meta
	err := s.db.Collection(o.Coll).FindOne(ctx, byID(o.ID)).Decode(&m)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return errStale
	case err != nil:
		return err
	case m.Lock != "":
		if err := s.await(ctx, o.Coll, o.ID, m.Lock); err != nil {
			return err
		}
		return errStale
	case o.taken == nil:
		return hearth.Errorf(hearth.CodeConflict, "the id is taken")
	}
	return o.taken
}

// byCollection groups the step's ops of the kinds by collection, in a fixed order.
func (st *step) byCollection(kinds ...opKind) (order []string, groups map[string][]op) {
	groups = map[string][]op{}
	for _, o := range st.ops {
		if slices.Contains(kinds, o.Kind) {
			groups[o.Coll] = append(groups[o.Coll], o)
		}
	}
	return slices.Sorted(maps.Keys(groups)), groups
}

// guardDoc stands for a rule about many documents: a step that could break it changes the guard's version, so that of two such
// steps one is built anew.
type guardDoc struct {
	ID   string `bson:"_id"`
	Meta `bson:",inline"`
}

// guard makes the step one of those that follow one another.
func (st *step) guard(ctx context.Context, name string) error {
	g, err := load[guardDoc](ctx, st, collGuards, byID(name))
	if err == nil {
		st.update(collGuards, name, g.V, nil)
	}
	return err
}

// exists reports whether a document matches.
func (s *Store) exists(ctx context.Context, coll string, filter bson.D) (bool, error) {
	err := s.db.Collection(coll).FindOne(ctx, filter, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, err
}
