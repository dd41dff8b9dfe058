// Package sealed is what capabilities know of the encryption of stored fields: who seals them, and how all are sealed anew.
package sealed

import (
	"context"
	"errors"

	"hearth"
	"hearth/internal/audited"
)

// Sealer encrypts one kind of field at rest.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
	// Current reports whether a value is sealed as Seal would do it now.
	Current(sealed []byte) bool
}

// OrPlain returns a sealer; for nil, one that leaves everything as it is.
func OrPlain(s Sealer) Sealer {
	if s == nil {
		return plain{}
	}
	return s
}

type plain struct{}

func (plain) Seal(plain []byte) ([]byte, error)  { return plain, nil }
func (plain) Open(sealed []byte) ([]byte, error) { return sealed, nil }
func (plain) Current([]byte) bool                { return true }

// Stored are the objects of one kind.
type Stored[T any] struct {
	List   func(context.Context, hearth.Page) (hearth.List[T], error)
	Update audited.Store[T]
	ID     func(T) string
	// Fields returns those of an object that are sealed; empty ones are not.
	Fields func(*T) []*[]byte
}

// Reseal seals every field anew that is not sealed with the newest key, while others change the objects. It returns how many fields it
// changed, and how many no key opens.
func (o Stored[T]) Reseal(ctx context.Context, s Sealer) (changed, lost int, err error) {
	for page := (hearth.Page{Limit: hearth.MaxLimit}); ; {
		list, err := o.List(ctx, page)
		if err != nil {
			return changed, lost, err
		}
		for _, one := range list.Items {
			var did, could int
			_, err := o.Update(ctx, o.ID(one), func(now T) (T, error) {
				var err error
				if did, could, err = reseal(s, o.Fields(&now)); err == nil && did == 0 {
					err = audited.ErrUnchanged
				}
				return now, err
			}, hearth.SideEffects{})
			if err != nil && !errors.Is(err, audited.ErrUnchanged) && hearth.ErrorCode(err) != hearth.CodeNotFound {
				return changed, lost, err
			}
			changed, lost = changed+did, lost+could
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			return changed, lost, nil
		}
	}
}

func reseal(s Sealer, fields []*[]byte) (changed, lost int, err error) {
	for _, field := range fields {
		if len(*field) == 0 || s.Current(*field) {
			continue
		}
		plain, err := s.Open(*field)
		if err != nil {
			lost++
			continue
		}
		if *field, err = s.Seal(plain); err != nil {
			return changed, lost, err
		}
		changed++
	}
	return changed, lost, nil
}
