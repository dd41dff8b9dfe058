// Package cli is the command line: one file a subcommand. It turns signals into a context and errors into exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"hearth/internal/commandline"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command was understood and did not succeed
	exitUsage  = 2 // the command line or the configuration is wrong; nothing was done
)

// Process is what a command gets of the process that it runs in.
type Process struct {
	Args    []string // without the program's name
	Environ []string // as os.Environ returns it
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// Main runs the command line of this process until it is done or a signal ends it, and returns the exit code. A first
// SIGINT or SIGTERM asks the command to stop in order; a second one kills it.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // puts the default action back for the second signal
	return Run(ctx, &Process{Args: os.Args[1:], Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
}

// Run runs one command line and returns the exit code. An error has been printed to Stderr, once.
func Run(ctx context.Context, p *Process) int {
	err := run(ctx, p)
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, _ = fmt.Fprintln(p.Stderr, "hearth:", line)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the command line or the configuration.
type usageError struct{ error }

// Unwrap returns the mistake itself.
func (e usageError) Unwrap() error { return e.error }

// grammar is the command line.
type grammar struct {
	Serve       serveCommand       `cmd:"" help:"Serve the API, and run the background jobs unless --worker=false."`
	Worker      workerCommand      `cmd:"" help:"Run background jobs only, for servers with --worker=false."`
	Jobs        jobsCommand        `cmd:"" help:"List, retry and delete background jobs. Works while a server runs."`
	User        userCommand        `cmd:"" help:"Create accounts."`
	Audit       auditCommand       `cmd:"" help:"Export the audit, and check that it was not edited."`
	Demo        demoCommand        `cmd:"" help:"Start a server with an account and real devices, in a temporary directory."`
	Import      importCommand      `cmd:"" help:"Import logs from a file."`
	Backup      backupCommand      `cmd:"" help:"Write, list, verify and restore backups."`
	Migrate     migrateCommand     `cmd:"" help:"Copy a store into another one, such as SQLite into MongoDB."`
	Keys        keysCommand        `cmd:"" help:"Rotate the keys that sign tokens and encrypt fields."`
	Config      configCommand      `cmd:"" help:"Check or print the configuration."`
	Doctor      doctorCommand      `cmd:"" help:"Check the installation and say what to change."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running server whether it is ready; for containers."`
	Openapi     openapiCommand     `cmd:"" name:"openapi" help:"Print the OpenAPI document of the API."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

func run(ctx context.Context, p *Process) error {
	args := p.Args
	if len(args) == 0 {
		args = []string{"--help"}
	}
	selected, err := commandline.Parse("hearth", description, &grammar{}, args)
	if help, ok := errors.AsType[commandline.Help](err); ok {
		_, err := io.WriteString(p.Stdout, string(help))
		return err
	}
	if err != nil {
		return usageError{fmt.Errorf("%w; hearth --help lists the commands", err)}
	}
	return selected.(command).Run(ctx, p) //nolint:forcetypeassert // every command of the grammar is one
}

// command is a command of the grammar, its flags and arguments set.
type command interface {
	Run(ctx context.Context, p *Process) error
}

const description = "A self-hosted backend for smart devices.\n\nEvery setting is a flag, a HEARTH_ variable and a key of the settings file alike."
