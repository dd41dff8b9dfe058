//go:build clients

package clienttest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// example returns the block of code of docs/guides/realtime.md that holds the mark, so that the code that users copy is tested.
func example(t *testing.T, mark string) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/guides/realtime.md")
	if err != nil {
		t.Fatal(err)
	}
	// Every second piece is between fences; its first line names the language.
	for i, piece := range strings.Split(string(text), "```") {
		if _, code, _ := strings.Cut(piece, "\n"); i%2 == 1 && strings.Contains(code, mark) {
			return code
		}
	}
	t.Fatalf("docs/guides/realtime.md has no example with %q", mark)
	return ""
}

// here puts the server's address in place of the one in the docs.
func (c *server) here(code string) string {
	return strings.NewReplacer("https://hearth.example", c.url, "wss://hearth.example", "ws"+strings.TrimPrefix(c.url, "http")).Replace(code)
}

// documentedPage is a page with the EventSource example.
func documentedPage(t *testing.T) []byte {
	return fmt.Appendf(nil, `<!doctype html><meta charset="utf-8"><script>
const accessToken = %q, id = %q, shown = [];
let read = 0;
const show = (event) => shown.push(event.data.n), readEverything = () => read++;
%s</script>`, token, lampID, example(t, "new EventSource("))
}

// follow lets an example run while its connection is cut, and looks at how many events it has shown: each must have come the
// given number of times.
func (c *server) follow(t *testing.T, times int, shown func() int) {
	t.Helper()
	// An example joins by itself, at some moment: events before it are not its.
	first := 0
	eventually(t, "the example shows an event", func() bool {
		c.heartbeat(first)
		first++
		return shown() > 0
	})
	before, since := shown(), time.Now()
	eventually(t, "the first events have come", func() bool {
		if now := shown(); now != before {
			before, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
	const events = 20
	for i := range events {
		if i == events/2 {
			c.listener.cut()
		}
		c.heartbeat(first + i)
	}
	eventually(t, "what was sent during the cut has come", func() bool { return shown() >= before+events*times })
	if got := shown() - before; got != events*times {
		t.Errorf("%d events were shown, want %d", got, events*times)
	}
}

// run starts a program that writes a line for each event that it shows, and returns the number of lines.
func run(t *testing.T, name string, args ...string) func() int {
	t.Helper()
	command := exec.Command(name, args...)
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var lines atomic.Int64
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines.Add(1)
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have failed by itself
		<-read
		if err := command.Wait(); command.ProcessState.Exited() {
			t.Errorf("the example ended: %v\n%s", err, stderr.String())
		}
	})
	return func() int { return int(lines.Load()) }
}

func TestTheDocumentedWebSocketRunsUnderNode(t *testing.T) {
	t.Parallel()
	c := newServer(t)
	folder := t.TempDir()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	program := fmt.Sprintf(`import WebSocket from 'ws';
globalThis.WebSocket ??= WebSocket; // a browser and newer Nodes have it
const id = %q, refresh = async () => ({ access_token: %q });
const show = (event) => console.log(event.data.n), readEverything = () => process.exit(3);
`, lampID, token) + c.here(example(t, "new Centrifuge("))
	file := filepath.Join(folder, "example.mjs")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	c.follow(t, 2, run(t, "node", file)) // on the person's channel and on the device's
}

func TestTheDocumentedEventSourceRunsInABrowser(t *testing.T) {
	t.Parallel()
	c := newServer(t)
	browser := browse(t, c.url+"/documented")
	c.follow(t, 1, func() int {
		var shown []int
		text, err := chromedp.Run(browser, chromedp.Evaluate[string]("JSON.stringify(shown)"))
		if err == nil {
			err = json.Unmarshal([]byte(text), &shown)
		}
		if err != nil {
			t.Fatal(err)
		}
		return len(shown)
	})
}

func TestTheDocumentedGoClientsRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, mark, imports string }{
		{"hearth", "client.Follow(", `"hearth/client/go"`},
		{"centrifuge-go", "centrifuge.NewJsonClient(", `"errors"; "github.com/centrifugal/centrifuge-go"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newServer(t)
			folder := t.TempDir()
			program := fmt.Sprintf(`package main

import ("context"; "fmt"; "os"; %[1]s)

type source struct{}

func (source) Access(context.Context) (string, error) { return %[2]q, nil }

var tokens source

const token, id = %[2]q, %[3]q

func show(value any) { fmt.Println(value != nil) }

func readEverything(context.Context) error { return nil }

func follow(ctx context.Context) error {
%[4]s}

func main() {
	if err := follow(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}
`, test.imports, token, lampID, c.here(example(t, test.mark)))
			file, binary := filepath.Join(folder, "main.go"), filepath.Join(folder, "example")
			if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, file).CombinedOutput(); err != nil {
				t.Fatalf("the example does not compile: %v\n%s", err, out)
			}
			c.follow(t, 1, run(t, binary))
		})
	}
}
