package keyshare

import (
	"context"
	"time"

	"hearth/internal/filelock"
	"hearth/internal/sealer"
)

// Rotation says which keys are rotated, and how stored fields are encrypted anew.
type Rotation struct {
	Files *Files
	// RotateSigning makes a new key that signs access tokens.
	RotateSigning func() error
	// Fields are the keys of encrypted fields; nil: fields are not encrypted.
	Fields *sealer.Ring
	// Reseal encrypt every stored field with the newest key, and return how many they changed and how many they could not read.
	Reseal []func(ctx context.Context) (changed, lost int, err error)
}

// Rotated is what a rotation of the keys did.
type Rotated struct {
	// Sealing reports whether fields are encrypted at rest, and were encrypted anew.
	Sealing bool
	// Fields is how many stored values were encrypted anew; Lost is how many could not be read.
	Fields, Lost int
}

// Run makes new keys: one that signs access tokens and, where fields are encrypted, one that encrypts them, with which every
// stored field is then encrypted anew. Servers may run meanwhile: they read the keys by themselves, and Run waits for that. If
// it is interrupted, running it again completes it.
func (r Rotation) Run(ctx context.Context) (Rotated, error) {
	unlock, err := filelock.Lock(r.Files.path("rotate.lock"), "another rotation of the keys is under way")
	if err != nil {
		return Rotated{}, err
	}
	defer func() { _ = unlock() }() // the end of the process does it too
	if err := r.Files.change(ctx, SigningKeys, r.RotateSigning); err != nil {
		return Rotated{}, err
	}
	if r.Fields == nil {
		return Rotated{}, nil
	}
	if err := r.Files.change(ctx, fieldKeys, r.Fields.Rotate); err != nil {
		return Rotated{}, err
	}
	// What a server sealed before it knew of the key is found by a pass that begins after every server knows.
	select {
	case <-time.After(2 * (FollowInterval + sealer.FollowInterval)):
	case <-ctx.Done():
		return Rotated{}, ctx.Err()
	}
	done := Rotated{Sealing: true}
	for _, reseal := range r.Reseal {
		changed, lost, err := reseal(ctx)
		done.Fields, done.Lost = done.Fields+changed, done.Lost+lost
		if err != nil {
			return done, err
		}
	}
	if done.Lost > 0 {
		return done, nil // no key is deleted that may be needed
	}
	return done, r.Files.change(ctx, fieldKeys, r.Fields.Forget)
}

// change changes a file of keys and shares it. CodeConflict: another instance did the same meanwhile; its keys hold then.
func (f *Files) change(ctx context.Context, name string, change func() error) error {
	if err := f.Follow(ctx); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return f.publish(ctx, name)
}
