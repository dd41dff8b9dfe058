// Package lifecycle stops the parts of a program in the reverse order of their start.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hearth"
)

// Stack is the started parts of a program. It is used by one goroutine.
type Stack struct {
	log   *slog.Logger
	parts []part
}

type part struct {
	name string
	stop func(context.Context) error
}

// NewStack returns an empty stack.
func NewStack(log *slog.Logger) *Stack { return &Stack{log: log} }

// Add puts a part on the stack: it will be stopped before everything that was added earlier.
func (s *Stack) Add(name string, stop func(context.Context) error) {
	s.parts = append(s.parts, part{name, stop})
}

// Go does work in the background, with what ctx carries, until the part of that name is stopped; stopping waits for its end.
func (s *Stack) Go(ctx context.Context, name string, work ...func(context.Context)) {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, do := range work {
		running.Go(func() { do(working) })
	}
	s.Add(name, func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// Stop stops the parts, the last first, each whatever the others return, and empties the stack. It joins the errors.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	for len(s.parts) > 0 {
		last := s.parts[len(s.parts)-1]
		s.parts = s.parts[:len(s.parts)-1]
		start := time.Now()
		if err := last.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", last.name, err))
		}
		s.log.DebugContext(ctx, "stopped", "step", last.name, "duration", time.Since(start))
	}
	return errors.Join(errs...)
}

// Periodic is work that is repeated.
type Periodic struct {
	Name  string
	Every time.Duration
	Work  func(context.Context) error
}

// Repeat does the work until ctx ends, and logs its failures. That something is unavailable is logged once for as long as it is.
func (p Periodic) Repeat(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(p.Every)
	defer ticker.Stop()
	away := false
	for {
		err := p.Work(ctx)
		unavailable := hearth.ErrorCode(err) == hearth.CodeUnavailable
		if err != nil && ctx.Err() == nil && (!away || !unavailable) {
			log.ErrorContext(ctx, "background work failed", "work", p.Name, "err", err)
		}
		away = unavailable
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
