package cli

import (
	"context"
	"io"

	"hearth/internal/commandline"
)

type completionCommand struct {
	Bash completionBash `cmd:"" help:"For bash: source <(hearth completion bash)."`
	Zsh  completionZsh  `cmd:"" help:"For zsh: source <(hearth completion zsh)."`
	Fish completionFish `cmd:"" help:"For fish: hearth completion fish | source."`
}

type (
	completionBash struct{}
	completionZsh  struct{}
	completionFish struct{}
)

// Run prints the script for bash.
func (completionBash) Run(_ context.Context, p *Process) error { return printCompletion(p, "bash") }

// Run prints the script for zsh.
func (completionZsh) Run(_ context.Context, p *Process) error { return printCompletion(p, "zsh") }

// Run prints the script for fish.
func (completionFish) Run(_ context.Context, p *Process) error { return printCompletion(p, "fish") }

func printCompletion(p *Process, shell string) error {
	_, err := io.WriteString(p.Stdout, commandline.Completion(shell, program, &grammar{}))
	return err
}

type manCommand struct{}

// Run prints the manual page.
func (manCommand) Run(_ context.Context, p *Process) error {
	_, err := io.WriteString(p.Stdout, commandline.Manual(program, description, &grammar{}))
	return err
}
