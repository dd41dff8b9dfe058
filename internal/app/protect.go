package app

import (
	"context"

	"hearth/internal/api"
	"hearth/internal/kv"
)

// limiter returns the port's decisions in the API's words.
type limiter struct{ kv.Limiter }

// Allow is api.Limiter's.
func (l limiter) Allow(ctx context.Context, class, key string, n int) (api.Decision, error) {
	d, err := l.Limiter.Allow(ctx, class, key, n)
	return api.Decision(d), err
}

// forgetBatch is how many expired idempotency records one write removes.
const forgetBatch = 1000

// forgetOnce removes the idempotency records that have expired, and returns their number.
func (a *App) forgetOnce(ctx context.Context) (total int, err error) {
	for {
		n, err := a.store.DeleteExpiredIdempotencyRecords(ctx, a.options.Clock.Now(), forgetBatch)
		total += n
		if err != nil || n < forgetBatch {
			return total, err
		}
	}
}
