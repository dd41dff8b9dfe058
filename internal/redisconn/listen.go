package redisconn

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// Listener hears the messages of channels.
type Listener struct {
	Channels []string
	// Heard is called with each message, one at a time, on the connection's reader: it must not wait, and not ask Redis.
	Heard func(channel, message string)
	// Up is called each time that the channels are subscribed to; an error has them subscribed to anew. Nil: nothing is done.
	Up func(ctx context.Context) error
	// Down is called each time that messages may be missed from now on, at once and again before the next Up; nil: nothing
	// is done. It must not wait.
	Down func()
}

// Listen hears messages until ctx ends. A connection that is silent is noticed within 0.9 s.
func (c *Conn) Listen(ctx context.Context, l Listener) {
	if l.Up == nil {
		l.Up = func(context.Context) error { return nil }
	}
	if l.Down == nil {
		l.Down = func() {}
	}
	for ctx.Err() == nil {
		if c.Await(ctx) == nil {
			c.listen(ctx, l)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// listen subscribes, and returns when the subscription has ended.
func (c *Conn) listen(ctx context.Context, l Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	confirmed, ended := make(chan struct{}, len(l.Channels)), make(chan struct{})
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" {
			select {
			case confirmed <- struct{}{}:
			default:
			}
		}
	})
	go func() {
		defer close(ended)
		_ = c.client.Receive(hooked, c.client.B().Subscribe().Channel(l.Channels...).Build(), func(m rueidis.PubSubMessage) {
			l.Heard(m.Channel, m.Message)
		})
		l.Down()
	}()
	defer func() {
		cancel()
		<-ended
		l.Down() // the subscription may have ended while Up was under way
	}()
	for range l.Channels {
		select {
		case <-confirmed:
		case <-ended:
			return
		}
	}
	if l.Up(ctx) == nil {
		<-ended
	}
}
