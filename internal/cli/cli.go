// Package cli is the command line: one file a subcommand. It turns signals into a context and errors into exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"hearth/internal/commandline"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command was understood and did not succeed
	exitUsage  = 2 // the command line or the configuration is wrong; nothing was done
	// exitInterrupted says that a signal ended the command before it was done, as shells do: 128 and the number of SIGINT.
	exitInterrupted = 130
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
// SIGINT, SIGTERM or SIGHUP asks the command to stop in order; a second one kills it.
func Main() int {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
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
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(p.Stderr, "hearth: interrupted before it was done")
		return exitInterrupted
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
	User        userCommand        `cmd:"" help:"Create, list and change accounts. Works while a server runs."`
	Audit       auditCommand       `cmd:"" help:"Export the audit, and check that it was not edited."`
	Demo        demoCommand        `cmd:"" help:"Start a server with an account and real devices, in a temporary directory."`
	Import      importCommand      `cmd:"" help:"Import logs from a file."`
	Simulate    simulateCommand    `cmd:"" help:"Simulate devices that report, drop out and obey commands."`
	Backup      backupCommand      `cmd:"" help:"Write, list, verify and restore backups."`
	Migrate     migrateCommand     `cmd:"" help:"Copy a store into another one, such as SQLite into MongoDB."`
	Keys        keysCommand        `cmd:"" help:"Rotate the keys that sign tokens and encrypt fields."`
	Config      configCommand      `cmd:"" help:"Check or print the configuration."`
	Doctor      doctorCommand      `cmd:"" help:"Check the installation and say what to change."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running server whether it is ready; for containers."`
	Openapi     openapiCommand     `cmd:"" name:"openapi" help:"Print the OpenAPI document of the API."`
	Completion  completionCommand  `cmd:"" help:"Print what lets a shell complete commands and flags."`
	Man         manCommand         `cmd:"" help:"Print the manual page: hearth man | man -l -."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

func run(ctx context.Context, p *Process) error {
	args := p.Args
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "--version":
		args = append([]string{"version"}, args[1:]...)
	case args[0] == "help":
		args = append(slices.Clone(args[1:]), "--help")
	}
	selected, err := commandline.Parse(program, description, &grammar{}, args)
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

const program = "hearth"

const description = "A self-hosted backend for smart devices.\n\nEvery setting is a flag, a HEARTH_ variable and a key of the settings file alike."
