package rediskv

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/bus"
)

// topic is the bus's of invalidations.
const topic = "cache"

// message says which names were invalidated; no name stands for all.
func message(names []string) string {
	var text []byte
	for _, name := range names {
		text = binary.AppendUvarint(text, uint64(len(name)))
		text = append(text, name...)
	}
	return string(text)
}

// readMessage reads what message wrote; ok is false for what it did not.
func readMessage(text string) (names []string, ok bool) {
	for rest := []byte(text); len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return nil, false
		}
		rest = rest[n:]
		names = append(names, string(rest[:size]))
		rest = rest[size:]
	}
	return names, true
}

// payOn sends Redis what is owed as soon as that can be.
func (c *Cache) payOn(ctx context.Context) {
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
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
func (c *Cache) resume(ctx context.Context) error {
	err := c.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return beginEpoch.Run(ctx, client, nameKeys(), []string{newEpoch(), "", c.bus.Channel(topic), c.bus.ID() + message(nil)}).Error()
	})
	if err == nil {
		err = c.pay(ctx)
	}
	if err != nil {
		return err
	}
	c.near.Invalidate(ctx, everything)
	c.hearing.Store(true)
	return nil
}

// deaf drops what other instances may change unnoticed from now on.
func (c *Cache) deaf() {
	c.hearing.Store(false)
	c.near.Invalidate(context.Background(), everything)
}

// heard carries an invalidation of another instance out.
func (c *Cache) heard(m bus.Message) {
	names, ok := readMessage(m.Data)
	switch {
	case m.From == c.bus.ID():
	case !ok || len(names) == 0:
		c.near.Invalidate(context.Background(), everything)
	default:
		c.near.Invalidate(context.Background(), names...)
	}
}
