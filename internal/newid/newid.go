// Package newid makes the identifiers of everything that hearth stores or traces. It is the one place that names their
// generator.
package newid

import "github.com/google/uuid"

// New returns a new UUIDv7 in its canonical form. Identifiers of one process sort by the time at which they were made.
func New() string {
	return uuid.Must(uuid.NewV7()).String() // fails only without a source of randomness, which Go does not return from
}
