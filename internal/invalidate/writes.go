package invalidate

import "context"

// FollowWrites returns what calls changed when another process has written to the store since it was called last. Only a store that
// can tell has such writes.
func FollowWrites(store any, changed func(context.Context)) func(context.Context) error {
	others, ok := store.(interface {
		// ForeignWrites returns a number that grows when another process has written since the last call.
		ForeignWrites(ctx context.Context) (uint64, error)
	})
	last := uint64(0)
	return func(ctx context.Context) error {
		if !ok {
			return nil
		}
		writes, err := others.ForeignWrites(ctx)
		if err != nil || writes == last {
			return err
		}
		last = writes
		changed(ctx)
		return nil
	}
}
