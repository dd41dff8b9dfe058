// Package newid makes the identifiers of everything that hearth stores or traces. It is the one place that names their
// generator and their form.
package newid

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
)

// New returns a new UUIDv7 in its canonical form. Identifiers of one process sort by the time at which they were made. They
// are unique, not secret: what must not be guessed takes its bytes from crypto/rand.
func New() string {
	return uuid.Must(uuid.NewV7FromReader(random{})).String() // only the reader could fail
}

// Of returns the identifier of what a name means that was made at a time: always the same one.
func Of(at time.Time, name string) string {
	sum := sha256.Sum256([]byte(name))
	id := uuid.UUID(sum[:16])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 7<<4
	id[8] = id[8]&0x3f | 2<<6
	return id.String()
}

// Canonical returns the form in which an identifier is stored: a UUID in lower case. Other text comes back as it is.
func Canonical(text string) string {
	if len(text) != 36 || !strings.ContainsAny(text, "ABCDEF") || uuid.Validate(text) != nil {
		return text
	}
	return strings.ToLower(text)
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
