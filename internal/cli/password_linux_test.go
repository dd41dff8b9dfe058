package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/cli"
)

// terminal returns both ends of a pseudoterminal: what the program has, and the keyboard and the screen.
func terminal(t *testing.T) (program, user *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return program, user
}

// echoes reports whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Error(err)
		return false
	}
	return mode.Lflag&unix.ECHO != 0
}

// prompts runs act each time that a prompt is written.
type prompts struct {
	bytes.Buffer
	act func(prompt string)
}

func (p *prompts) Write(text []byte) (int, error) {
	if strings.HasSuffix(string(text), ": ") {
		p.act(string(text))
	}
	return p.Buffer.Write(text)
}

func TestAPasswordIsAskedForOnATerminal(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		second, says string
		code         int
	}{
		"the same twice": {"correct horse battery\n", "", 0},
		"two others":     {"correct horse\n", "the two passwords differ", 1},
		"interrupted":    {"", "interrupted before it was done", 130},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, user := terminal(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stderr := &prompts{act: func(prompt string) {
				text := "correct horse battery\n"
				if prompt == "Once more: " {
					text = tt.second
				}
				if text == "" {
					go func() {
						for ctx.Err() == nil && echoes(t, program) { // until the program waits
							time.Sleep(time.Millisecond)
						}
						cancel()
					}()
				} else if _, err := user.WriteString(text); err != nil {
					t.Error(err)
				}
			}}
			process := &cli.Process{
				Args:  []string{"user", "create", "--email", "ann@example.com", "--name", "Ann", "--data-dir", t.TempDir(), "--bcrypt-cost", "4"},
				Stdin: program, Stdout: io.Discard, Stderr: stderr,
			}
			if code := cli.Run(ctx, process); code != tt.code || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("exit %d, %q; want %d and %q", code, stderr, tt.code, tt.says)
			}
			if strings.Contains(stderr.String(), "horse") || !echoes(t, program) {
				t.Errorf("the password is shown, or nothing that is typed later: %q", stderr)
			}
		})
	}
}
