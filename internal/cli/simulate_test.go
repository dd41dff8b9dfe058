package cli_test

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/cli"
)

func TestSimulateSaysHowItGoesUntilItIsStopped(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Unlimited(t))
	apitest.SignUp(t, url, "ann@example.com")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- cli.Run(ctx, &cli.Process{
			Args:  []string{"simulate", "--url", url, "--email", "ann@example.com", "--password-stdin", "--devices", "3", "--profile", "office", "--interval", "1s", "--mqtt"},
			Stdin: strings.NewReader(apitest.Password + "\n"), Stdout: io.Discard, Stderr: writer,
		})
		_ = writer.Close()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "3 of 3 devices, 3 online;") {
		if !strings.Contains(lines.Text(), " devices, ") {
			t.Errorf("it says %q", lines.Text())
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if ctx.Err() != nil {
		t.Error("the devices were never online")
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

func TestSimulateRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"simulate"}, {"simulate", "--email", "a@b.c", "--password-stdin", "--http", "--mqtt"}, {"simulate", "--email", "a@b.c", "--password-stdin", "--devices", "0"},
		{"simulate", "--email", "a@b.c", "--password-stdin", "--profile", "castle"},
	} {
		var said strings.Builder
		if code := cli.Run(t.Context(), &cli.Process{Args: args, Stdin: strings.NewReader("x"), Stdout: io.Discard, Stderr: &said}); code != 2 {
			t.Errorf("%v ended with %d: %s", args, code, said.String())
		}
	}
}
