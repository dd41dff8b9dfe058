package mongodb

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/store/record"
)

// recordTx builds a step out of what is done with records: one operation a document, whatever was asked of it.
type recordTx struct {
	recordReader
	st    *step
	known map[string]*known
	// order are the known documents that are written, in the order of their first write.
	order []*known
}

var _ record.Tx = (*recordTx)(nil)

// known is a document that the step has read or writes.
type known struct {
	s  *record.Schema
	id any
	// raw is the document as it was read; nil if there is none.
	raw  bson.Raw
	meta Meta

	written         bool
	insert, replace any
	remove, hold    bool
	slot            *int
	// taken is the error of an insertion that finds the id taken.
	taken error
}

// rawDoc is a document whose fields are decoded later.
type rawDoc struct{ bson.Raw }

// UnmarshalBSON implements bson.Unmarshaler.
func (d *rawDoc) UnmarshalBSON(data []byte) error {
	d.Raw = append(bson.Raw(nil), data...)
	return nil
}

func (d rawDoc) state() (m Meta) {
	if err := bson.Unmarshal(d.Raw, &m); err != nil {
		panic("mongodb: a document that was decoded before cannot be: " + err.Error())
	}
	return m
}

func knownKey(s *record.Schema, id any) string { return fmt.Sprint(s.Name, "\x00", id) }

// With implements record.Tx.
func (tx *recordTx) With(effects hearth.SideEffects) { tx.st.effects = effects }

// Get implements record.Reader: an unfinished step that holds the record is waited for.
func (tx *recordTx) Get(ctx context.Context, s *record.Schema, id []any, into any) error {
	if s.Loose { // it never changes
		return tx.recordReader.Get(ctx, s, id, into)
	}
	doc, err := load[rawDoc](ctx, tx.st, s.Name, byID(idOf(id)))
	key := knownKey(s, idOf(id))
	switch {
	case errors.Is(err, errGone), err == nil && s.Hidden != "" && doc.Lookup(s.Hidden).Type != 0:
		tx.known[key] = &known{s: s, id: idOf(id), taken: errStale}
		return s.NotFound()
	case err != nil:
		return err
	}
	tx.known[key] = &known{s: s, id: idOf(id), raw: doc.Raw, meta: doc.state()}
	return decode(s, doc.Raw, into)
}

// Find implements record.Reader. A record that another step holds is waited for, and the step made anew.
func (tx *recordTx) Find(ctx context.Context, s *record.Schema, q record.Query, next func() (any, error)) error {
	q.MayLag = false
	var held *known
	err := tx.each(ctx, s, q, func(raw bson.Raw) error {
		doc := rawDoc{append(bson.Raw(nil), raw...)}
		record, err := next()
		if err == nil {
			err = decode(s, doc.Raw, record)
		}
		if err != nil {
			return err
		}
		k := &known{s: s, id: idOf(s.IDOf(record)), raw: doc.Raw, meta: doc.state()}
		if k.meta.Lock != "" {
			held = k
		}
		if old := tx.known[knownKey(s, k.id)]; old == nil || !old.written {
			tx.known[knownKey(s, k.id)] = k
		}
		return nil
	})
	if err == nil && held != nil {
		err = errors.Join(tx.st.s.await(ctx, s.Name, held.id, held.meta.Lock), errStale)
	}
	return err
}

// write returns what is known of a document that is about to be written.
func (tx *recordTx) write(s *record.Schema, id any) *known {
	key := knownKey(s, id)
	k := tx.known[key]
	if k == nil {
		k = &known{s: s, id: id, taken: s.TakenError()}
		tx.known[key] = k
	}
	if !k.written {
		k.written = true
		tx.order = append(tx.order, k)
	}
	return k
}

// Insert implements record.Tx. Records that a limit counts have a place each, which no two have.
func (tx *recordTx) Insert(ctx context.Context, s *record.Schema, r any) error {
	k := tx.write(s, idOf(s.IDOf(r)))
	k.insert = r
	if !s.Counts(r) {
		return nil
	}
	owner := s.Field(s.Limit.By)
	slot, err := tx.st.s.freeSlot(ctx, s.Name, owner.BSON, owner.Get(r), s.Limit.Most)
	if errors.Is(err, errNoSlot) {
		return s.Limit.Full()
	}
	k.slot = &slot
	return err
}

// InsertDevice implements record.Tx.
func (tx *recordTx) InsertDevice(ctx context.Context, d hearth.Device, taken error) (hearth.Device, error) {
	if err := tx.st.intoOrganization(ctx, d.OrganizationID); err != nil {
		return d, err
	}
	key, err := tx.st.s.take(ctx, collDevices, 1)
	d.Key, d.Version = key, 1
	if err == nil {
		tx.st.insertDevice(d, taken)
	}
	return d, err
}

// Replace implements record.Tx.
func (tx *recordTx) Replace(_ context.Context, s *record.Schema, r any) error {
	k := tx.write(s, idOf(s.IDOf(r)))
	if k.insert != nil {
		k.insert = r
		return nil
	}
	k.replace = r
	return k.check()
}

// Delete implements record.Tx.
func (tx *recordTx) Delete(_ context.Context, s *record.Schema, id []any) error {
	k := tx.write(s, idOf(id))
	k.remove = true
	return k.check()
}

// check refuses to write over what was not read.
func (k *known) check() error {
	if k.raw == nil {
		return fmt.Errorf("%w: %s %v", errNoID, k.s.Name, k.id)
	}
	return nil
}

// Hold implements record.Tx.
func (tx *recordTx) Hold(ctx context.Context, s *record.Schema, id []any) error {
	if k := tx.known[knownKey(s, idOf(id))]; k == nil || k.raw == nil {
		doc, err := load[rawDoc](ctx, tx.st, s.Name, byID(idOf(id)))
		switch {
		case errors.Is(err, errGone), err == nil && s.Hidden != "" && doc.Lookup(s.Hidden).Type != 0:
			return s.NotFound()
		case err != nil:
			return err
		}
		tx.known[knownKey(s, idOf(id))] = &known{s: s, id: idOf(id), raw: doc.Raw, meta: doc.state()}
	}
	tx.write(s, idOf(id)).hold = true
	return nil
}

// Guard implements record.Tx.
func (tx *recordTx) Guard(ctx context.Context, name string) error { return tx.st.guard(ctx, name) }

// UpdateWhere implements record.Tx.
func (tx *recordTx) UpdateWhere(_ context.Context, s *record.Schema, where record.Filter, changes record.Changes) error {
	tx.st.sweep(s.Name, filterOf(s, where), set(changed(s, changes)))
	return nil
}

// DeleteWhere implements record.Tx.
func (tx *recordTx) DeleteWhere(_ context.Context, s *record.Schema, where record.Filter) error {
	tx.st.purge(s.Name, filterOf(s, where))
	return nil
}

// Note implements record.Tx.
func (tx *recordTx) Note(_ context.Context, s *record.Schema, r any) error {
	id := idOf(s.IDOf(r))
	doc, _ := tx.st.s.newDoc(s, r)
	tx.st.note(s.Name, id, doc)
	return nil
}

// stored returns the fields of a record with those that the server removes it by.
func (s *Store) stored(schema *record.Schema, r any) bson.D {
	fields := fieldsFor(schema, r)
	if at := schema.ExpiryOf(r); !at.IsZero() {
		fields = append(fields, bson.E{Key: "purge_at", Value: s.purgeAt(at)})
	}
	return fields
}

// newDoc returns the document of a new record. The value of its unique field, if it has one, is the _id of a document of its own,
// the claim: so that two do not take it at once, and one that changes takes the new value before it lets go of the old one.
func (s *Store) newDoc(schema *record.Schema, r any) (doc, claim bson.D) {
	id := idOf(schema.IDOf(r))
	doc = bson.D{{Key: "_id", Value: id}}
	if !schema.Loose {
		doc = append(doc, bson.E{Key: "v", Value: int64(1)})
	}
	if c := schema.Claim; c != nil {
		claim = bson.D{{Key: "_id", Value: schema.Field(c.Field).Get(r)}, {Key: "v", Value: int64(1)}, {Key: c.By, Value: id}}
	}
	return append(doc, s.stored(schema, r)...), claim
}

// note tells the step what is to be written.
func (tx *recordTx) note(ctx context.Context) error {
	for _, k := range tx.order {
		coll := k.s.Name
		switch {
		case k.insert != nil:
			doc, claim := tx.st.s.newDoc(k.s, k.insert)
			if k.slot != nil {
				doc = append(doc, bson.E{Key: slotField, Value: *k.slot})
			}
			tx.claim(k.s, claim)
			tx.st.insert(coll, k.id, doc, k.taken)
		case k.remove:
			tx.st.remove(coll, k.id, k.meta.V)
		case k.replace != nil:
			if err := tx.moveClaim(ctx, k); err != nil {
				return err
			}
			change := set(tx.st.s.stored(k.s, k.replace))
			if _, err := k.raw.LookupErr(slotField); err == nil && !k.s.Counts(k.replace) {
				change = with(change, "$unset", slotField, "")
			}
			tx.st.update(coll, k.id, k.meta.V, change)
		default:
			tx.st.update(coll, k.id, k.meta.V, nil)
		}
	}
	return nil
}

func (tx *recordTx) claim(s *record.Schema, claim bson.D) {
	if claim != nil {
		tx.st.insert(s.Claim.Collection, claim[0].Value, claim, s.TakenError())
	}
}

func (tx *recordTx) moveClaim(ctx context.Context, k *known) error {
	claim := k.s.Claim
	if claim == nil {
		return nil
	}
	before := k.raw.Lookup(bsonName(k.s, claim.Field)).StringValue()
	if before == k.s.Field(claim.Field).Get(k.replace) {
		return nil
	}
	old, err := load[rawDoc](ctx, tx.st, claim.Collection, byID(before))
	if err != nil {
		return err
	}
	tx.st.remove(claim.Collection, before, old.state().V)
	_, taken := tx.st.s.newDoc(k.s, k.replace)
	tx.claim(k.s, taken)
	return nil
}
