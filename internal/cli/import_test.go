package cli_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"hearth/internal/cli"
)

// TestTheExamplesOfTheImportGuideRun runs, one after another, the commands of the guide that are followed by an output, and compares it.
func TestTheExamplesOfTheImportGuideRun(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guides/import.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	shell := func(script string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HEARTH_DATA_DIR="+dir+"/data", "HEARTH_LOG_LEVEL=error")
		out, _ := cmd.CombinedOutput() // some examples are of failures
		return string(out)
	}
	shell(`echo correct-horse-42 | hearth user create --email ann@example.com --name Ann --role admin --password-stdin`)
	took := regexp.MustCompile(`in \S+ \(\d+ rows/s\)`)
	examples := regexp.MustCompile("(?s)```sh\n([^`]*)```\n\n```text\n([^`]*)```").FindAllStringSubmatch(string(guide), -1)
	if len(examples) < 7 {
		t.Fatalf("the guide has %d examples", len(examples))
	}
	for _, example := range examples {
		got, want := took.ReplaceAllString(shell(example[1]), "in T"), took.ReplaceAllString(example[2], "in T")
		if got != want {
			t.Errorf("%s\nprints\n%s\nwant\n%s", example[1], got, want)
		}
	}
}

func TestWrongImportOptionsAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"--decimal x", "--encoding utf-7", "--time-format iso", "--time-zone Nowhere", "--map on", "--delimiter ab", "--wide --event e"} {
		args := append([]string{"import", "absent.csv"}, strings.Fields(line)...)
		if code, _, stderr := run(t, args...); code != 2 || !strings.Contains(stderr, "--") {
			t.Errorf("%s: exit %d, %q; want 2 and the flag", line, code, stderr)
		}
	}
}

// cancelling ends a context when it is read.
type cancelling struct{ cancel context.CancelFunc }

func (c cancelling) Read([]byte) (int, error) {
	c.cancel()
	return 0, io.EOF
}

func TestAnInterruptedImportSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	var stderr bytes.Buffer
	process := &cli.Process{
		Args: []string{"import", "-", "--data-dir", dir}, Stdin: io.MultiReader(strings.NewReader("device,event,value,timestamp\n"), cancelling{cancel}),
		Stdout: io.Discard, Stderr: &stderr,
	}
	if code := cli.Run(ctx, process); code != 130 || !strings.Contains(stderr.String(), "run it again to go on where it stopped") {
		t.Errorf("exit %d, %q; want 130 and what to do", code, stderr.String())
	}
	if left, err := os.ReadDir(dir); err != nil || strings.Contains(strings.Join(names(left), " "), "import-") {
		t.Errorf("what is left is %v, %v", names(left), err)
	}
}

func names(entries []os.DirEntry) (all []string) {
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}
