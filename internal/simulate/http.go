package simulate

import (
	"context"
	"sync"
	"time"

	client "hearth/client/go"
)

const (
	// pollFor is how long a request waits for the next command, and retryAfter the pause after one that failed.
	pollFor    = "25s"
	retryAfter = 5 * time.Second
)

// httpLink is a device that speaks HTTP: it sends its readings, and hears of the desired state by the answers to its heartbeats.
type httpLink struct {
	client *client.Client
	id     string

	desired int64
	deltas  func(map[string]any)
	cancel  context.CancelFunc
	polling sync.WaitGroup
}

var _ link = (*httpLink)(nil)

func (l *httpLink) connect(ctx context.Context, orders func(order), deltas func(map[string]any)) error {
	ctx, l.cancel = context.WithCancel(ctx)
	l.deltas, l.desired = deltas, 0
	l.polling.Go(func() { l.poll(ctx, orders) })
	return nil
}

func (l *httpLink) leave() {
	l.cancel()
	l.polling.Wait()
}

// poll waits for commands, acknowledges each and hands it on.
func (l *httpLink) poll(ctx context.Context, orders func(order)) {
	for {
		c, err := l.client.NextCommand(ctx, l.id, client.NextCommandParams{Wait: pollFor})
		if err == nil && c != nil {
			err = l.client.AcknowledgeCommand(ctx, l.id, c.ID)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(retryAfter):
			}
		case c != nil:
			orders(order{c.ID, c.Name, c.Params})
		}
	}
}

func (l *httpLink) send(ctx context.Context, reports []report) error {
	var logs []client.NewDeviceLog
	for _, r := range reports {
		for event, value := range r.values {
			logs = append(logs, client.NewDeviceLog{Event: event, Value: value, Timestamp: r.at})
		}
	}
	if _, err := l.client.CreateLogs(ctx, logs); err != nil {
		return err
	}
	alive, err := l.client.SendHeartbeat(ctx, l.id, client.NewHeartbeat{})
	if err != nil || alive.Pending.DesiredVersion == l.desired {
		return nil //nolint:nilerr // the readings are stored, and the next heartbeat follows
	}
	twin, err := l.client.GetTwin(ctx, l.id)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	l.desired = twin.DesiredVersion
	l.deltas(twin.Delta)
	return nil
}

func (l *httpLink) state(ctx context.Context, changed map[string]any) error {
	_, err := l.client.UpdateTwinReported(ctx, l.id, changed)
	return err
}

func (l *httpLink) answer(ctx context.Context, id string, a answer) error {
	return l.client.AnswerCommand(ctx, l.id, id, client.CommandAnswer{Ok: a.failure == "", Result: a.result, Error: a.failure})
}
