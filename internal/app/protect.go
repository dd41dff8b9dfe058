package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"hearth/internal/api"
	"hearth/internal/keyfile"
	"hearth/internal/kv"
)

// limiter returns the port's decisions in the API's words.
type limiter struct{ kv.Limiter }

// Allow is api.Limiter's.
func (l limiter) Allow(ctx context.Context, class, key string, n int) (api.Decision, error) {
	d, err := l.Limiter.Allow(ctx, class, key, n)
	return api.Decision(d), err
}

const (
	// secretSize is the length of a secret in bytes.
	secretSize = 32
	// forgetBatch is how many expired idempotency records one write removes.
	forgetBatch = 1000
)

// loadSecret returns the secret in the file at path, making it with mode 0600 if it is not there. Several processes may do
// so at once: all get the same.
func loadSecret(path string) ([]byte, error) {
	secret, _, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		made := make([]byte, secretSize)
		if _, err := rand.Read(made); err != nil {
			return nil, err
		}
		if err := keyfile.Create(path, made); err != nil {
			return nil, fmt.Errorf("make the secret %s: %w", path, err)
		}
		secret, _, err = keyfile.Read(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if len(secret) != secretSize {
		return nil, fmt.Errorf("the secret %s is damaged: it has %d bytes, not %d; restore it, or remove it to begin anew", path, len(secret), secretSize)
	}
	return secret, nil
}

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
