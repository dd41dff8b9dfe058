package sqlite

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/store/record"
)

// deleteWhere deletes the records that a filter picks, as DeleteWhere of record.Tx may. Of many of a value it deletes some, and leaves the others
// to writes after this one, which the caller waits for: one that removes a device with a million commands would have everybody wait.
func (s *Store) deleteWhere(t *tx, kind *record.Schema, where record.Filter) error {
	one := len(where) == 1 && where[0].Op == record.OpEq
	value, isText := where[0].Value.(string)
	for {
		n, err := deleteSome(t, kind, where, "", changedAtOnce)
		if err != nil || n < changedAtOnce {
			return err
		}
		if !one || !isText {
			continue
		}
		result, err := t.exec(`INSERT INTO late_removals(kind, field, value) VALUES(?,?,?)`, kind.Name, where[0].Field, value)
		if err != nil {
			return err
		}
		id, err := result.LastInsertId()
		t.afterwards(func() {
			late := lateRemoval{id, kind.Name, where[0].Field, value}
			if err := s.removeLate(context.WithoutCancel(t.req.ctx), late); err != nil {
				s.options.Logger.Warn("records of what was removed are not removed yet", "kind", kind.Name, "err", err)
			}
		})
		return err
	}
}

// lateRemoval is a row of late_removals.
type lateRemoval struct {
	id                 int64
	kind, field, value string
}

// removeLate does what a row of late_removals says, and removes it.
func (s *Store) removeLate(ctx context.Context, late lateRemoval) error {
	all := record.Schemas()
	if i := slices.IndexFunc(all, func(s *record.Schema) bool { return s.Name == late.kind }); i >= 0 {
		if _, err := (records{s}).Remove(ctx, "RemoveLate", all[i], record.Filter{record.Eq(late.field, late.value)}, "", 0); err != nil {
			return err
		}
	}
	return s.write(ctx, "RemoveLate", func(t *tx) error {
		_, err := t.exec(`DELETE FROM late_removals WHERE id=?`, late.id)
		return err
	})
}

// removeAllLate does what a crash has left of late_removals.
func (s *Store) removeAllLate(ctx context.Context) error {
	var all []lateRemoval
	err := s.read(ctx, "LateRemovals", func(r *reader) error {
		rows, err := r.query(`SELECT id, kind, field, value FROM late_removals`)
		if err != nil {
			return err
		}
		for rows.Next() {
			var late lateRemoval
			if err := rows.Scan(&late.id, &late.kind, &late.field, &late.value); err != nil {
				return closed(rows, err)
			}
			all = append(all, late)
		}
		return closed(rows, nil)
	})
	for _, late := range all {
		err = errors.Join(err, s.removeLate(ctx, late))
	}
	return err
}
