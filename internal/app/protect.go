package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"hearth/internal/api"
	"hearth/internal/kv"
)

// limiter gives the port's decisions in the API's words.
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

// loadSecret gives the secret in the file at path, making it with mode 0600 if it is not there. Several processes may do
// so at once: all get the same.
func loadSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(path); err != nil {
			return nil, fmt.Errorf("make the secret %s: %w", path, err)
		}
		secret, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if len(secret) != secretSize {
		return nil, fmt.Errorf("the secret %s is damaged: it has %d bytes, not %d; restore it, or remove it to begin anew", path, len(secret), secretSize)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others can read the secret %s (mode %o): make it 0600, or remove it", path, mode)
	}
	return secret, nil
}

// makeSecret writes a whole file beside the final one and links it there, so that nobody reads half of it and the first
// of several wins.
func makeSecret(path string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return errors.Join(err, file.Close())
	}
	_, err = file.Write(secret)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// forgetOnce removes the idempotency records that have expired, and gives their number.
func (a *App) forgetOnce(ctx context.Context) (total int, err error) {
	for {
		n, err := a.store.DeleteExpiredOnce(ctx, a.options.Clock.Now(), forgetBatch)
		total += n
		if err != nil || n < forgetBatch {
			return total, err
		}
	}
}
