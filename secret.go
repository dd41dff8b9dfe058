package hearth

import "context"

// SecretFile is a file of keys that the instances of the program share through the store.
type SecretFile struct {
	// Name is the file's base name, at most 64 bytes.
	Name string
	// Version counts the changes, from 1; 0 stands for a file that is not stored yet.
	Version int64
	// Content is what the file holds, at most 1 MiB; sealed, where fields are encrypted at rest.
	Content []byte
}

// SecretStore keeps the files of keys where every instance finds them. Stores that one machine has for itself do not need
// it: there the data directory is that place.
type SecretStore interface {
	// Secrets returns all files.
	Secrets(ctx context.Context) ([]SecretFile, error)
	// SetSecret stores the content in place of the given version, as the version after it. CodeConflict: another version is
	// stored.
	SetSecret(ctx context.Context, file SecretFile) error
}
