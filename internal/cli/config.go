package cli

import (
	"context"
	"fmt"

	"hearth/internal/app"
)

// configCommand is "hearth config".
type configCommand struct {
	Check configCheckCommand `cmd:"" help:"Report every problem of the configuration, and start nothing."`
	Print configPrintCommand `cmd:"" help:"Print the configuration in force as a settings file, without secrets."`
}

type configCheckCommand struct{ Settings }

// Run reads the configuration and says that it is good.
func (c *configCheckCommand) Run(_ context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	if err := app.CheckSettings(cfg); err != nil {
		return usageError{err}
	}
	for _, advice := range cfg.Advice() {
		if _, err := fmt.Fprintln(p.Stdout, "note:", advice); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(p.Stdout, "the configuration is good")
	return err
}

type configPrintCommand struct{ Settings }

// Run prints the configuration.
func (c *configPrintCommand) Run(_ context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	return cfg.Print(p.Stdout)
}
