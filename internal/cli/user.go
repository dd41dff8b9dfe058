package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hearth"
	"hearth/internal/app"
	"hearth/internal/core/account"
)

type userCommand struct {
	Create userCreateCommand `cmd:"" help:"Create an account. Works on a new data directory and while a server runs."`
}

type userCreateCommand struct {
	Settings
	Email         string `required:"" placeholder:"E" help:"E-mail address."`
	Name          string `required:"" placeholder:"N" help:"Name."`
	Role          string `default:"user" enum:"admin,user" help:"admin or user (default: user)."`
	PasswordStdin bool   `required:"" help:"Read the password from standard input; one line break at its end is dropped."`
}

// maxPasswordInput bounds what is read, in bytes: more than any password may have.
const maxPasswordInput = 4096

// Run makes the account.
func (c *userCreateCommand) Run(ctx context.Context, p *Process) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	input, err := io.ReadAll(io.LimitReader(p.Stdin, maxPasswordInput))
	if err != nil {
		return fmt.Errorf("read the password: %w", err)
	}
	password, windows := strings.CutSuffix(string(input), "\r\n")
	if !windows {
		password = strings.TrimSuffix(password, "\n")
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		user, err := app.CreateUser(ctx, s, account.NewUser{Name: c.Name, Email: c.Email, Password: password, Role: hearth.Role(c.Role)})
		if err != nil {
			return readable(err)
		}
		_, err = fmt.Fprintf(p.Stdout, "created %s %s, %s\n", user.Role, user.Email, user.ID)
		return err
	})
}

// readable names each wrong field on a line of its own, as the command line calls it.
func readable(err error) error {
	failure, ok := errors.AsType[*hearth.Error](err)
	if !ok || len(failure.Fields) == 0 {
		return err
	}
	var lines []error
	for _, f := range failure.Fields {
		lines = append(lines, fmt.Errorf("the %s %s", strings.TrimPrefix(f.Location, "body."), f.Message))
	}
	return errors.Join(lines...)
}
