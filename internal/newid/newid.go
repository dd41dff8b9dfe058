// Package newid makes the identifiers of everything that hearth stores or traces. It is the one place that names their
// generator.
package newid

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"
)

// New returns a new UUIDv7 in its canonical form. Identifiers of one process sort by the time at which they were made. They
// are unique, not secret: what must not be guessed takes its bytes from crypto/rand.
func New() string {
	return uuid.Must(uuid.NewV7FromReader(random{})).String() // only the reader could fail
}

// random is the runtime's generator, ChaCha8 with a seed of the system's: no call of the system for each identifier.
type random struct{}

func (random) Read(p []byte) (int, error) {
	var word [8]byte
	for n := 0; n < len(p); n += len(word) {
		binary.LittleEndian.PutUint64(word[:], rand.Uint64())
		copy(p[n:], word[:])
	}
	return len(p), nil
}
