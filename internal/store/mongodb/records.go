package mongodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

// recordBackend is the record.Backend of the store: a collection a kind, with a field a field and the indexes of the description. An
// identity of one field is the _id; one of several is joined into it, and stands in its own fields too.
type recordBackend struct{ s *Store }

var _ record.Backend = recordBackend{}

// Now implements record.Backend.
func (b recordBackend) Now() time.Time { return b.s.Now() }

// Orphans implements record.Backend: what hangs on a device goes after it.
func (b recordBackend) Orphans() bool { return true }

// View implements record.Backend.
func (b recordBackend) View(ctx context.Context, name string, fn func(context.Context, record.Reader) error) error {
	return b.s.Do(ctx, name, func(ctx context.Context) error { return fn(ctx, recordReader(b)) })
}

// Update implements record.Backend by the protocol of steps.
func (b recordBackend) Update(ctx context.Context, w record.Write, fn func(context.Context, record.Tx) error) error {
	return b.s.Commit(ctx, steps.Writing{Name: w.Name, Line: w.Key, Effects: w.Effects}, func(ctx context.Context, st *steps.Step) error {
		tx := &recordTx{recordReader: recordReader(b), st: st, known: map[string]*known{}}
		err := fn(ctx, tx)
		if err == nil {
			err = tx.note(ctx)
		}
		return err
	})
}

// Remove implements record.Backend.
func (b recordBackend) Remove(ctx context.Context, name string, s *record.Schema, where record.Filter, by string, limit int) (n int, err error) {
	err = b.s.Do(ctx, name, func(ctx context.Context) error {
		if limit == 0 {
			n, err = b.s.DeleteAll(ctx, s.Name, append(filterOf(s, where), bson.E{Key: "lock", Value: nil}))
			return err
		}
		n, err = b.s.DeleteFirst(ctx, s.Name, append(filterOf(s, where), bson.E{Key: "lock", Value: nil}), bsonName(s, by), limit)
		return err
	})
	return n, err
}

// Change implements record.Backend.
func (b recordBackend) Change(ctx context.Context, name string, s *record.Schema, where record.Filter, changes record.Changes) (n int, err error) {
	err = b.s.Do(ctx, name, func(ctx context.Context) error {
		return steps.Again(ctx, func() error {
			result, err := b.s.Collection(s.Name).UpdateMany(ctx, steps.Live(filterOf(s, where)...), steps.Set(changed(s, changes)))
			if err == nil {
				n = int(result.ModifiedCount)
			}
			return err
		})
	})
	return n, err
}

func changed(s *record.Schema, changes record.Changes) (fields bson.D) {
	for _, c := range changes {
		fields = append(fields, bson.E{Key: bsonName(s, c.Field), Value: c.Value})
	}
	return fields
}

// bsonName returns the name that a field has in documents.
func bsonName(s *record.Schema, field string) string {
	if len(s.ID) == 1 && s.ID[0] == field {
		return "_id"
	}
	return s.Field(field).BSON
}

// idOf returns the _id of an identity.
func idOf(id []any) any {
	if len(id) == 1 {
		return id[0]
	}
	parts := make([]string, len(id))
	for i, part := range id {
		parts[i] = part.(string) //nolint:forcetypeassert // record.In makes it
	}
	return strings.Join(parts, "/")
}

// present is the filter of records that are there for everybody.
func present(s *record.Schema, filter ...bson.E) bson.D {
	if s.Hidden != "" {
		filter = append([]bson.E{{Key: s.Hidden, Value: nil}}, filter...)
	}
	return steps.Live(filter...)
}

var operators = map[record.Op]string{ // never written to
	record.OpEq: "$eq", record.OpNe: "$ne", record.OpGt: "$gt", record.OpGte: "$gte", record.OpLt: "$lt", record.OpLte: "$lte", record.OpIn: "$in",
}

// filterOf returns the filter of documents: one entry a field, and those that are no field's under $and.
func filterOf(s *record.Schema, where record.Filter) (filter bson.D) {
	var more bson.A
	for _, c := range where {
		switch c.Op {
		case record.OpBeyond:
			more = append(more, beyond(s, *c.Beyond))
		case record.OpContains:
			more = append(more, bson.D{{Key: bsonName(s, c.Field), Value: contains(c.Value.(string))}}) //nolint:forcetypeassert // record.Contains makes it
		default:
			name, compared := bsonName(s, c.Field), bson.E{Key: operators[c.Op], Value: c.Value}
			if i := slices.IndexFunc(filter, func(e bson.E) bool { return e.Key == name }); i >= 0 {
				filter[i].Value = append(filter[i].Value.(bson.D), compared) //nolint:forcetypeassert // put there below
			} else {
				filter = append(filter, bson.E{Key: name, Value: bson.D{compared}})
			}
		}
	}
	if len(more) > 0 {
		filter = append(filter, bson.E{Key: "$and", Value: more})
	}
	return filter
}

// beyond returns the condition of what stands behind a place.
func beyond(s *record.Schema, place record.Beyond) bson.D {
	operator := "$gt"
	if place.Desc {
		operator = "$lt"
	}
	either, same := bson.A{}, bson.D{}
	for i, field := range place.Fields {
		name := bsonName(s, field)
		either = append(either, append(slices.Clone(same), bson.E{Key: name, Value: bson.D{{Key: operator, Value: place.Values[i]}}}))
		same = append(same, bson.E{Key: name, Value: place.Values[i]})
	}
	return bson.D{{Key: "$or", Value: either}}
}

// fieldsFor returns the fields of a record's document, _id and Meta aside.
func fieldsFor(s *record.Schema, r any) (fields bson.D) {
	for i := range s.Fields() {
		f := &s.Fields()[i]
		if name := bsonName(s, f.Name); name != "_id" && !strings.Contains(name, ".") {
			fields = append(fields, bson.E{Key: name, Value: f.Get(r)})
		}
	}
	return fields
}

// decode reads a document into a record.
func decode(s *record.Schema, raw bson.Raw, r any) error {
	elements, err := raw.Elements()
	if err != nil {
		return err
	}
	for i := range s.Fields() {
		f := &s.Fields()[i]
		name := bsonName(s, f.Name)
		for _, e := range elements {
			if e.Key() != name {
				continue
			}
			if err := decodeField(f, e.Value(), r); err != nil {
				return fmt.Errorf("decode %s of a document of %s: %w", name, s.Name, err)
			}
			break
		}
	}
	return nil
}

func decodeField(f *record.Field, value bson.RawValue, r any) error {
	switch value.Type {
	case bson.TypeNull, bson.TypeUndefined:
	case bson.TypeString:
		f.Put(r, value.StringValue())
	case bson.TypeBoolean:
		f.Put(r, value.Boolean())
	case bson.TypeBinary:
		switch _, data := value.Binary(); f.Type {
		case record.Bytes:
			f.Put(r, bytes.Clone(data))
		case record.Text:
			f.Put(r, string(data))
		}
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		if number, ok := value.AsInt64OK(); ok {
			f.Put(r, number)
		}
	default:
		if f.Type != record.Document {
			return fmt.Errorf("it is %v", value.Type)
		}
		return value.Unmarshal(f.Into(r))
	}
	return nil
}

// recordReader reads records outside of steps: those that are there for everybody.
type recordReader struct{ s *Store }

// Get implements record.Reader.
func (r recordReader) Get(ctx context.Context, s *record.Schema, id []any, into any) error {
	raw, err := r.s.Collection(s.Name).FindOne(ctx, present(s, bson.E{Key: "_id", Value: idOf(id)})).Raw()
	if err != nil {
		return steps.Found(err, s.Noun)
	}
	return decode(s, raw, into)
}

// Find implements record.Reader.
func (r recordReader) Find(ctx context.Context, s *record.Schema, q record.Query, next func() (any, error)) error {
	return r.each(ctx, s, q, func(raw bson.Raw) error {
		dest, err := next()
		if err != nil {
			return err
		}
		return decode(s, raw, dest)
	})
}

func (r recordReader) each(ctx context.Context, s *record.Schema, q record.Query, do func(bson.Raw) error) error {
	find := options.Find()
	if order := sortOf(s, q.Order); order != nil {
		find.SetSort(order)
	}
	if q.Limit > 0 {
		find.SetLimit(int64(q.Limit))
	} else {
		find.SetBatchSize(steps.BatchSize)
	}
	if q.Skip > 0 {
		find.SetSkip(int64(q.Skip))
	}
	cursor, err := r.collection(s, q.MayLag).Find(ctx, present(s, filterOf(s, q.Where)...), find)
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		if err := do(cursor.Current); err != nil {
			return err
		}
	}
	return cursor.Err()
}

// sortOf returns the order of documents; that of an identity is the _id's.
func sortOf(s *record.Schema, o record.Order) bson.D {
	direction := 1
	if o.Desc {
		direction = -1
	}
	switch {
	case o.By == "":
		return nil
	case len(s.ID) > 1 && s.ID[0] == o.By && s.ID[1] == o.Tie:
		return bson.D{{Key: "_id", Value: direction}}
	case o.Tie == "":
		return bson.D{{Key: bsonName(s, o.By), Value: direction}}
	}
	return bson.D{{Key: bsonName(s, o.By), Value: direction}, {Key: bsonName(s, o.Tie), Value: direction}}
}

func (r recordReader) collection(s *record.Schema, mayLag bool) *mongo.Collection {
	if mayLag {
		return r.s.Lagging(s.Name)
	}
	return r.s.Collection(s.Name)
}

// Count implements record.Reader.
func (r recordReader) Count(ctx context.Context, s *record.Schema, where record.Filter, mayLag bool) (int64, error) {
	return r.collection(s, mayLag).CountDocuments(ctx, present(s, filterOf(s, where)...))
}

// Figures implements record.Reader.
func (r recordReader) Figures(
	ctx context.Context, s *record.Schema, where record.Filter, by, sum, least string,
) (all []record.Figures, err error) {
	group := bson.D{{Key: "_id", Value: "$" + bsonName(s, by)}, {Key: "count", Value: bson.D{{Key: "$sum", Value: int64(1)}}}}
	if sum != "" {
		group = append(group, bson.E{Key: "sum", Value: bson.D{{Key: "$sum", Value: "$" + bsonName(s, sum)}}})
	}
	if least != "" {
		group = append(group, bson.E{Key: "least", Value: bson.D{{Key: "$min", Value: "$" + bsonName(s, least)}}})
	}
	cursor, err := r.s.Collection(s.Name).Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: present(s, filterOf(s, where)...)}}, bson.D{{Key: "$group", Value: group}},
	})
	if err != nil {
		return nil, err
	}
	var groups []struct {
		Value string `bson:"_id"`
		Count int64  `bson:"count"`
		Sum   int64  `bson:"sum"`
		Least int64  `bson:"least"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return nil, err
	}
	for _, g := range groups {
		all = append(all, record.Figures(g))
	}
	return all, nil
}

// recordIndexes are the indexes of the described kinds, by collection.
func recordIndexes() map[string][]index {
	all := map[string][]index{}
	for _, s := range record.Schemas() {
		if s.View != "" {
			continue
		}
		var indexes []index
		for _, described := range s.Indexes {
			i := index{unique: described.Unique}
			for _, field := range described.Fields {
				i.keys = append(i.keys, bsonName(s, field))
			}
			indexes = append(indexes, i)
		}
		if s.Limit != nil {
			indexes = append(indexes, index{keys: []string{bsonName(s, s.Limit.By), slotField}, unique: true, where: slotField})
		}
		if s.Claim != nil {
			all[s.Claim.Collection] = []index{lockIndex}
		}
		if !s.Loose {
			indexes = append(indexes, lockIndex)
		}
		if s.Expires {
			indexes = append(indexes, purgeIndex)
		}
		if len(indexes) > 0 {
			all[s.Name] = indexes
		}
	}
	return all
}

// slotField is the place that a document has among those of its owner that a limit counts.
const slotField = "slot"

var errNoID = errors.New("mongodb: a step writes a record that it did not read")
