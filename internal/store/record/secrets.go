package record

import (
	"context"

	"hearth"
)

// SharedFiles keeps the files of keys that instances share, in a backend that they share too.
type SharedFiles struct{ b Backend }

var _ hearth.SecretStore = (*SharedFiles)(nil)

// NewSharedFiles returns the shared files of a backend.
func NewSharedFiles(b Backend) *SharedFiles { return &SharedFiles{b} }

// secret is the stored form of hearth.SecretFile.
type secret struct {
	Name    string `json:"name"`
	Version int64  `json:"version"`
	Content []byte `json:"content"`
}

// secrets are in no archive: whoever has an archive must not have the keys with it.
var secrets = describe(&Kind[secret]{Schema: Schema{
	Name: "secrets", Noun: "file", ID: []string{"name"}, Shared: true,
	Taken: func() error { return hearth.Errorf(hearth.CodeConflict, "the file was changed meanwhile") },
}})

// Secrets implements hearth.SecretStore.
func (s *SharedFiles) Secrets(ctx context.Context) ([]hearth.SecretFile, error) {
	return find(ctx, s.b, "Secrets", secrets, func(f secret) hearth.SecretFile { return hearth.SecretFile(f) }, Query{})
}

// SetSecret implements hearth.SecretStore.
func (s *SharedFiles) SetSecret(ctx context.Context, file hearth.SecretFile) error {
	return s.b.Update(ctx, Write{Name: "SetSecret", Key: "secrets/" + file.Name}, func(ctx context.Context, tx Tx) error {
		stored, err := secrets.Get(ctx, tx, file.Name)
		isNew, err := absent(err)
		if err == nil && stored.Version != file.Version {
			err = secrets.TakenError()
		}
		if err != nil {
			return err
		}
		next := secret{file.Name, file.Version + 1, file.Content}
		if isNew {
			return secrets.Insert(ctx, tx, next)
		}
		return secrets.Replace(ctx, tx, next)
	})
}
