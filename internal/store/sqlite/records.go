package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/internal/store/record"
)

// records is the record.Backend of the store: a table a kind, with a column a field, and the indexes of the description. What
// is a document there is a column of JSON.
type records struct{ s *Store }

var _ record.Backend = records{}

// Now implements record.Backend.
func (b records) Now() time.Time { return b.s.now() }

// Orphans implements record.Backend: foreign keys take along what hangs on a device.
func (b records) Orphans() bool { return false }

// View implements record.Backend: what fn reads is of one snapshot.
func (b records) View(ctx context.Context, name string, fn func(context.Context, record.Reader) error) error {
	return b.s.read(ctx, name, func(r *reader) error { return fn(ctx, recordReader{r}) })
}

// Update implements record.Backend. Writes of the store follow one another, so that nothing has to be locked or looked at again.
func (b records) Update(ctx context.Context, w record.Write, fn func(context.Context, record.Tx) error) error {
	write := b.s.write
	if w.Long {
		write = b.s.writeLong
	}
	return write(ctx, w.Name, func(t *tx) error {
		step := &recordTx{recordReader: recordReader{t}, s: b.s, t: t, effects: w.Effects}
		refusal := fn(ctx, step)
		if refusal == nil {
			return b.s.writeEffects(t, step.effects)
		}
		// A replay is refused nothing.
		if err := b.s.replay(t, step.effects.Idempotency); err != nil {
			return err
		}
		return refusal
	})
}

// changedAtOnce bounds the records that one write removes or changes of many: a millisecond's or two.
const changedAtOnce = 64

// Remove implements record.Backend.
func (b records) Remove(ctx context.Context, name string, s *record.Schema, where record.Filter, by string, limit int) (int, error) {
	if limit == 0 {
		by = ""
	}
	return b.inParts(ctx, name, limit, func(t *tx, limit int) (int, error) { return deleteSome(t, s, where, by, limit) })
}

// Change implements record.Backend.
func (b records) Change(ctx context.Context, name string, s *record.Schema, where record.Filter, set record.Changes) (n int, err error) {
	return b.inParts(ctx, name, 0, func(t *tx, limit int) (int, error) {
		q := statement(s, `UPDATE `, s.Name, ` SET `)
		q.set(set)
		q.some(where, "", limit)
		return affected(t.exec(q.text.String(), q.args...))
	})
}

// inParts writes some records after the other, each write by itself, until a write finds fewer than it may change or the limit is reached; 0 is
// no limit.
func (b records) inParts(ctx context.Context, name string, limit int, some func(t *tx, limit int) (int, error)) (total int, err error) {
	for most, n := changedAtOnce, changedAtOnce; err == nil && n == most; total += n {
		if limit > 0 {
			most = min(most, limit-total)
		}
		n = 0
		if most == 0 {
			break
		}
		write := b.s.write
		if total > 0 {
			write = b.s.writeLong
		}
		err = write(ctx, name, func(t *tx) (err error) {
			n, err = some(t, most)
			return err
		})
	}
	return total, err
}

// deleteSome deletes up to limit of the records that a filter picks, in the order of a field if one is named.
func deleteSome(t *tx, s *record.Schema, where record.Filter, by string, limit int) (int, error) {
	q := statement(s, `DELETE FROM `, s.Name)
	q.some(where, by, limit)
	return affected(t.exec(q.text.String(), q.args...))
}

// some picks up to limit of the records that a filter picks.
func (q *query) some(where record.Filter, by string, limit int) {
	id := strings.Join(q.s.ID, `, `)
	q.add(` WHERE (`, id, `) IN (SELECT `, id, ` FROM `, q.s.Name)
	q.where(where)
	q.order(record.Order{By: by})
	q.add(` LIMIT `).arg(limit).add(`)`)
}

// set sets columns.
func (q *query) set(changes record.Changes) {
	for i, change := range changes {
		if i > 0 {
			q.add(`, `)
		}
		q.add(change.Field, `=`).arg(change.Value)
	}
}

func affected(result sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

func updateWhere(t *tx, s *record.Schema, where record.Filter, set record.Changes) (int, error) {
	q := statement(s, `UPDATE `, s.Name, ` SET `)
	q.set(set)
	q.where(where)
	return affected(t.exec(q.text.String(), q.args...))
}

// query is a statement in the making. Its text is the same for queries of one form, so that it stays prepared.
type query struct {
	s    *record.Schema
	text strings.Builder
	args []any
}

func statement(s *record.Schema, parts ...string) *query {
	q := &query{s: s, args: make([]any, 0, 8)}
	q.text.Grow(512)
	return q.add(parts...)
}

func (q *query) add(parts ...string) *query {
	for _, part := range parts {
		q.text.WriteString(part)
	}
	return q
}

func (q *query) arg(value any) *query {
	if data, ok := value.([]byte); ok && data == nil {
		value = []byte{} // columns of bytes hold no NULL
	}
	q.args = append(q.args, value)
	return q.add(`?`)
}

func (q *query) where(filter record.Filter) {
	if len(filter) > 0 {
		q.add(` WHERE `)
		q.filter(filter)
	}
}

func (q *query) filter(filter record.Filter) {
	for i, c := range filter {
		if i > 0 {
			q.add(` AND `)
		}
		q.condition(c)
	}
}

// operators are those that compare a column with a value.
var operators = map[record.Op]string{ // never written to
	record.OpEq: `=`, record.OpNe: `<>`, record.OpGt: `>`, record.OpGte: `>=`, record.OpLt: `<`, record.OpLte: `<=`,
}

func (q *query) condition(c record.Condition) {
	switch c.Op {
	case record.OpIn:
		q.in(c.Field, c.Value.([]any)) //nolint:forcetypeassert // the field's kind says so
	case record.OpContains:
		q.add(`instr(`, c.Field, `, `).arg(c.Value).add(`)>0`)
	case record.OpBeyond:
		sign := `>`
		if c.Beyond.Desc {
			sign = `<`
		}
		q.add(`(`, strings.Join(c.Beyond.Fields, `, `), `)`, sign, `(`)
		for i, value := range c.Beyond.Values {
			if i > 0 {
				q.add(`, `)
			}
			q.arg(value)
		}
		q.add(`)`)
	default:
		if q.s.IsOfIndex(c) {
			q.add(literally(c))
			return
		}
		q.add(c.Field, operators[c.Op]).arg(c.Value)
	}
}

// literally is a condition with its value, as SQLite has to see it to know that an index has all that it picks.
func literally(c record.Condition) string {
	value := fmt.Sprint(c.Value)
	switch v := c.Value.(type) {
	case string:
		value = `'` + strings.ReplaceAll(v, `'`, `''`) + `'`
	case bool:
		value = `0`
		if v {
			value = `1`
		}
	}
	return c.Field + operators[c.Op] + value
}

// in compares with one of the values. A long list is one argument, so that there is one text for lists of every length.
func (q *query) in(column string, list []any) {
	if len(list) > 4 {
		text, err := json.Marshal(list)
		if err != nil {
			panic("sqlite: texts and numbers always encode: " + err.Error())
		}
		q.add(column, ` IN (SELECT value FROM json_each(`).arg(string(text)).add(`))`)
		return
	}
	q.add(column, ` IN (`)
	for i, value := range list {
		if i > 0 {
			q.add(`, `)
		}
		q.arg(value)
	}
	q.add(`)`)
}

func (q *query) order(o record.Order) {
	if o.By == "" {
		return
	}
	direction := ``
	if o.Desc {
		direction = ` DESC`
	}
	q.add(` ORDER BY `, o.By, direction)
	if o.Tie != "" {
		q.add(`, `, o.Tie, direction)
	}
}

// recordTexts are the parts of statements that depend on the description alone.
type recordTexts struct{ columns, byID, get, insert string }

var textsOf sync.Map // by *record.Schema; descriptions are few and never change

func statements(s *record.Schema) *recordTexts {
	if known, ok := textsOf.Load(s); ok {
		return known.(*recordTexts) //nolint:forcetypeassert // the field's kind says so
	}
	names := make([]string, 0, len(s.Fields()))
	for _, f := range s.Fields() {
		names = append(names, quoted(f.Name))
	}
	marks := strings.TrimSuffix(strings.Repeat(`?,`, len(names)), `,`)
	made := &recordTexts{columns: strings.Join(names, `, `), byID: ` WHERE ` + strings.Join(s.ID, `=? AND `) + `=?`}
	made.get = `SELECT ` + made.columns + ` FROM ` + s.Table() + made.byID
	made.insert = `INSERT INTO ` + s.Table() + `(` + made.columns + `) VALUES(` + marks + `)`
	known, _ := textsOf.LoadOrStore(s, made)
	return known.(*recordTexts) //nolint:forcetypeassert // the field's kind says so
}

// quoted is a column's name where it may be a word of SQL.
func quoted(name string) string { return `"` + name + `"` }

// values returns the columns of a record.
func values(s *record.Schema, r any) ([]any, error) {
	args := make([]any, len(s.Fields()))
	for i := range s.Fields() {
		f := &s.Fields()[i]
		value := f.Get(r)
		switch {
		case f.Type == record.Document && value != nil:
			text, err := encoded(value)
			if err != nil {
				return nil, err
			}
			value = string(text)
		case f.Type == record.Bytes && value.([]byte) == nil: //nolint:forcetypeassert // record makes it
			value = []byte{} // columns of bytes hold no NULL
		case value == true:
			value = int64(1)
		case value == false:
			value = int64(0)
		}
		args[i] = value
	}
	return args, nil
}

// encoded returns a document's JSON. What encodes itself is spared the checks of package json.
func encoded(value any) ([]byte, error) {
	if m, ok := value.(json.Marshaler); ok {
		return m.MarshalJSON()
	}
	return json.Marshal(value)
}

func decoded(text string, into any) error {
	if u, ok := into.(json.Unmarshaler); ok {
		return u.UnmarshalJSON([]byte(text))
	}
	return json.Unmarshal([]byte(text), into)
}

// row reads rows of all columns. Values is the latest as the driver returned it: conversions of database/sql take longer.
type row struct {
	s      *record.Schema
	values []any
	dest   []any
}

func (d *row) scan(from rowScanner, r any) error {
	fields := d.s.Fields()
	if d.values == nil {
		d.values, d.dest = make([]any, len(fields)), make([]any, len(fields))
		for i := range fields {
			d.dest[i] = &d.values[i]
		}
	}
	if err := from.Scan(d.dest...); err != nil {
		return err
	}
	for i := range fields {
		f := &fields[i]
		value := d.values[i]
		switch v := value.(type) {
		case []byte:
			if f.Type == record.Text {
				value = string(v) // what is no UTF-8 may be stored as bytes
			}
		case string:
			if f.Type == record.Document {
				if err := decoded(v, f.Into(r)); err != nil {
					return err
				}
				continue
			}
		case int64:
			if f.Type == record.Flag {
				value = v != 0
			}
		}
		f.Put(r, value)
	}
	return nil
}

// recordReader reads records in a snapshot or in a step.
type recordReader struct{ q querier }

// Get implements record.Reader.
func (r recordReader) Get(_ context.Context, s *record.Schema, id []any, into any) error {
	_, err := r.get(s, id, into)
	return err
}

// get is Get, and returns the columns.
func (r recordReader) get(s *record.Schema, id []any, into any) ([]any, error) {
	d := row{s: s}
	err := d.scan(r.q.brief().row(statements(s).get, id...), into)
	return d.values, found(err, s.Noun)
}

// findStatement selects what a query picks.
func findStatement(s *record.Schema, find record.Query) *query {
	columns := statements(s).columns
	if find.Bare {
		columns = `1`
	}
	q := statement(s, `SELECT `, columns, ` FROM `, s.Table())
	q.where(find.Where)
	q.order(find.Order)
	if find.Limit > 0 || find.Skip > 0 {
		limit := find.Limit
		if limit == 0 {
			limit = -1
		}
		q.add(` LIMIT `).arg(limit)
		if find.Skip > 0 {
			q.add(` OFFSET `).arg(find.Skip)
		}
	}
	return q
}

// Find implements record.Reader.
func (r recordReader) Find(_ context.Context, s *record.Schema, find record.Query, next func() (any, error)) error {
	return r.find(s, find, next, nil)
}

// find is Find, and tells of the columns of each record that it decoded.
func (r recordReader) find(s *record.Schema, find record.Query, next func() (any, error), read func(r any, columns []any)) error {
	q := findStatement(s, find)
	from := r.q
	if find.Limit == 1 {
		from = from.brief()
	}
	rows, err := from.query(q.text.String(), q.args...)
	if err != nil {
		return err
	}
	d := row{s: s}
	for rows.Next() {
		into, err := next()
		if err == nil && !find.Bare {
			err = d.scan(rows, into)
		}
		if err != nil {
			return closed(rows, err)
		}
		if read != nil && !find.Bare {
			read(into, slices.Clone(d.values))
		}
	}
	return closed(rows, nil)
}

// Count implements record.Reader.
func (r recordReader) Count(_ context.Context, s *record.Schema, where record.Filter, _ bool) (n int64, err error) {
	q := statement(s, `SELECT count(*) FROM `, s.Table())
	q.where(where)
	err = r.q.row(q.text.String(), q.args...).Scan(&n)
	return n, err
}

// figuresStatement sums up what a filter picks.
func figuresStatement(s *record.Schema, where record.Filter, by, sum, least string) *query {
	q := statement(s, `SELECT `, by, `, count(*), sum(`, cmp.Or(sum, `0`), `), min(`, cmp.Or(least, `0`), `) FROM `, s.Name)
	q.where(where)
	return q.add(` GROUP BY `, by)
}

// Figures implements record.Reader.
func (r recordReader) Figures(
	_ context.Context, s *record.Schema, where record.Filter, by, sum, least string,
) (all []record.Figures, err error) {
	q := figuresStatement(s, where, by, sum, least)
	rows, err := r.q.query(q.text.String(), q.args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var f record.Figures
		if err := rows.Scan(&f.Value, &f.Count, &f.Sum, &f.Least); err != nil {
			return nil, closed(rows, err)
		}
		all = append(all, f)
	}
	return all, closed(rows, nil)
}
