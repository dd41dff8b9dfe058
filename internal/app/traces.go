package app

import (
	"context"

	"hearth"
	"hearth/internal/observe"
	"hearth/internal/queue"
)

// openTraces begins to trace, where the configuration says where to. Its step is taken down last: what the other steps do is sent.
func (a *App) openTraces(ctx context.Context) (err error) {
	if a.config.OTLPEndpoint == "" {
		return nil
	}
	a.tracer, err = observe.NewTracer(observe.TraceOptions{
		Endpoint: a.config.OTLPEndpoint, Ratio: a.config.OTLPRatio, Version: a.options.Version, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.steps.add("traces", a.tracer.Close)
	a.metrics.Store = a.tracer.Observe(a.metrics.Store)
	return nil
}

// tracedKinds returns the kinds with their runs traced, each linked to the request that caused it.
func (a *App) tracedKinds(kinds []queue.Kind) []queue.Kind {
	if a.tracer == nil {
		return kinds
	}
	for i, kind := range kinds {
		kinds[i].Handler = func(ctx context.Context, task *queue.Task) error {
			ctx, end := a.tracer.Job(ctx, kind.Name, task.Job.ID, hearth.CauseOf(task.Job.Payload))
			err := kind.Handler(ctx, task)
			end(err)
			return err
		}
	}
	return kinds
}
