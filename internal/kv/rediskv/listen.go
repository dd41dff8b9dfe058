package rediskv

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/redisconn"
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

// listenOn hears the other instances, and tells them what is owed, until ctx ends.
func (c *Cache) listenOn(ctx context.Context) {
	c.work.Go(func() { c.payOn(ctx) })
	c.conn.Listen(ctx, redisconn.Listener{
		Channels: []string{c.channel}, Heard: func(_, text string) { c.heard(text) },
		Up: c.resume, Down: func() { c.deaf(ctx) },
	})
}

// payOn tells Redis what is owed as soon as it can be told.
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
	err := c.conn.Try(ctx, func(ctx context.Context, client rueidis.Client) error {
		return beginEpoch.Run(ctx, client, nameKeys(), []string{newEpoch(), "", c.channel, message(c.self, nil)}).Error()
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

// deaf drops what other instances could not tell us to drop any more.
func (c *Cache) deaf(ctx context.Context) {
	c.hearing.Store(false)
	c.near.Invalidate(ctx, everything)
}

// heard carries an invalidation of another instance out. It runs on the connection's reader, and does not wait.
func (c *Cache) heard(text string) {
	from, names, ok := readMessage(text)
	switch {
	case ok && from == c.self:
	case !ok || len(names) == 0:
		c.near.Invalidate(context.Background(), everything)
	default:
		c.near.Invalidate(context.Background(), names...)
	}
}
