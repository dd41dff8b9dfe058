package app

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"hearth/internal/config"
	"hearth/internal/lifecycle"
)

// program is the program built, for tests of its inside.
type program struct{ *parts }

// newProgram builds the program; change may change its settings.
func newProgram(t *testing.T, cfg *config.Config, change ...func(*Settings)) *program {
	t.Helper()
	s := Settings{Config: cfg, Version: "test", Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&s)
	}
	stack := lifecycle.NewStack(s.Logger)
	built, err := build(t.Context(), s, stack)
	if err != nil {
		t.Fatal(errors.Join(err, stack.Stop(context.Background())))
	}
	p := &program{built}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// close stops what was built and started. It may be called twice.
func (p *program) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.Config.ShutdownTimeout)
	defer cancel()
	return p.stack.Stop(ctx)
}

// run is Run, and runWorker RunWorker, of what is built.
func (p *program) run(ctx context.Context, ready func(url string)) error {
	return errors.Join(p.serve(ctx, func(s Serving) { ready(s.URL) }), p.close())
}

func (p *program) runWorker(ctx context.Context, ready func()) error {
	return errors.Join(p.work(ctx, ready), p.close())
}
