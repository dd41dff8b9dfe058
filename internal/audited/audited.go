// Package audited changes what is stored, with an audit entry that names the fields that differ.
package audited

import (
	"context"
	"errors"

	"hearth"
)

// ErrUnchanged ends a change of a store that would change nothing.
var ErrUnchanged = errors.New("nothing to change")

// Store is a method of a store that replaces an object by what change returns, unless change fails.
type Store[T any] func(ctx context.Context, id string, change func(before T) (after T, err error), effects hearth.SideEffects) (T, error)

// Update changes an object: apply returns what shall be, or why not, and changes the fields of the entry. If there are none, nothing is
// written. It returns the object as it is now, and whether it changed; apply's errors and the store's.
func Update[T any](
	ctx context.Context, store Store[T], id string, entry hearth.AuditEntry, apply func(before T) (T, error), changes func(before, after T) Changes,
) (now T, changed bool, err error) {
	audit := []hearth.AuditEntry{entry}
	var unchanged T
	now, err = store(ctx, id, func(before T) (T, error) {
		after, err := apply(before)
		if err != nil {
			return before, err
		}
		fields := changes(before, after)
		if audit[0].Changes = fields; len(fields) == 0 {
			unchanged = before
			return before, ErrUnchanged
		}
		return after, nil
	}, hearth.SideEffects{Audit: audit})
	if errors.Is(err, ErrUnchanged) {
		return unchanged, false, nil
	}
	return now, err == nil, err
}

// Changes are fields that differ.
type Changes map[string]hearth.Change

// Note adds a field if it differs.
func (c Changes) Note(field string, differs bool, before, after any) {
	if differs {
		c[field] = hearth.Change{Before: before, After: after}
	}
}

// Set changes a field if its new value is given.
func Set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}
