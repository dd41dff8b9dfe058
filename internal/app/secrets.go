package app

import (
	"bytes"
	"context"
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

// shareInterval is how often an instance looks whether another changed a file of keys.
const shareInterval = time.Second

// secrets are the files of keys in the data directory. Where several instances share a store, the store has them, and the
// data directory holds a copy: so everything that reads and follows a file of keys works the same in both modes.
type secrets struct {
	dir   string
	store hearth.SecretStore // nil: the data directory has them
	wrap  *sealer.Wrapper

	mu sync.Mutex
	// versions are of the copies in the data directory, by name.
	versions map[string]int64
}

// openSecrets takes the keys that the store has, and encrypts them as the configuration asks for.
func (a *App) openSecrets(ctx context.Context) error {
	wrap, err := sealer.NewWrapper(a.encryptionKeys())
	if err != nil {
		return err
	}
	shared, _ := a.store.(hearth.SecretStore)
	a.secrets = &secrets{dir: a.config.DataDir, store: shared, wrap: wrap, versions: map[string]int64{}}
	stale, err := a.secrets.copy(ctx)
	for _, name := range stale {
		// In conflict: another instance did it, at the same start.
		if e := a.secrets.publish(ctx, name); e != nil && hearth.ErrorCode(e) != hearth.CodeConflict {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (s *secrets) path(name string) string { return filepath.Join(s.dir, name) }

// open calls open for the file of that name, which makes it if it is not there. Where the store does not have it yet it is
// stored; where another instance was faster, open is called again for the other's file.
func (s *secrets) open(ctx context.Context, name string, open func(path string) error) error {
	if err := open(s.path(name)); err != nil || s.store == nil {
		return err
	}
	s.mu.Lock()
	known := s.versions[name] > 0
	s.mu.Unlock()
	if known {
		return nil
	}
	err := s.publish(ctx, name)
	if hearth.ErrorCode(err) != hearth.CodeConflict {
		return err
	}
	if err := s.follow(ctx); err != nil {
		return err
	}
	return open(s.path(name))
}

// publish stores the file of that name as the successor of the version that this process knows. CodeConflict: another
// process changed it meanwhile.
func (s *secrets) publish(ctx context.Context, name string) error {
	if s.store == nil {
		return nil
	}
	content, err := os.ReadFile(s.path(name))
	if err != nil {
		return fmt.Errorf("read the keys to share: %w", err)
	}
	sealed, err := s.wrap.Wrap(name, content)
	if err != nil {
		return fmt.Errorf("encrypt %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.store.SetSecret(ctx, hearth.SecretFile{Name: name, Version: s.versions[name], Content: sealed}); err != nil {
		return err
	}
	s.versions[name]++
	return nil
}

// follow copies the files that changed in the store into the data directory. It is to be called every shareInterval.
func (s *secrets) follow(ctx context.Context) error {
	_, err := s.copy(ctx)
	return err
}

// copy returns the names of the files that it took and whose encryption is not what the configuration asks for.
func (s *secrets) copy(ctx context.Context) (stale []string, err error) {
	if s.store == nil {
		return nil, nil
	}
	stored, err := s.store.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range stored {
		if s.versions[file.Name] >= file.Version {
			continue
		}
		current, err := s.take(file)
		if err != nil {
			return nil, err
		}
		if !current {
			stale = append(stale, file.Name)
		}
	}
	return stale, nil
}

// take makes the stored file the data directory's. current is false where its encryption is not what the configuration asks
// for.
func (s *secrets) take(file hearth.SecretFile) (current bool, err error) {
	if file.Name != filepath.Base(file.Name) {
		return false, fmt.Errorf("the store has a file of keys of the name %q", file.Name)
	}
	content, current, err := s.wrap.Unwrap(file.Name, file.Content)
	if errors.Is(err, sealer.ErrNoKey) {
		return false, fmt.Errorf("the shared keys %s were encrypted with another encryption_key: set it to that of the other instances", file.Name)
	}
	if err != nil {
		return false, fmt.Errorf("decrypt the shared keys %s: %w", file.Name, err)
	}
	if err := replaceFile(s.path(file.Name), content); err != nil {
		return false, err
	}
	s.versions[file.Name] = file.Version
	return current, nil
}

// replaceFile makes a file of keys hold that content. One that does already is left alone.
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

// loadSecret returns the shared secret of that name, making it if there is none.
func (a *App) loadSecret(ctx context.Context, name string) (secret []byte, err error) {
	err = a.secrets.open(ctx, name, func(path string) (err error) {
		secret, err = loadSecret(path)
		return err
	})
	return secret, err
}
