package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// steps is a stack of named things to take down.
type steps struct{ stack []step }

type step struct {
	name string
	down func(context.Context) error
}

// add puts a step on the stack: it will be taken down before everything that was added earlier.
func (s *steps) add(name string, down func(context.Context) error) {
	s.stack = append(s.stack, step{name, down})
}

// run takes the steps down, the last first, each whatever the others say, and empties the stack.
func (s *steps) run(ctx context.Context, log *slog.Logger) error {
	var errs []error
	for len(s.stack) > 0 {
		last := s.stack[len(s.stack)-1]
		s.stack = s.stack[:len(s.stack)-1]
		start := time.Now()
		if err := last.down(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", last.name, err))
		}
		log.DebugContext(ctx, "stopped", "step", last.name, "duration", time.Since(start))
	}
	return errors.Join(errs...)
}
