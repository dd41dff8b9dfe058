package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/cli"
)

func TestServeRunsUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	logs, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		args := []string{"serve", "--addr", "127.0.0.1:0", "--admin-addr", "off", "--data-dir", filepath.Join(t.TempDir(), "data")}
		done <- cli.Run(ctx, &cli.Process{Args: args, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: writer})
		_ = writer.Close()
	}()

	lines := bufio.NewScanner(logs)
	url := ""
	for url == "" && lines.Scan() {
		var line struct{ Msg, URL string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("the log is not JSON: %v in %q", err, lines.Text())
		}
		if line.Msg == "serving" {
			url = line.URL
		}
	}
	if url == "" {
		t.Fatalf("the log names no URL; exit %d", <-done)
	}
	go func() { _, _ = io.Copy(io.Discard, logs) }()

	if code, stdout, stderr := run(t, "healthcheck", "--url", url); code != 0 {
		t.Errorf("healthcheck: exit %d, %q, %q", code, stdout, stderr)
	}
	response, err := http.Get(url + "/health/live")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("live is %d", response.StatusCode)
	}

	cancel()
	if code := <-done; code != 0 {
		t.Errorf("serve ended with %d; want 0 after it was told to stop", code)
	}
}

func TestAStartThatFailsSaysWhyOnce(t *testing.T) {
	t.Parallel()
	code, _, stderr := run(t, "serve", "--addr", "127.0.0.1:0", "--data-dir", "/dev/null/data")
	if code != 1 || strings.Count(stderr, "/dev/null") != 1 {
		t.Errorf("exit %d, %q; want 1 and the cause once", code, stderr)
	}
}

func TestOpenapiPrintsTheDocumentAlone(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := run(t, "openapi")
	var document struct{ OpenAPI string }
	if err := json.NewDecoder(bytes.NewBufferString(stdout)).Decode(&document); err != nil || code != 0 || stderr != "" {
		t.Fatalf("exit %d, %v, %q", code, err, stderr)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Errorf("the document is of OpenAPI %q; want 3.1", document.OpenAPI)
	}
}
