package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"hearth"
	"hearth/internal/app"
	"hearth/internal/core/account"
)

type userCommand struct {
	Create        userCreateCommand        `cmd:"" help:"Create an account. Works on a new data directory and while a server runs."`
	List          userListCommand          `cmd:"" help:"List accounts, the newest first."`
	SetRole       userSetRoleCommand       `cmd:"" help:"Make an account an admin's or a user's."`
	ResetPassword userResetPasswordCommand `cmd:"" help:"Give an account a new password, end its sessions and its lockout."`
	Disable       userDisableCommand       `cmd:"" help:"Refuse an account from now on, and end its sessions."`
	Enable        userEnableCommand        `cmd:"" help:"Let a disabled account sign in again."`
}

type userCreateCommand struct {
	Settings
	PasswordInput
	Email string `required:"" placeholder:"E" help:"E-mail address."`
	Name  string `required:"" placeholder:"N" help:"Name."`
	Role  string `default:"user" enum:"admin,user" help:"admin or user (default: user)."`
}

type userListCommand struct {
	Settings
	Query string `placeholder:"Q" help:"Only those whose name or e-mail address contains this."`
	Role  string `enum:"admin,user" placeholder:"ROLE" help:"Only those with this role: admin or user."`
}

type userSetRoleCommand struct {
	Settings
	Email string `arg:"" help:"E-mail address of the account."`
	Role  string `arg:"" help:"admin or user."`
}

type userResetPasswordCommand struct {
	Settings
	PasswordInput
	Email string `arg:"" help:"E-mail address of the account."`
}

type userDisableCommand struct {
	Settings
	Email string `arg:"" help:"E-mail address of the account."`
}

type userEnableCommand struct {
	Settings
	Email string `arg:"" help:"E-mail address of the account."`
}

// Run makes the account.
func (c *userCreateCommand) Run(ctx context.Context, p *Process) error {
	return c.accounts(ctx, p, &c.PasswordInput, func(accounts *account.Service, password string) error {
		user, err := accounts.CreateUser(ctx, account.NewUser{Name: c.Name, Email: c.Email, Password: password, Role: hearth.Role(c.Role)})
		return report(p, "created", user, err)
	})
}

// Run lists accounts.
func (c *userListCommand) Run(ctx context.Context, p *Process) error {
	return c.accounts(ctx, p, nil, func(accounts *account.Service, _ string) error {
		table := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
		row(table, "ID", "E-MAIL", "NAME", "ROLE", "STATE", "CREATED", "LAST LOGIN")
		page := hearth.Page{Limit: hearth.MaxLimit}
		for {
			users, err := accounts.Users(ctx, operator, hearth.UserFilter{Query: c.Query, Role: hearth.Role(c.Role)}, page)
			if err != nil {
				return err
			}
			for i := range users.Items {
				user := &users.Items[i]
				state, login := "active", "never"
				if user.Disabled {
					state = "disabled"
				}
				if !user.LastLoginAt.IsZero() {
					login = user.LastLoginAt.Format(time.RFC3339)
				}
				row(table, user.ID, user.Email, printable(user.Name), string(user.Role), state, user.CreatedAt.Format(time.RFC3339), login)
			}
			if page.Cursor = users.Next; page.Cursor.IsZero() {
				return table.Flush()
			}
		}
	})
}

// Run changes the role.
func (c *userSetRoleCommand) Run(ctx context.Context, p *Process) error {
	role := hearth.Role(c.Role)
	return c.change(ctx, p, c.Email, "changed", account.UserUpdate{Role: &role})
}

// Run disables the account.
func (c *userDisableCommand) Run(ctx context.Context, p *Process) error {
	disabled := true
	return c.change(ctx, p, c.Email, "disabled", account.UserUpdate{Disabled: &disabled})
}

// Run enables the account.
func (c *userEnableCommand) Run(ctx context.Context, p *Process) error {
	disabled := false
	return c.change(ctx, p, c.Email, "enabled", account.UserUpdate{Disabled: &disabled, Unlock: true})
}

// Run sets the password.
func (c *userResetPasswordCommand) Run(ctx context.Context, p *Process) error {
	return c.accounts(ctx, p, &c.PasswordInput, func(accounts *account.Service, password string) error {
		user, err := accounts.UserByEmail(ctx, operator, c.Email)
		if err == nil {
			user, err = accounts.SetPassword(ctx, operator, user.ID, password)
		}
		return report(p, "new password for", user, err)
	})
}

// operator is who may read the data directory and so may do everything.
var operator = hearth.Caller{Operator: true}

// change updates the account with an e-mail address.
func (s *Settings) change(ctx context.Context, p *Process, email, done string, update account.UserUpdate) error {
	return s.accounts(ctx, p, nil, func(accounts *account.Service, _ string) error {
		user, err := accounts.UserByEmail(ctx, operator, email)
		if err == nil {
			user, err = accounts.UpdateUser(ctx, operator, user.ID, update)
		}
		return report(p, done, user, err)
	})
}

// accounts does something with the accounts, and a password where there is an input for it.
func (s *Settings) accounts(ctx context.Context, p *Process, input *PasswordInput, do func(*account.Service, string) error) error {
	cfg, err := s.load(p)
	if err != nil {
		return err
	}
	password := ""
	if input != nil {
		if password, err = input.readNew(ctx, p); err != nil {
			return err
		}
	}
	return withSettings(p, cfg, func(s app.Settings) error {
		return app.Accounts(ctx, s, func(accounts *account.Service) error { return do(accounts, password) })
	})
}

// report says what was done to an account.
func report(p *Process, done string, user hearth.User, err error) error {
	if err != nil {
		return readable(err)
	}
	_, err = fmt.Fprintf(p.Stdout, "%s %s %s, %s\n", done, user.Role, user.Email, user.ID)
	return err
}

// printable leaves out of a text what a terminal would take for a command.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}

// PasswordInput is how a command gets a password.
type PasswordInput struct {
	PasswordStdin bool `help:"Read the password from standard input; one line break at its end is dropped. Without this flag it is asked for on the terminal."`
}

// maxPasswordBytes bounds what is read, in bytes: more than any password may have.
const maxPasswordBytes = 4096

// readNew returns a password that is to be set: of standard input, or what is typed on the terminal, twice.
func (i *PasswordInput) readNew(ctx context.Context, p *Process) (string, error) {
	return i.read(ctx, p, "Password: ", "Once more: ")
}

// read returns the password: of standard input, or what is typed on the terminal at each prompt, if it is always the same.
func (i *PasswordInput) read(ctx context.Context, p *Process, prompts ...string) (string, error) {
	if i.PasswordStdin {
		input, err := io.ReadAll(io.LimitReader(p.Stdin, maxPasswordBytes))
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		password, windows := strings.CutSuffix(string(input), "\r\n")
		if !windows {
			password = strings.TrimSuffix(password, "\n")
		}
		return password, nil
	}
	file, ok := p.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", usageError{errors.New("there is no terminal to ask for the password: pass --password-stdin")}
	}
	typed := make([]string, len(prompts))
	for i, prompt := range prompts {
		_, _ = fmt.Fprint(p.Stderr, prompt)
		line, err := typedLine(ctx, int(file.Fd()))
		_, _ = fmt.Fprintln(p.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		typed[i] = string(line)
	}
	if typed[0] != typed[len(typed)-1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}

// typedLine returns a line that is typed on the terminal and not shown. If ctx ends first, the terminal shows again what is typed.
func typedLine(ctx context.Context, terminal int) ([]byte, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type input struct {
		line []byte
		err  error
	}
	typed := make(chan input, 1)
	go func() { // it ends with the process where nothing more is typed
		line, err := term.ReadPassword(terminal)
		typed <- input{line, err}
	}()
	select {
	case t := <-typed:
		return t.line, t.err
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), term.Restore(terminal, before))
	}
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
