package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pieces counts the writes of what it keeps.
type pieces struct {
	mu sync.Mutex
	bytes.Buffer
	writes int
}

func (p *pieces) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	return p.Buffer.Write(data)
}

func (p *pieces) expect(t *testing.T, writes int, text string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes != writes || p.String() != text {
		t.Errorf("%d writes of %q; want %d of %q", p.writes, p.String(), writes, text)
	}
}

func TestLinesThatWaitAreWrittenTogetherAndInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out pieces
		s := &sink{w: &out, delay: 10 * time.Millisecond}
		log := func(line string, level slog.Level) {
			if err := s.write([]byte(line), level); err != nil {
				t.Error(err)
			}
		}
		log("a\n", slog.LevelInfo)
		log("b\n", slog.LevelDebug)
		out.expect(t, 0, "")
		time.Sleep(11 * time.Millisecond)
		synctest.Wait()
		out.expect(t, 1, "a\nb\n")

		// A warning is written at once, behind what waits before it.
		log("c\n", slog.LevelInfo)
		log("d\n", slog.LevelWarn)
		out.expect(t, 2, "a\nb\nc\nd\n")

		log("e\n", slog.LevelInfo)
		time.Sleep(11 * time.Millisecond)
		synctest.Wait()
		out.expect(t, 3, "a\nb\nc\nd\ne\n")

		log("f\n", slog.LevelInfo)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		out.expect(t, 4, "a\nb\nc\nd\ne\nf\n")
	})
}

func TestWhatWaitsToBeLoggedIsBounded(t *testing.T) {
	t.Parallel()
	var out pieces
	s := &sink{w: &out, delay: time.Hour}
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 2 * maxGathered / len(line) {
		if err := s.write(line, slog.LevelInfo); err != nil {
			t.Error(err)
		}
	}
	if out.writes != 2 || out.Len() != 2*maxGathered {
		t.Errorf("%d writes of %d bytes; want 2 of %d", out.writes, out.Len(), 2*maxGathered)
	}
}
