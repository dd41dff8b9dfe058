package cli

import (
	"context"
	"fmt"

	"hearth/internal/app"
)

type doctorCommand struct{ Settings }

// Run prints a line a check. It fails if anything should be changed.
func (c *doctorCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	findings := 0
	for _, line := range app.Doctor(ctx, cfg, nil) {
		text := fmt.Sprintf("ok   %s: %s", line.Check, line.Text)
		if !line.OK {
			findings++
			text = fmt.Sprintf("FIX  %s: %s. %s", line.Check, line.Text, line.Change)
		}
		if _, err := fmt.Fprintln(p.Stdout, text); err != nil {
			return err
		}
	}
	switch findings {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 thing should be changed")
	}
	return fmt.Errorf("%d things should be changed", findings)
}
