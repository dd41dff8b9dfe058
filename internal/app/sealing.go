package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"hearth/internal/core/account"
	"hearth/internal/sealer"
)

// Rotation is what a rotation of the keys did.
type Rotation struct {
	// Sealing reports whether fields are encrypted at rest, and were encrypted anew.
	Sealing bool
	// Fields is how many stored values were encrypted anew; Lost is how many could not be read.
	Fields, Lost int
}

// fieldKeys is the file of the keys that encrypt fields.
const fieldKeys = "field-keys.json"

// openSealing opens the keys of encrypted fields; without an encryption key fields stay as they are.
func (a *App) openSealing(ctx context.Context) error {
	path := a.secrets.path(fieldKeys)
	if len(a.config.EncryptionKeys) == 0 {
		_, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("look for the field keys: %w", err)
		}
		return fmt.Errorf("fields here are encrypted (%s), and encryption_key is not set: set it to the key of before", path)
	}
	keys := a.encryptionKeys()
	return a.secrets.open(ctx, fieldKeys, func(path string) (err error) {
		a.sealing, err = sealer.Open(sealer.Options{Path: path, Keys: keys})
		return err
	})
}

// encryptionKeys are those of the configuration.
func (a *App) encryptionKeys() [][]byte {
	keys := make([][]byte, len(a.config.EncryptionKeys))
	for i := range keys {
		keys[i] = a.config.EncryptionKeys[i][:]
	}
	return keys
}

// sealer returns what seals one kind of field; nil where nothing is sealed.
func (a *App) sealer(field string) account.Sealer {
	if a.sealing == nil {
		return nil
	}
	return a.sealing.Field(field)
}

// RotateKeys makes new keys: one that signs access tokens and, where fields are encrypted, one that encrypts them, with
// which every stored field is then encrypted anew. It may run beside servers, which take the keys over by themselves; it
// waits for that. If it is interrupted, running it again completes it.
func (a *App) RotateKeys(ctx context.Context) (Rotation, error) {
	unlock, err := lockFile(filepath.Join(a.config.DataDir, "rotate.lock"))
	if err != nil {
		return Rotation{}, fmt.Errorf("another rotation of the keys is under way: %w", err)
	}
	defer func() { _ = unlock() }() // the end of the process does it too
	if err := a.changeKeys(ctx, signingKeys, a.keys.Rotate); err != nil {
		return Rotation{}, err
	}
	if a.sealing == nil {
		return Rotation{}, nil
	}
	if err := a.changeKeys(ctx, fieldKeys, a.sealing.Rotate); err != nil {
		return Rotation{}, err
	}
	// What a server sealed before it knew of the key is caught by a look that begins after every server knows.
	if err := wait(ctx, 2*(shareInterval+sealer.FollowInterval)); err != nil {
		return Rotation{}, err
	}
	done, err := a.people.Reseal(ctx)
	rotation := Rotation{Sealing: true, Fields: done.Changed, Lost: done.Lost}
	if err != nil || done.Lost > 0 {
		return rotation, err // no key is forgotten that may be needed
	}
	return rotation, a.changeKeys(ctx, fieldKeys, a.sealing.Forget)
}

// changeKeys changes a file of keys and shares it. CodeConflict: another instance did the same meanwhile; its keys hold then.
func (a *App) changeKeys(ctx context.Context, name string, change func() error) error {
	if err := a.secrets.follow(ctx); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return a.secrets.publish(ctx, name)
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
