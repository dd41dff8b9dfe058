package record

import (
	"cmp"
	"context"

	"hearth"
)

// get returns one record as the root knows it; CodeNotFound.
func get[T, R any](ctx context.Context, b Backend, name string, kind *Kind[T], item func(T) R, id ...any) (R, error) {
	return view(ctx, b, name, func(ctx context.Context, r Reader) (R, error) {
		record, err := kind.Get(ctx, r, id...)
		return item(record), err
	})
}

// first returns the one record that the filter picks; CodeNotFound.
func first[T, R any](ctx context.Context, b Backend, name string, kind *Kind[T], item func(T) R, where ...Condition) (R, error) {
	return view(ctx, b, name, func(ctx context.Context, r Reader) (R, error) {
		record, err := kind.First(ctx, r, where...)
		return item(record), err
	})
}

// find returns what a query picks.
func find[T, R any](ctx context.Context, b Backend, name string, kind *Kind[T], item func(T) R, q Query) ([]R, error) {
	return view(ctx, b, name, func(ctx context.Context, r Reader) (items []R, _ error) {
		var record T
		some := false
		err := r.Find(ctx, &kind.Schema, q, func() (any, error) {
			if some {
				items = append(items, item(record))
			}
			some, record = true, *new(T)
			return &record, nil
		})
		if some {
			items = append(items, item(record))
		}
		return items, err
	})
}

// changeOne reads, changes and writes one record in one step; CodeNotFound.
func changeOne[T, R any](
	ctx context.Context, b Backend, w Write, kind *Kind[T], id string, item func(T) R, stored func(R) T, change func(R) (R, error),
) (R, error) {
	return update(ctx, b, w, func(ctx context.Context, tx Tx) (after R, err error) {
		before, err := kind.Get(ctx, tx, id)
		if err != nil {
			return after, err
		}
		if after, err = change(item(before)); err != nil {
			return after, err
		}
		return after, kind.Replace(ctx, tx, stored(after))
	})
}

// create adds a record. If it belongs to an organization, which "" is not, the step holds that one, so that none is left behind by an
// organization that is deleted meanwhile.
func create[T any](ctx context.Context, b Backend, w Write, kind *Kind[T], record T, organizationID string) error {
	return b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		if organizationID != "" {
			if err := organizations.Hold(ctx, tx, organizationID); err != nil {
				return err
			}
		}
		return kind.Insert(ctx, tx, record)
	})
}

// deleteOne removes one record, unless check refuses it; CodeNotFound.
func deleteOne[T, R any](ctx context.Context, b Backend, w Write, kind *Kind[T], id string, item func(T) R, check func(R) error) error {
	return b.Update(ctx, w, func(ctx context.Context, tx Tx) error { return deleteChecked(ctx, tx, kind, id, item, check) })
}

// deleteChecked is deleteOne in a step that does more.
func deleteChecked[T, R any](ctx context.Context, tx Tx, kind *Kind[T], id string, item func(T) R, check func(R) error) error {
	record, err := kind.Get(ctx, tx, id)
	if err == nil {
		err = check(item(record))
	}
	if err != nil {
		return err
	}
	return kind.Delete(ctx, tx, id)
}

// anyOf is a check that refuses none.
func anyOf[R any](R) error { return nil }

// withUser returns one record and the user that it belongs to; CodeNotFound if either is gone.
func withUser[T, R any](
	ctx context.Context, b Backend, name string, kind *Kind[T], item func(T) R, userID func(T) string, id string,
) (of R, u hearth.User, err error) {
	err = b.View(ctx, name, func(ctx context.Context, r Reader) error {
		record, err := kind.Get(ctx, r, id)
		var stored user
		if err == nil {
			stored, err = users.Get(ctx, r, userID(record))
		}
		if gone, err := absent(err); err != nil || gone {
			return cmp.Or(err, kind.NotFound())
		}
		of, u = item(record), asUser(stored)
		return nil
	})
	return of, u, err
}

// absent turns CodeNotFound into false.
func absent(err error) (bool, error) {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return true, nil
	}
	return false, err
}

// forget removes a record, if it is there.
func forget[T any](ctx context.Context, tx Tx, kind *Kind[T], id any) error {
	_, err := kind.Get(ctx, tx, id)
	if gone, err := absent(err); err != nil || gone {
		return err
	}
	return kind.Delete(ctx, tx, id)
}

// keep stores a record, whether or not there is one with its identity.
func keep[T any](ctx context.Context, tx Tx, kind *Kind[T], record T) error {
	_, err := kind.Get(ctx, tx, kind.IDOf(&record)...)
	switch isNew, err := absent(err); {
	case err != nil:
		return err
	case isNew:
		return kind.Insert(ctx, tx, record)
	}
	return kind.Replace(ctx, tx, record)
}
