package testserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Mosquitto is a broker of one test; the test's end stops it. Its methods are called by one goroutine.
type Mosquitto struct {
	tb      testing.TB
	addr    string
	config  string
	process *exec.Cmd
	exited  chan struct{}
}

// StartMosquitto starts a mosquitto that anyone may use, with further lines of its configuration.
func StartMosquitto(tb testing.TB, lines ...string) *Mosquitto {
	tb.Helper()
	m := &Mosquitto{tb: tb, config: filepath.Join(tb.TempDir(), "mosquitto.conf")}
	tb.Cleanup(m.Kill)
	for try := 1; ; try++ {
		m.addr = FreeAddr(tb)
		_, port, _ := net.SplitHostPort(m.addr)
		lines := append([]string{"user root", "listener " + port + " 127.0.0.1", "allow_anonymous true"}, lines...) // of two lines, the last counts
		if err := os.WriteFile(m.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
		err := m.start()
		if err == nil {
			return m
		}
		if try == 5 { // another process may have taken the port meanwhile
			tb.Fatalf("start mosquitto: %v", err)
		}
	}
}

// Addr returns host and port.
func (m *Mosquitto) Addr() string { return m.addr }

// URL returns the address as integrations take it.
func (m *Mosquitto) URL() string { return "mqtt://" + m.addr }

func (m *Mosquitto) start() error {
	path, err := exec.LookPath("mosquitto")
	if err != nil { // where Debian has it
		path = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w: scripts/services.sh test installs it", err)
	}
	m.process = exec.CommandContext(context.Background(), path, "-c", m.config) //nolint:gosec // Debian's mosquitto
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func(process *exec.Cmd) {
		_ = process.Wait()
		close(exited)
	}(m.process)
	m.exited = exited
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-exited:
			return fmt.Errorf("it ended: %v", m.process.ProcessState)
		default:
		}
		if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", m.addr); err == nil {
			_ = conn.Close()
			return nil
		}
	}
	return fmt.Errorf("it does not answer at %s", m.addr)
}

// Kill ends the broker as a power cut would: what it holds in memory is lost.
func (m *Mosquitto) Kill() {
	if m.exited == nil {
		return
	}
	_ = m.process.Process.Kill()
	<-m.exited
	m.exited = nil
}

// Restart starts a broker that was killed, at the same address.
func (m *Mosquitto) Restart() {
	m.tb.Helper()
	if err := m.start(); err != nil {
		m.tb.Fatalf("restart mosquitto: %v", err)
	}
}
