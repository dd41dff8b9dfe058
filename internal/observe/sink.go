package observe

import (
	"io"
	"log/slog"
	"sync"
	"time"
)

// maxGathered bounds the lines that wait to be written together, in bytes.
const maxGathered = 32 << 10

// sink is one writer with its least level. Lines are written whole, in the order in which they were logged.
type sink struct {
	level slog.Level
	w     io.Writer
	// delay is how long a line up to slog.LevelInfo may wait for others, so that they are written together: the line of a request costs less than
	// a call of the system. A line above it, and what waits before it, is written at once.
	delay time.Duration

	mu       sync.Mutex
	gathered []byte
	// due writes what is gathered; set once a line waits for it. waiting says that it was started.
	due     *time.Timer
	waiting bool
}

// write writes the line, or has it wait. The error is of what was written.
func (s *sink) write(line []byte, level slog.Level) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delay == 0 {
		_, err := s.w.Write(line)
		return err
	}
	s.gathered = append(s.gathered, line...)
	switch {
	case level > slog.LevelInfo, len(s.gathered) >= maxGathered:
		return s.flush()
	case s.waiting:
	case s.due == nil:
		s.due, s.waiting = time.AfterFunc(s.delay, s.late), true
	default:
		s.due.Reset(s.delay)
		s.waiting = true
	}
	return nil
}

// late writes the lines whose time is over. There is nowhere to report a failure.
func (s *sink) late() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	_ = s.flush()
}

// flush writes what is gathered. The caller holds mu.
func (s *sink) flush() error {
	if len(s.gathered) == 0 {
		return nil
	}
	_, err := s.w.Write(s.gathered)
	if s.gathered = s.gathered[:0]; cap(s.gathered) > 2*maxGathered {
		s.gathered = nil
	}
	return err
}

// Close implements io.Closer: it writes what is gathered. The writer stays open.
func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.flush() // as with any line, there is nowhere to report it
	return nil
}
