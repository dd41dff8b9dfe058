package sqlite

import (
	"bytes"
	"context"
	"fmt"

	"hearth"
	"hearth/internal/store/record"
)

// recordTx is one step. What it writes is undone with the write's savepoint if the step is refused.
type recordTx struct {
	recordReader
	s       *Store
	t       *tx
	effects hearth.SideEffects
	// read holds the columns of what was read.
	read map[string][]any
}

var (
	_ record.Tx      = (*recordTx)(nil)
	_ record.Swapper = (*recordTx)(nil)
)

// With implements record.Tx.
func (x *recordTx) With(effects hearth.SideEffects) { x.effects = effects }

// Insert implements record.Tx.
func (x *recordTx) Insert(ctx context.Context, s *record.Schema, r any) error {
	if s.Counts(r) {
		where := append(record.Filter{record.Eq(s.Limit.By, s.Field(s.Limit.By).Get(r))}, s.Limit.While...)
		count, err := x.Count(ctx, s, where, false)
		if err != nil {
			return err
		}
		if count >= int64(s.Limit.Most) {
			return s.Limit.Full()
		}
	}
	return x.store(s, r)
}

// InsertDevice implements record.Tx.
func (x *recordTx) InsertDevice(_ context.Context, d hearth.Device, taken error) (hearth.Device, error) {
	if err := checkOrganization(x.t, d.OrganizationID); err != nil {
		return d, err
	}
	scope, err := scopeKey(x.t, d.Scope())
	if err != nil {
		return d, err
	}
	d.Key, d.Version = 0, 1
	d.Key, err = insertDevice(x.t, d, scope)
	if isSerialTaken(err) {
		return d, taken
	}
	return d, err
}

// SetDesiredVersions implements record.Tx. Devices are read with the versions of their twins.
func (x *recordTx) SetDesiredVersions(context.Context, map[string]int64) error { return nil }

// store writes all columns of a new record.
func (x *recordTx) store(s *record.Schema, r any) error {
	args, err := values(s, r)
	if err != nil {
		return err
	}
	_, err = x.t.exec(statements(s).insert, args...)
	if isUnique(err) {
		return s.TakenError()
	}
	return err
}

// Get implements record.Reader.
func (x *recordTx) Get(_ context.Context, s *record.Schema, id []any, into any) error {
	columns, err := x.get(s, id, into)
	if err == nil {
		x.remember(s, into, columns)
	}
	return err
}

// Find implements record.Reader.
func (x *recordTx) Find(_ context.Context, s *record.Schema, q record.Query, next func() (any, error)) error {
	return x.find(s, q, next, func(r any, columns []any) { x.remember(s, r, columns) })
}

// remember keeps the columns of a record that was read.
func (x *recordTx) remember(s *record.Schema, r any, columns []any) {
	if x.read == nil {
		x.read = map[string][]any{}
	}
	x.read[key(s, s.IDOf(r))] = columns
}

func key(s *record.Schema, id []any) string {
	if text, ok := id[0].(string); ok && len(id) == 1 {
		return s.Name + "/" + text
	}
	return fmt.Sprint(s.Name, id)
}

// same compares values of columns.
func same(a, b any) bool {
	if a, ok := a.([]byte); ok {
		b, ok := b.([]byte)
		return ok && bytes.Equal(a, b)
	}
	if _, ok := b.([]byte); ok {
		return false
	}
	return a == b
}

// Replace implements record.Tx. It writes the columns that differ: indexes of others stay as they are.
func (x *recordTx) Replace(_ context.Context, s *record.Schema, r any) error {
	after, err := values(s, r)
	if err != nil {
		return err
	}
	id := s.IDOf(r)
	before, known := x.read[key(s, id)]
	q := statement(s, `UPDATE `, s.Name, ` SET `)
	for i, f := range s.Fields() {
		if !known || !same(before[i], after[i]) {
			if len(q.args) > 0 {
				q.add(`, `)
			}
			q.add(quoted(f.Name), `=`).arg(after[i])
		}
	}
	if len(q.args) == 0 {
		return nil
	}
	_, err = x.t.exec(q.add(statements(s).byID).text.String(), append(q.args, id...)...)
	if isUnique(err) {
		return s.TakenError()
	}
	if err == nil {
		x.remember(s, r, after)
	}
	return err
}

// UpdateIf implements record.Swapper.
func (x *recordTx) UpdateIf(_ context.Context, s *record.Schema, where record.Filter, set record.Changes) (bool, error) {
	n, err := updateWhere(x.t, s, where, set)
	return n > 0, err
}

// Delete implements record.Tx.
func (x *recordTx) Delete(_ context.Context, s *record.Schema, id []any) error {
	_, err := x.t.exec(`DELETE FROM `+s.Name+statements(s).byID, id...)
	return err
}

// Hold implements record.Tx. Nobody else writes meanwhile.
func (x *recordTx) Hold(_ context.Context, s *record.Schema, id []any) error {
	var one int
	return found(x.t.row(`SELECT 1 FROM `+s.Table()+statements(s).byID, id...).Scan(&one), s.Noun)
}

// Guard implements record.Tx.
func (x *recordTx) Guard(context.Context, string) error { return nil }

// UpdateWhere implements record.Tx.
func (x *recordTx) UpdateWhere(_ context.Context, s *record.Schema, where record.Filter, set record.Changes) error {
	_, err := updateWhere(x.t, s, where, set)
	return err
}

// DeleteWhere implements record.Tx.
func (x *recordTx) DeleteWhere(_ context.Context, s *record.Schema, where record.Filter) error {
	return x.s.deleteWhere(x.t, s, where)
}

// Note implements record.Tx.
func (x *recordTx) Note(ctx context.Context, s *record.Schema, r any) error {
	return x.Insert(ctx, s, r)
}
