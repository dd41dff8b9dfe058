package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startLimit bounds the wait for a server that starts or stops.
const startLimit = 20 * time.Second

// Redis is a redis-server of one test; the test's end stops it. Its methods fail the test on an error, and are called by
// one goroutine.
type Redis struct {
	tb       testing.TB
	dir      string
	addr     string
	settings []string
	process  *exec.Cmd
	exited   chan struct{}
	hung     bool
}

// StartRedis starts a redis-server that keeps nothing on disk. Settings are further arguments, such as "--appendonly",
// "yes".
func StartRedis(tb testing.TB, settings ...string) *Redis {
	tb.Helper()
	r := &Redis{tb: tb, dir: tb.TempDir(), settings: settings}
	tb.Cleanup(r.kill)
	for try := 1; ; try++ {
		r.addr = FreeAddr(tb)
		err := r.start()
		if err == nil {
			return r
		}
		if try == 5 { // another process may have taken the port meanwhile
			tb.Fatalf("start redis-server: %v", err)
		}
	}
}

// StartRedisCluster starts a cluster of one node, which refuses a command whose keys lie in different slots.
func StartRedisCluster(tb testing.TB) *Redis {
	tb.Helper()
	r := StartRedis(tb, "--cluster-enabled", "yes")
	r.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	for deadline := time.Now().Add(startLimit); !strings.Contains(r.Do("CLUSTER", "INFO"), "cluster_state:ok"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("the cluster does not come up")
		}
	}
	return r
}

// Addr returns host and port.
func (r *Redis) Addr() string { return r.addr }

// URL returns the address as HEARTH_REDIS_URL takes it.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Dir returns the folder that the server keeps its files in.
func (r *Redis) Dir() string { return r.dir }

func (r *Redis) start() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: scripts/services.sh test installs it", err)
	}
	logFile := filepath.Join(r.dir, "log")
	_, port, _ := net.SplitHostPort(r.addr)
	args := append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--daemonize", "no", "--logfile", logFile,
		"--save", "", "--appendonly", "no", "--databases", "16",
	}, r.settings...)
	r.process = exec.CommandContext(context.Background(), path, args...) //nolint:gosec // Debian's redis-server
	// A test binary that is killed leaves no server behind.
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func(process *exec.Cmd) {
		_ = process.Wait()
		close(exited)
	}(r.process)
	r.exited, r.hung = exited, false
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-exited:
			text, _ := os.ReadFile(logFile)
			return fmt.Errorf("it ended: %s", text)
		default:
		}
		if answer, err := r.ask("PING"); err == nil && (strings.HasPrefix(answer, "+PONG") || strings.HasPrefix(answer, "-NOAUTH")) {
			return nil
		}
	}
	return errors.New("it does not answer")
}

// Start starts a stopped server again, on the same port and with what it kept on disk.
func (r *Redis) Start() {
	r.tb.Helper()
	if err := r.start(); err != nil {
		r.tb.Fatalf("start redis-server again: %v", err)
	}
}

// Stop kills the server, as a crash does.
func (r *Redis) Stop() {
	r.tb.Helper()
	r.kill()
}

// kill ends the process, if it runs, and waits for that.
func (r *Redis) kill() {
	if r.process == nil || r.process.Process == nil || r.exited == nil {
		return
	}
	_ = r.process.Process.Kill()
	<-r.exited
}

// Hang stops the process without ending it: connections stay open and nothing answers.
func (r *Redis) Hang() {
	r.tb.Helper()
	r.signal(syscall.SIGSTOP)
	r.hung = true
}

// Resume ends what Hang began.
func (r *Redis) Resume() {
	r.tb.Helper()
	r.signal(syscall.SIGCONT)
	r.hung = false
}

func (r *Redis) signal(s syscall.Signal) {
	r.tb.Helper()
	if err := r.process.Process.Signal(s); err != nil {
		r.tb.Fatalf("signal redis-server: %v", err)
	}
}

// Flush removes everything that the server keeps.
func (r *Redis) Flush() {
	r.tb.Helper()
	r.Do("FLUSHALL")
}

// Do runs a command whose words hold no spaces, and returns the first line of the answer without its type.
func (r *Redis) Do(words ...string) string {
	r.tb.Helper()
	answer, err := r.ask(words...)
	if err == nil && strings.HasPrefix(answer, "-") {
		err = errors.New(answer[1:])
	}
	if err != nil {
		r.tb.Fatalf("redis-server: %s: %v", words[0], err)
	}
	return answer[1:]
}

// ask returns the first line of an answer; of a text, the text.
func (r *Redis) ask(words ...string) (string, error) {
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", r.Addr())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(startLimit)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, strings.Join(words, " ")+"\r\n"); err != nil {
		return "", err
	}
	lines := bufio.NewReader(conn)
	line, err := lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("an empty answer")
	}
	if size, err := strconv.Atoi(line[1:]); line[0] == '$' && err == nil && size >= 0 {
		text := make([]byte, size)
		_, err := io.ReadFull(lines, text)
		return "$" + string(text), err
	}
	return line, nil
}
