package e2e

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// receiverOfTheGuide builds the receiver as it stands in the guide, and returns its path.
func receiverOfTheGuide(t *testing.T) (program string) {
	t.Helper()
	guide, err := os.ReadFile("../docs/guides/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, source, found := strings.Cut(string(guide), "```go\n")
	source, _, ended := strings.Cut(source, "```\n")
	if !found || !ended {
		t.Fatal("the guide has no program")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "receiver.go")
	program = filepath.Join(dir, "receiver")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// The receiver of the guide is built as it stands there, and takes the test of a webhook.
func TestTheReceiverOfTheGuideRuns(t *testing.T) {
	t.Parallel()
	program := receiverOfTheGuide(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	s := serve(t, "HEARTH_WEBHOOK_ALLOW=127.0.0.1")
	ann, _ := s.signup("ann@example.com")
	var hook struct{ ID, Secret string }
	ann.do("POST", "/webhooks", map[string]any{"name": "test", "url": "http://" + address + "/"}, 201).Into(t, &hook)
	receiver := exec.CommandContext(t.Context(), program, address)
	receiver.Env = append(os.Environ(), "SECRET="+hook.Secret)
	out, err := receiver.StdoutPipe()
	if err == nil {
		err = receiver.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = receiver.Process.Kill(); _ = receiver.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the receiver does not listen: %v", err)
		}
	}
	ann.do("POST", "/webhooks/"+hook.ID+"/test", nil, 202)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, `{"type":"webhook.test","timestamp":"`) || !strings.Contains(line, `"webhook_id":"`+hook.ID+`"`) {
		t.Errorf("the receiver prints %q, %v", line, err)
	}
}
