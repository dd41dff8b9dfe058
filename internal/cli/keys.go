package cli

import (
	"context"
	"fmt"

	"hearth/internal/app"
)

type keysCommand struct {
	Rotate keysRotateCommand `cmd:"" help:"Make new keys and encrypt stored fields again. Works while a server runs."`
}

type keysRotateCommand struct{ Settings }

// Run rotates the keys and says what that did.
func (c *keysRotateCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		done, err := app.RotateKeys(ctx, s)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.Stdout, "access tokens: a new key signs within half a minute; tokens of the old one stay valid until they expire")
		if err == nil && done.Sealing {
			_, err = fmt.Fprintf(p.Stdout, "encrypted fields: a new key; %d stored values were encrypted anew\n", done.Fields)
		} else if err == nil {
			_, err = fmt.Fprintln(p.Stdout, "encrypted fields: none, because encryption_key is not set")
		}
		if err == nil && done.Lost > 0 {
			err = fmt.Errorf("%d stored values could not be read with any key; they and all keys were kept", done.Lost)
		}
		return err
	})
}
