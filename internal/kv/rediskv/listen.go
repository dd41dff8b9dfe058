package rediskv

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/redis/rueidis"
)

// message tells which names instance from invalidated; no name stands for all.
func message(from string, names []string) string {
	text := binary.AppendUvarint(nil, uint64(len(from)))
	text = append(text, from...)
	for _, name := range names {
		text = binary.AppendUvarint(text, uint64(len(name)))
		text = append(text, name...)
	}
	return string(text)
}

// readMessage reads what message wrote; ok is false for what it did not.
func readMessage(text string) (from string, names []string, ok bool) {
	var parts []string
	for rest := []byte(text); len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return "", nil, false
		}
		rest = rest[n:]
		parts = append(parts, string(rest[:size]))
		rest = rest[size:]
	}
	if len(parts) == 0 {
		return "", nil, false
	}
	return parts[0], parts[1:], true
}

// listenOn keeps the subscription standing until ctx ends.
func (c *Cache) listenOn(ctx context.Context) {
	for ctx.Err() == nil {
		if c.conn.Await(ctx) == nil {
			c.listen(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// listen subscribes, and returns when the subscription has ended.
func (c *Cache) listen(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	subscribed, ended := make(chan struct{}, 1), make(chan struct{})
	hooked := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" {
			select {
			case subscribed <- struct{}{}:
			default:
			}
		}
	})
	go func() {
		defer close(ended)
		client := c.conn.Client()
		_ = client.Receive(hooked, client.B().Subscribe().Channel(c.channel).Build(), c.heard)
		c.deaf(ctx)
	}()
	defer func() {
		cancel()
		<-ended
		c.deaf(ctx) // the subscription may have ended while resume was under way
	}()
	select {
	case <-subscribed:
	case <-ended:
		return
	}
	if !c.resume(ctx) {
		return
	}
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		select {
		case <-ended:
			return
		case <-c.wake:
		case <-retry.C:
		}
		if c.owing.Load() && !c.conn.Away() {
			_ = c.pay(ctx) // tried again until it is done
		}
	}
}

// resume makes the shared layer usable after a time without the others.
func (c *Cache) resume(ctx context.Context) bool {
	err := c.conn.Try(ctx, func(ctx context.Context, client rueidis.Client) error {
		return beginEpoch.Run(ctx, client, nameKeys(), []string{newEpoch(), "", c.channel, message(c.self, nil)}).Error()
	})
	if err == nil {
		err = c.pay(ctx)
	}
	if err != nil {
		return false
	}
	c.near.Invalidate(ctx, everything)
	c.hearing.Store(true)
	return true
}

// deaf drops what other instances could not tell us to drop any more.
func (c *Cache) deaf(ctx context.Context) {
	c.hearing.Store(false)
	c.near.Invalidate(ctx, everything)
}

// heard carries an invalidation of another instance out. It runs on the connection's reader, and does not wait.
func (c *Cache) heard(m rueidis.PubSubMessage) {
	from, names, ok := readMessage(m.Message)
	switch {
	case ok && from == c.self:
	case !ok || len(names) == 0:
		c.near.Invalidate(context.Background(), everything)
	default:
		c.near.Invalidate(context.Background(), names...)
	}
}
