package app

import (
	"context"

	"hearth"
	"hearth/internal/config"
	"hearth/internal/core/account"
	"hearth/internal/keyshare"
)

// openSecrets opens the files of keys, those of the store where it shares them.
func (a *App) openSecrets(ctx context.Context) (err error) {
	shared, _ := a.store.(hearth.SecretStore)
	a.secrets, err = keyshare.Open(ctx, keyshare.Options{Dir: a.config.DataDir, Store: shared, Keys: keyBytes(a.config.EncryptionKeys)})
	return err
}

// keyBytes returns keys of the configuration as they are used.
func keyBytes(keys []config.Key) [][]byte {
	all := make([][]byte, len(keys))
	for i := range keys {
		all[i] = keys[i][:]
	}
	return all
}

// sealer returns what encrypts one kind of field; nil where no field is encrypted.
func (a *App) sealer(field string) account.Sealer {
	if a.sealing == nil {
		return nil
	}
	return a.sealing.Field(field)
}

// RotateKeys makes new keys and encrypts every stored field anew; servers may run meanwhile.
func (a *App) RotateKeys(ctx context.Context) (keyshare.Rotated, error) {
	return keyshare.Rotation{
		Files: a.secrets, RotateSigning: a.keys.Rotate, Fields: a.sealing,
		Reseal: func(ctx context.Context) (changed, lost int, err error) {
			done, err := a.people.Reseal(ctx)
			return done.Changed, done.Lost, err
		},
	}.Run(ctx)
}
