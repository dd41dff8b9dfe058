// Package keyshare keeps the files of keys in the data directory. Where several instances share a store, the store has the files
// and each data directory holds a copy: so everything that reads and follows a file of keys works the same in both modes.
package keyshare

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hearth"
	"hearth/internal/keyfile"
	"hearth/internal/sealer"
)

// FollowInterval is how often an instance checks whether another changed a file of keys.
const FollowInterval = time.Second

const (
	// SigningKeys is the file of the keys that sign access tokens.
	SigningKeys = "keys.json"
	// fieldKeys is the file of the keys that encrypt fields.
	fieldKeys = "field-keys.json"
	// secretSize is the length of a secret in bytes.
	secretSize = 32
)

// Options say where files of keys are.
type Options struct {
	// Dir is the data directory.
	Dir string
	// Store has the files of all instances; nil: the data directory has them.
	Store hearth.SecretStore
	// Keys are of 32 bytes each. The first encrypts the files in the store, each may decrypt; without keys files stay as they are.
	Keys [][]byte
}

// Files are the files of keys.
type Files struct {
	dir   string
	store hearth.SecretStore // nil: the data directory has them
	keys  [][]byte
	wrap  *sealer.Wrapper

	mu sync.Mutex
	// versions are of the copies in the data directory, by name.
	versions map[string]int64
}

// newFiles returns the files, and changes none.
func newFiles(options Options) (*Files, error) {
	wrap, err := sealer.NewWrapper(options.Keys)
	if err != nil {
		return nil, err
	}
	return &Files{dir: options.Dir, store: options.Store, keys: options.Keys, wrap: wrap, versions: map[string]int64{}}, nil
}

// Open returns the files, with those that the store has copied into the data directory, and encrypted in the store as the options
// ask for.
func Open(ctx context.Context, options Options) (*Files, error) {
	f, err := newFiles(options)
	if err != nil {
		return nil, err
	}
	stale, err := f.copy(ctx)
	for _, name := range stale {
		// In conflict: another instance did it, at the same start.
		if e := f.publish(ctx, name); e != nil && hearth.ErrorCode(e) != hearth.CodeConflict {
			err = errors.Join(err, e)
		}
	}
	return f, err
}

func (f *Files) path(name string) string { return filepath.Join(f.dir, name) }

// Shared reports whether the files are shared with other instances, so that Follow has to be called.
func (f *Files) Shared() bool { return f.store != nil }

// Open calls open for the file of that name, which makes it if it is not there. Where the store does not have it yet it is
// stored; where another instance was faster, open is called again for the other's file.
func (f *Files) Open(ctx context.Context, name string, open func(path string) error) error {
	if err := open(f.path(name)); err != nil || f.store == nil {
		return err
	}
	f.mu.Lock()
	known := f.versions[name] > 0
	f.mu.Unlock()
	if known {
		return nil
	}
	err := f.publish(ctx, name)
	if hearth.ErrorCode(err) != hearth.CodeConflict {
		return err
	}
	if err := f.Follow(ctx); err != nil {
		return err
	}
	return open(f.path(name))
}

// Secret returns the shared secret of that name, making it if there is none.
func (f *Files) Secret(ctx context.Context, name string) (secret []byte, err error) {
	err = f.Open(ctx, name, func(path string) (err error) {
		secret, err = loadSecret(path)
		return err
	})
	return secret, err
}

// FieldKeys opens the keys of encrypted fields; nil where there is no encryption key, so that fields stay as they are. Fails
// where fields were encrypted and there is no encryption key.
func (f *Files) FieldKeys(ctx context.Context) (ring *sealer.Ring, err error) {
	path := f.path(fieldKeys)
	if len(f.keys) == 0 {
		_, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil //nolint:nilnil // no encryption is a value
		case err != nil:
			return nil, fmt.Errorf("look for the field keys: %w", err)
		}
		return nil, fmt.Errorf("fields here are encrypted (%s), and encryption_key is not set: set it to the key of before", path)
	}
	err = f.Open(ctx, fieldKeys, func(path string) (err error) {
		ring, err = sealer.Open(sealer.Options{Path: path, Keys: f.keys})
		return err
	})
	return ring, err
}

// publish stores the file of that name as the successor of the version that this process knows. CodeConflict: another
// process changed it meanwhile.
func (f *Files) publish(ctx context.Context, name string) error {
	if f.store == nil {
		return nil
	}
	content, err := os.ReadFile(f.path(name))
	if err != nil {
		return fmt.Errorf("read the keys to share: %w", err)
	}
	sealed, err := f.wrap.Wrap(name, content)
	if err != nil {
		return fmt.Errorf("encrypt %s: %w", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.store.SetSecret(ctx, hearth.SecretFile{Name: name, Version: f.versions[name], Content: sealed}); err != nil {
		return err
	}
	f.versions[name]++
	return nil
}

// Follow copies the files that changed in the store into the data directory. It is to be called every FollowInterval.
func (f *Files) Follow(ctx context.Context) error {
	_, err := f.copy(ctx)
	return err
}

// copy returns the names of the files that it copied and whose encryption is not what the configuration asks for.
func (f *Files) copy(ctx context.Context) (stale []string, err error) {
	if f.store == nil {
		return nil, nil
	}
	stored, err := f.store.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range stored {
		if f.versions[file.Name] >= file.Version {
			continue
		}
		current, err := f.replace(file)
		if err != nil {
			return nil, err
		}
		if !current {
			stale = append(stale, file.Name)
		}
	}
	return stale, nil
}

// replace makes the stored file the data directory's. current is false where its encryption is not what the configuration asks
// for.
func (f *Files) replace(file hearth.SecretFile) (current bool, err error) {
	if file.Name != filepath.Base(file.Name) {
		return false, fmt.Errorf("the store has a file of keys of the name %q", file.Name)
	}
	content, current, err := f.wrap.Unwrap(file.Name, file.Content)
	if errors.Is(err, sealer.ErrNoKey) {
		return false, fmt.Errorf("the shared keys %s were encrypted with another encryption_key: set it to that of the other instances", file.Name)
	}
	if err != nil {
		return false, fmt.Errorf("decrypt the shared keys %s: %w", file.Name, err)
	}
	if err := replaceFile(f.path(file.Name), content); err != nil {
		return false, err
	}
	f.versions[file.Name] = file.Version
	return current, nil
}

// replaceFile sets the content of a file of keys. One that has it already is not written.
func replaceFile(path string, content []byte) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return keyfile.Replace(path, content)
}

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
