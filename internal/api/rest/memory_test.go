package rest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"hearth"
)

// What bodies are read at once is bounded, in all and of each caller; who waits for too long is refused, and a canceled request leaves nothing.
func TestMemoryForBodiesIsSharedByCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newBodyMemory(100)
		hold := func(caller string, n int64) func() {
			t.Helper()
			release, err := m.hold(t.Context(), caller, n)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		first := hold("ann", 1000) // as much as one may have
		start := time.Now()
		if _, err := m.hold(t.Context(), "ann", 1); hearth.ErrorCode(err) != hearth.CodeUnavailable || time.Since(start) != memoryWait {
			t.Errorf("after %v: %v; want %s after %v", time.Since(start), err, hearth.CodeUnavailable, memoryWait)
		}
		second := hold("bob", 50)
		gone, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, err := m.hold(gone, "eve", 1); err == nil {
			t.Error("a request that is gone has memory")
		}
		done := make(chan func())
		go func() { done <- hold("eve", 30) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("more than all of the memory is held")
		default:
		}
		first()
		third := <-done
		second()
		third()
		if len(m.callers) != 0 || !m.all.TryAcquire(100) {
			t.Errorf("%d callers hold memory after the last", len(m.callers))
		}
	})
}

// slowConn is an answer whose connection ends the reads of its request's body at a deadline.
type slowConn struct {
	http.ResponseWriter
	body *io.PipeReader
}

func (c *slowConn) SetReadDeadline(time.Time) error {
	return c.body.CloseWithError(context.DeadlineExceeded)
}

// Nobody keeps memory from others with bodies that hardly arrive. One that arrives fast, or has arrived, is not cut off.
func TestSlowBodiesGiveTheirMemoryToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rt := &Router{memory: newBodyMemory(100 << 20)}
		send := func(ip string, length int64) (in *io.PipeWriter, read func() error) {
			t.Helper()
			out, in := io.Pipe()
			r := httptest.NewRequestWithContext(&requestContext{Context: t.Context(), request: Request{Caller: hearth.Caller{IP: ip}}}, "POST", "/", out)
			r.ContentLength = length
			release, err := rt.admitBody(&slowConn{httptest.NewRecorder(), out}, r, 25<<20)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, r.Body)
				time.Sleep(3 * time.Second) // it is worked on
				release()
				ended <- err
			}()
			return in, func() error { return <-ended }
		}
		const length = 25 << 20
		arrived, endOfArrived := send("192.0.2.1", length)
		_, _ = arrived.Write(make([]byte, length))
		_, endOfSlow := send("192.0.2.1", length)
		fast, endOfFast := send("192.0.2.2", length)
		_, endOfSilent := send("192.0.2.2", length)
		go func() {
			for range 100 {
				_, _ = fast.Write(bytes.Repeat([]byte("x"), length/100))
				time.Sleep(100 * time.Millisecond)
			}
			_ = fast.Close()
		}()
		start := time.Now()
		last, endOfLast := send("192.0.2.3", length)
		if waited := time.Since(start); waited < slowAfter || waited >= memoryWait {
			t.Errorf("the one who waits has memory after %v", waited)
		}
		_, _ = last.Write(make([]byte, length))
		for _, in := range []*io.PipeWriter{arrived, last} {
			_ = in.Close()
		}
		for name, end := range map[string]func() error{"slow": endOfSlow, "silent": endOfSilent} {
			if err := end(); hearth.ErrorCode(err) != hearth.CodeUnavailable {
				t.Errorf("the %s body: %v", name, err)
			}
		}
		for name, end := range map[string]func() error{"arrived": endOfArrived, "fast": endOfFast, "last": endOfLast} {
			if err := end(); err != nil {
				t.Errorf("the %s body: %v", name, err)
			}
		}
		if len(rt.memory.arriving) != 0 || len(rt.memory.callers) != 0 {
			t.Errorf("%d bodies and %d callers hold memory after the last", len(rt.memory.arriving), len(rt.memory.callers))
		}
	})
}
