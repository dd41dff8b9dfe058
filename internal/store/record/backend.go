package record

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth"
)

// Backend is a database that keeps described records.
type Backend interface {
	// Update does one atomic step: fn reads what it needs and notes what is to be written; nothing is written if it fails. It may
	// run more than once. What was written before under the same idempotency key is answered with *hearth.Replayed, whatever fn
	// returns.
	Update(ctx context.Context, w Write, fn func(ctx context.Context, tx Tx) error) error
	// View runs fn, which only reads. The name is for the observer.
	View(ctx context.Context, name string, fn func(ctx context.Context, r Reader) error) error
	// Remove removes up to limit records that the filter picks, those first whose field by is the least, and returns their number; 0 is
	// no limit. It is no step but several small writes: a crash may leave some. No step may be about to change them.
	Remove(ctx context.Context, name string, s *Schema, where Filter, by string, limit int) (int, error)
	// Change sets fields of all records that the filter picks, and returns how many. It is no step but several small writes, and changes no
	// versions: only for fields that no step decides by. If the filter may pick many, it picks none of them once they are changed.
	Change(ctx context.Context, name string, s *Schema, where Filter, set Changes) (int, error)
	// Orphans reports whether records may outlive, for some moments, a device that they hang on.
	Orphans() bool
	// Now is the time of what the store stamps.
	Now() time.Time
}

// Write says what a step is, beside what it does.
type Write struct {
	// Name is the contract's method, for the observer.
	Name string
	// Key names what most of these writes meet at, such as "users/ID": those of one process wait for one another. "" waits for
	// nobody.
	Key     string
	Effects hearth.SideEffects
	// Long says that it takes more than a millisecond or two: where writes share commits, others share none with it.
	Long bool
}

// Query asks for records.
type Query struct {
	Where Filter
	Order Order
	// Limit is the largest number; 0 bounds nothing. Skip leaves out the first.
	Limit int
	Skip  int
	// MayLag allows an answer that is some moments old.
	MayLag bool
	// Bare asks only how many there are up to Limit: a store need not decode them.
	Bare bool
}

// Order is how records are sorted: by a field, and by Tie where that is the same.
type Order struct {
	By   string
	Tie  string
	Desc bool
}

// Figures sum up the records with one value of a field.
type Figures struct {
	Value string
	Count int64
	// Sum and Least are of the fields that were asked for.
	Sum   int64
	Least int64
}

// Changes are new values of fields.
type Changes []Change

// Change is the new value of a field.
type Change struct {
	Field string
	Value any
}

// Set is a change of one field.
func Set(field string, value any) Change { return Change{field, plain(value)} }

// Reader reads records.
type Reader interface {
	// Get decodes the record with that identity into record, a pointer to its struct; CodeNotFound.
	Get(ctx context.Context, s *Schema, id []any, record any) error
	// Find decodes what the query picks, each into what next returns; an error of next ends it.
	Find(ctx context.Context, s *Schema, q Query, next func() (any, error)) error
	Count(ctx context.Context, s *Schema, where Filter, mayLag bool) (int64, error)
	// Figures sums up by the values of a text field; "" for sum and least leaves them 0.
	Figures(ctx context.Context, s *Schema, where Filter, by, sum, least string) ([]Figures, error)
}

// Tx is an atomic step in the making. Its reads see what was stored before the step, as every finished step left it; whatever is
// replaced, deleted or held must have been read, by Get or Find, and is not changed by others meanwhile.
type Tx interface {
	Reader
	// Insert adds a record. If its identity or claim is taken, the step is refused with the schema's Taken; where the step read
	// before that there is none, it is made anew.
	Insert(ctx context.Context, s *Schema, record any) error
	// InsertDevice adds a device, which the stores write by hand; CodeNotFound if its organization is gone, taken if another has its
	// serial.
	InsertDevice(ctx context.Context, d hearth.Device, taken error) (hearth.Device, error)
	// SetDesiredVersions keeps the versions of desired states with their devices, by id, where those have older ones. A store that reads them from
	// the twins does nothing.
	SetDesiredVersions(ctx context.Context, versions map[string]int64) error
	// Replace stores a record in place of the one with its identity.
	Replace(ctx context.Context, s *Schema, record any) error
	// Delete removes the record with that identity.
	Delete(ctx context.Context, s *Schema, id []any) error
	// Hold demands that a record is there and that no other step changes it or holds it at the same time: two steps that hold one
	// record follow one another. CodeNotFound.
	Hold(ctx context.Context, s *Schema, id []any) error
	// Guard is Hold for a rule about many records.
	Guard(ctx context.Context, name string) error
	// UpdateWhere changes, and DeleteWhere removes, all records that the filter picks when the step is done. It may happen twice, in
	// parts and late: the filter must pick nothing that a later step writes, nor anything that this one does.
	UpdateWhere(ctx context.Context, s *Schema, where Filter, set Changes) error
	DeleteWhere(ctx context.Context, s *Schema, where Filter) error
	// Note adds a loose record, which means nothing to anybody unless the step comes about.
	Note(ctx context.Context, s *Schema, record any) error
	// With sets what is written with the step, in place of what Write has.
	With(effects hearth.SideEffects)
}

// Swapper is a Tx that can change a record that the step has not read.
type Swapper interface {
	// UpdateIf sets fields of the record that the filter picks, at once, and reports whether there is one.
	UpdateIf(ctx context.Context, s *Schema, where Filter, set Changes) (bool, error)
}

// Get returns the record with that identity; CodeNotFound.
func (k *Kind[T]) Get(ctx context.Context, r Reader, id ...any) (T, error) {
	var record T
	err := r.Get(ctx, &k.Schema, id, &record)
	return record, err
}

// Find returns what the query picks.
func (k *Kind[T]) Find(ctx context.Context, r Reader, q Query) ([]T, error) {
	var all []T
	err := r.Find(ctx, &k.Schema, q, func() (any, error) {
		all = append(all, *new(T))
		return &all[len(all)-1], nil
	})
	return all, err
}

// First returns the one record that the filter picks; CodeNotFound.
func (k *Kind[T]) First(ctx context.Context, r Reader, where ...Condition) (T, error) {
	return k.firstBy(ctx, r, Order{}, where...)
}

// firstBy returns the first record, in that order, that the filter picks; CodeNotFound.
func (k *Kind[T]) firstBy(ctx context.Context, r Reader, order Order, where ...Condition) (T, error) {
	var record *T
	err := r.Find(ctx, &k.Schema, Query{Where: where, Order: order, Limit: 1}, func() (any, error) {
		record = new(T)
		return record, nil
	})
	if err == nil && record == nil {
		err = k.NotFound()
	}
	if err != nil {
		return *new(T), err
	}
	return *record, nil
}

// Exists reports whether the filter picks a record.
func (k *Kind[T]) Exists(ctx context.Context, r Reader, where ...Condition) (bool, error) {
	exists := false
	err := r.Find(ctx, &k.Schema, Query{Where: where, Limit: 1, Bare: true}, func() (any, error) {
		exists = true
		return new(T), nil
	})
	return exists, err
}

// Count returns the number of records that the filter picks.
func (k *Kind[T]) Count(ctx context.Context, r Reader, where ...Condition) (int64, error) {
	return r.Count(ctx, &k.Schema, where, false)
}

// Insert adds a record to a step.
func (k *Kind[T]) Insert(ctx context.Context, tx Tx, record T) error {
	return tx.Insert(ctx, &k.Schema, &record)
}

// Replace stores a record in place of the one with its identity.
func (k *Kind[T]) Replace(ctx context.Context, tx Tx, record T) error {
	return tx.Replace(ctx, &k.Schema, &record)
}

// Delete removes the record with that identity.
func (s *Schema) Delete(ctx context.Context, tx Tx, id ...any) error { return tx.Delete(ctx, s, id) }

// Hold has a step hold the record with that identity; see Tx.
func (s *Schema) Hold(ctx context.Context, tx Tx, id ...any) error { return tx.Hold(ctx, s, id) }

// DeleteWhere removes the records that the filter picks; see Tx.
func (s *Schema) DeleteWhere(ctx context.Context, tx Tx, where ...Condition) error {
	return tx.DeleteWhere(ctx, s, where)
}

// view reads one thing.
func view[T any](ctx context.Context, b Backend, name string, read func(ctx context.Context, r Reader) (T, error)) (result T, err error) {
	err = b.View(ctx, name, func(ctx context.Context, r Reader) (err error) {
		result, err = read(ctx, r)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return result, nil
}

// update does a step that returns something.
func update[T any](ctx context.Context, b Backend, w Write, fn func(ctx context.Context, tx Tx) (T, error)) (result T, err error) {
	err = b.Update(ctx, w, func(ctx context.Context, tx Tx) (err error) {
		result, err = fn(ctx, tx)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return result, nil
}

// newestFirst is the order of most lists.
var newestFirst = Order{By: "created_at", Tie: "id", Desc: true} // never written to

// listing is a list of records.
type listing[T, R any] struct {
	name  string
	kind  *Kind[T]
	where Filter
	order Order
	item  func(T) R
}

// within returns the parts of a list that are within reach.
func within(reach hearth.Reach) []Filter {
	if reach.All {
		return []Filter{nil}
	}
	parts := make([]Filter, len(reach.Scopes))
	for i, scope := range reach.Scopes {
		parts[i] = Filter{Eq("scope", scope)}
	}
	return parts
}

// page reads one page.
func (l listing[T, R]) page(ctx context.Context, b Backend, page hearth.Page) (hearth.List[R], error) {
	return l.pageOf(ctx, b, page, []Filter{nil})
}

// pageOf reads one page of a list of some parts, each of which is read by an index: no record is in two.
func (l listing[T, R]) pageOf(ctx context.Context, b Backend, page hearth.Page, parts []Filter) (hearth.List[R], error) {
	read := pageRead{
		name: l.name, schema: &l.kind.Schema, where: l.where, order: l.order, page: page, parts: parts,
		fresh: func() any { return new(T) },
	}
	if err := read.run(ctx, b); err != nil {
		return hearth.List[R]{Total: -1}, err
	}
	list := hearth.List[R]{Total: read.total, Next: read.next, Items: slices.Grow([]R(nil), len(read.records))}
	for _, record := range read.records {
		list.Items = append(list.Items, l.item(*record.(*T))) //nolint:forcetypeassert // made by fresh
	}
	return list, nil
}

// pageRead is the reading of one page, whatever the records are.
type pageRead struct {
	name   string
	schema *Schema
	where  Filter
	order  Order
	page   hearth.Page
	parts  []Filter
	fresh  func() any

	// records are pointers to the structs that are stored.
	records []any
	total   int64
	next    hearth.Cursor
}

func (p *pageRead) run(ctx context.Context, b Backend) error {
	p.total = -1
	by, tie := p.schema.Field(p.order.By), p.schema.Field(p.order.Tie)
	where := p.where
	if cursor := p.page.Cursor; !cursor.IsZero() {
		key, keyErr := fromCursor(by, cursor.Key)
		id, idErr := fromCursor(tie, cursor.ID)
		if keyErr != nil || idErr != nil {
			return hearth.BadCursor()
		}
		where = append(slices.Clip(where), Condition{Op: OpBeyond, Beyond: &Beyond{
			Fields: []string{p.order.By, p.order.Tie}, Values: []any{key, id}, Desc: p.order.Desc,
		}})
	}
	size := p.page.Size()
	return b.View(ctx, p.name, func(ctx context.Context, r Reader) error {
		p.records = nil
		if p.page.Count {
			p.total = 0
			for _, part := range p.parts {
				n, err := r.Count(ctx, p.schema, slices.Concat(part, p.where), true)
				if err != nil {
					return err
				}
				p.total += n
			}
		}
		for _, part := range p.parts {
			q := Query{Where: slices.Concat(part, where), Order: p.order, Limit: size + 1, MayLag: true}
			err := r.Find(ctx, p.schema, q, func() (any, error) {
				record := p.fresh()
				p.records = append(p.records, record)
				return record, nil
			})
			if err != nil {
				return err
			}
		}
		if len(p.parts) > 1 {
			slices.SortFunc(p.records, func(a, b any) int { return p.order.compare(by, tie, a, b) })
		}
		if len(p.records) > size {
			p.records = p.records[:size]
			last := p.records[size-1]
			p.next = hearth.Cursor{Sort: p.page.Sort, Key: toCursor(by.Get(last)), ID: toCursor(tie.Get(last))}
		}
		return nil
	})
}

// compare compares records as they are sorted by a number or text, and then another.
func (o Order) compare(by, tie *Field, a, b any) int {
	way := 1
	if o.Desc {
		way = -1
	}
	for _, f := range []*Field{by, tie} {
		order := 0
		switch x := f.Get(a).(type) {
		case int64:
			order = cmp.Compare(x, f.Get(b).(int64)) //nolint:forcetypeassert // of the same field
		case string:
			order = strings.Compare(x, f.Get(b).(string)) //nolint:forcetypeassert // of the same field
		}
		if order != 0 {
			return way * order
		}
	}
	return 0
}

func toCursor(value any) string {
	if number, ok := value.(int64); ok {
		return strconv.FormatInt(number, 10)
	}
	return value.(string) //nolint:forcetypeassert // a list is sorted by numbers and texts
}

func fromCursor(f *Field, text string) (any, error) {
	if f.Type == Text {
		return text, nil
	}
	return strconv.ParseInt(text, 10, 64)
}
