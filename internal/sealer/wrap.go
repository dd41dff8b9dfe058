package sealer

import (
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Wrapper encrypts whole files of keys with the keys of the configuration.
type Wrapper struct{ masters []tink.AEAD }

// wrapped begins what a Wrapper encrypted; no file of keys begins with it.
const wrapped = "\x00wrapped1:"

// NewWrapper makes a Wrapper of keys of 32 random bytes each: the first encrypts, each may decrypt. Without keys files stay
// as they are.
func NewWrapper(keys [][]byte) (*Wrapper, error) {
	w := &Wrapper{}
	for _, key := range keys {
		if len(key) != keySize {
			return nil, fmt.Errorf("sealer: a key has %d bytes; it needs %d", len(key), keySize)
		}
		master, err := subtle.NewAESGCM(key)
		if err != nil {
			return nil, fmt.Errorf("sealer: %w", err)
		}
		w.masters = append(w.masters, master)
	}
	return w, nil
}

// Wrap encrypts the content of the file of that name.
func (w *Wrapper) Wrap(name string, content []byte) ([]byte, error) {
	if len(w.masters) == 0 {
		return content, nil
	}
	sealed, err := w.masters[0].Encrypt(content, []byte(name))
	return append([]byte(wrapped), sealed...), err
}

// Unwrap decrypts what Wrap made of the file of that name. current is false where Wrap would encrypt it differently now:
// because it is in plain text, or encrypted with a key that is not the first. ErrNoKey: none of the keys decrypts it.
func (w *Wrapper) Unwrap(name string, stored []byte) (content []byte, current bool, err error) {
	if len(stored) < len(wrapped) || string(stored[:len(wrapped)]) != wrapped {
		return stored, len(w.masters) == 0, nil
	}
	for i, master := range w.masters {
		content, err = master.Decrypt(stored[len(wrapped):], []byte(name))
		if err == nil {
			return content, i == 0, nil
		}
	}
	return nil, false, errors.Join(ErrNoKey, err)
}
