// Package sealer encrypts personal and secret fields at rest.
//
// The keys that encrypt fields live in a file, as a tink key set that is itself encrypted with the key of the
// configuration. So field keys rotate while servers run, and the file alone opens nothing.
package sealer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"hearth/internal/keyfile"
)

const (
	// FollowInterval is how often Follow is to be called: how late another process's rotation shows in what is sealed.
	FollowInterval = time.Second
	// keySize is the length of a key of the configuration, in bytes.
	keySize = 32
	// purpose binds the encrypted file to what it is for.
	purpose = "hearth field keys"
)

// mark begins every sealed value. No text begins with it, so that values of before encryption still read.
var mark = []byte("\x00sealed1:")

// ErrNoKey says that a value was sealed with a key that is not in the ring.
var ErrNoKey = errors.New("sealer: the value cannot be opened with the keys there are")

// Options say where the keys are.
type Options struct {
	// Path is the file of the field keys; it is made, with mode 0600, if it is not there.
	Path string
	// Keys are those of the configuration, 32 random bytes each: the first encrypts the file, each may decrypt it.
	Keys [][]byte
}

// Ring holds the keys of fields. Its methods may be called at once from many goroutines.
type Ring struct {
	path    string
	masters []tink.AEAD
	changes sync.Mutex // serializes reading and writing the file
	keys    atomic.Pointer[keys]
}

// keys is the file's content at one moment.
type keys struct {
	handle *keyset.Handle
	cipher tink.AEAD
	// current begins what the newest key sealed.
	current []byte
	version keyfile.Version
}

// Open reads the field keys, or makes the first one. It fails for a file that others may read and for one that none of
// the keys decrypts.
func Open(options Options) (*Ring, error) {
	if options.Path == "" || len(options.Keys) == 0 {
		return nil, errors.New("sealer: a path and a key are needed")
	}
	r := &Ring{path: options.Path}
	for _, key := range options.Keys {
		if len(key) != keySize {
			return nil, fmt.Errorf("sealer: a key has %d bytes; it needs %d", len(key), keySize)
		}
		master, err := subtle.NewAESGCM(key)
		if err != nil {
			return nil, fmt.Errorf("sealer: %w", err)
		}
		r.masters = append(r.masters, master)
	}
	r.changes.Lock()
	defer r.changes.Unlock()
	err := r.load()
	if errors.Is(err, fs.ErrNotExist) {
		if err = r.create(); err == nil {
			err = r.load()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the field keys: %w", err)
	}
	return r, nil
}

// create writes the first file. Another process that does the same at the same time wins or loses as a whole.
func (r *Ring) create() error {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return err
	}
	content, err := r.encrypt(handle)
	if err != nil {
		return err
	}
	return keyfile.Create(r.path, content)
}

// encrypt returns what the file holds, by the first key of the configuration.
func (r *Ring) encrypt(handle *keyset.Handle) ([]byte, error) {
	var data bytes.Buffer
	err := handle.WriteWithAssociatedData(keyset.NewJSONWriter(&data), r.masters[0], []byte(purpose))
	return append(data.Bytes(), '\n'), err
}

// load reads the file. On an error the keys stay as they were.
func (r *Ring) load() error {
	data, version, err := keyfile.Read(r.path)
	if err != nil {
		return err
	}
	handle, err := r.decrypt(data)
	if err != nil {
		return fmt.Errorf("%s cannot be decrypted with the encryption key of the configuration: %w", r.path, err)
	}
	cipher, err := aead.New(handle)
	if err != nil {
		return err
	}
	primary, err := handle.Primary()
	if err != nil {
		return err
	}
	id := primary.KeyID()
	r.keys.Store(&keys{
		handle: handle, cipher: cipher, version: version,
		// Tink's output prefix of a key: 1 and the key's id.
		current: append(bytes.Clone(mark), 1, byte(id>>24), byte(id>>16), byte(id>>8), byte(id)),
	})
	return nil
}

// decrypt attempts each key of the configuration.
func (r *Ring) decrypt(data []byte) (handle *keyset.Handle, err error) {
	for _, master := range r.masters {
		handle, err = keyset.ReadWithAssociatedData(keyset.NewJSONReader(bytes.NewReader(data)), master, []byte(purpose))
		if err == nil {
			return handle, nil
		}
	}
	return nil, err
}

// Follow reads the file again if it has changed since, so that a rotation in another process shows. It is to be called
// every FollowInterval. On an error the keys stay as they were.
func (r *Ring) Follow(context.Context) error {
	changed, err := keyfile.Changed(r.path, r.keys.Load().version)
	if err != nil || !changed {
		return err
	}
	r.changes.Lock()
	defer r.changes.Unlock()
	return r.load()
}

// Rotate makes a new key, which seals from now on; the others still open. The file is encrypted anew with the first key of
// the configuration. It may run in another process than the servers, but in one at a time.
func (r *Ring) Rotate() error {
	return r.change(func(m *keyset.Manager, _ *keyset.Handle) error {
		id, err := m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
		if err != nil {
			return err
		}
		return m.SetPrimary(id)
	})
}

// Forget removes the keys that are older than the one before the newest. It is to be called when every stored value is
// Current; the one before stays for values that a server was about to write.
func (r *Ring) Forget() error {
	return r.change(func(m *keyset.Manager, handle *keyset.Handle) error {
		for i := range handle.Len() - 2 { // in the order in which they were added
			entry, err := handle.Entry(i)
			if err != nil {
				return err
			}
			if entry.IsPrimary() {
				continue
			}
			if err := m.Delete(entry.KeyID()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Ring) change(edit func(*keyset.Manager, *keyset.Handle) error) error {
	r.changes.Lock()
	defer r.changes.Unlock()
	if err := r.load(); err != nil {
		return err
	}
	handle := r.keys.Load().handle
	manager := keyset.NewManagerFromHandle(handle)
	if err := edit(manager, handle); err != nil {
		return err
	}
	changed, err := manager.Handle()
	if err != nil {
		return err
	}
	content, err := r.encrypt(changed)
	if err != nil {
		return err
	}
	if err := keyfile.Replace(r.path, content); err != nil {
		return err
	}
	return r.load()
}

// Field returns the sealer of one kind of field. What it seals opens as that field alone.
func (r *Ring) Field(name string) Field { return Field{ring: r, name: []byte(name)} }

// Field seals and opens the values of one kind of field.
type Field struct {
	ring *Ring
	name []byte
}

// Seal encrypts a value with the newest key.
func (f Field) Seal(plain []byte) ([]byte, error) {
	sealed, err := f.ring.keys.Load().cipher.Encrypt(plain, f.name)
	if err != nil {
		return nil, fmt.Errorf("seal a field: %w", err)
	}
	return slices.Concat(mark, sealed), nil
}

// Open decrypts a value. One that was stored before there was a key is returned as it is. ErrNoKey for a value of a key
// that is gone, of another field, or damaged.
func (f Field) Open(sealed []byte) ([]byte, error) {
	body, ok := bytes.CutPrefix(sealed, mark)
	if !ok {
		return sealed, nil
	}
	plain, err := f.ring.keys.Load().cipher.Decrypt(body, f.name)
	if err == nil {
		return plain, nil
	}
	// Perhaps another process has just made the key.
	if err := f.ring.Follow(context.Background()); err != nil {
		return nil, errors.Join(ErrNoKey, err)
	}
	if plain, err = f.ring.keys.Load().cipher.Decrypt(body, f.name); err != nil {
		return nil, ErrNoKey
	}
	return plain, nil
}

// Current reports whether a value was sealed with the newest key.
func (f Field) Current(sealed []byte) bool {
	return bytes.HasPrefix(sealed, f.ring.keys.Load().current)
}
