package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/redis/rueidis"

	"hearth/internal/bus"
	"hearth/internal/redisconn"
)

// announceStep is how many channels one script takes.
const announceStep = 500

// allTopic is heard by all instances; the events of a channel have a topic below it.
const allTopic = "live"

func topicOf(channel string) string { return allTopic + ":" + channel }

// heard handles a message of the bus, on a channel's topic:
//
//	P GEN OFFSET TIME\nDATA   an event
//	B GEN                     the channel's positions are gone
//
// and on the topic of all:
//
//	G GEN                     another generation has begun
//	C NODE\nDATA              a message of centrifuge's, to all nodes if NODE is empty
func (b *Broker) heard(m bus.Message) {
	head, data, _ := strings.Cut(m.Data, "\n")
	words := strings.Split(head, " ")
	channel, _ := strings.CutPrefix(m.Topic, allTopic+":")
	switch {
	case words[0] == "P" && len(words) == 4:
		at, errAt := strconv.ParseUint(words[2], 10, 64)
		sent, errSent := strconv.ParseInt(words[3], 10, 64)
		if errAt != nil || errSent != nil {
			return
		}
		position := centrifuge.StreamPosition{Offset: at, Epoch: words[1]}
		_ = b.handler.HandlePublication(channel, &centrifuge.Publication{Offset: at, Data: []byte(data), Time: sent}, position, false, nil)
	case words[0] == "B" && len(words) == 2:
		b.comeBack(channel)
	case words[0] == "G" && len(words) == 2 && words[1] != b.generation():
		select {
		case b.renewed <- struct{}{}:
		default:
		}
	case words[0] == "C" && len(words) == 2 && b.control != nil && (words[1] == "" || words[1] == b.node.ID()):
		select {
		case b.controls <- []byte(data):
		default:
		}
	}
}

// handleControls passes centrifuge its messages until ctx ends.
func (b *Broker) handleControls(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case data := <-b.controls:
			if err := b.control.HandleControl(data); err != nil {
				b.options.Logger.ErrorContext(ctx, "a message of another instance could not be handled", "err", err)
			}
		}
	}
}

// resume makes the broker usable after the bus was disconnected.
func (b *Broker) resume(ctx context.Context) error {
	expired := ""
	if b.owing.Load() {
		expired = b.generation()
	}
	if err := b.adopt(ctx, expired); err != nil {
		return err
	}
	b.setUp(true)
	if b.first.Swap(true) {
		// What came meanwhile was missed; it is in the history, or a new generation has begun.
		b.comeBack(b.reading()...)
	}
	return nil
}

// resync determines the generation after the one that was found to be lost.
func (b *Broker) resync(ctx context.Context, lost string) error {
	if err := b.adopt(ctx, lost); err != nil {
		return err
	}
	b.comeBack(b.reading()...)
	return nil
}

// adopt takes over the generation of all; a new one begins if it is still the expired one. Every part gets it, and the
// channels that are read here, before any reader uses it.
func (b *Broker) adopt(ctx context.Context, expired string) error {
	b.syncing.Lock()
	defer b.syncing.Unlock()
	before := b.generation()
	if expired != "" && before != expired {
		return nil // another call has done so
	}
	owed := b.owing.Load()
	for try := 0; ; try++ {
		gen, begun, err := b.present(ctx, expired)
		if err == nil {
			err = b.announce(ctx, announcement{gen: gen, begun: begun, everywhere: true, channels: b.reading()})
		}
		if err == nil {
			b.gen.Store(&gen)
			if owed && gen != before {
				b.owing.Store(false)
			}
			return b.publishGeneration(ctx, before, gen)
		}
		if !errors.Is(err, errLost) || try == 3 {
			return err
		}
		// Another instance is about to announce the generation to all parts, or a part has lost it: then a new one begins.
		if try == 2 {
			expired = gen
			continue
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// present returns the generation of all, and whether it begins with this call.
func (b *Broker) present(ctx context.Context, expired string) (gen string, begun bool, err error) {
	err = b.conn.DoFor(ctx, b.options.Timeout, func(ctx context.Context, client rueidis.Client) error {
		answer, err := generation.Run(ctx, client, []string{rootKey}, []string{expired}).ToArray()
		if err != nil || len(answer) != 2 {
			return fmt.Errorf("redisbroker: a generation is read wrongly: %w", err)
		}
		began, err := answer[1].AsInt64()
		if err != nil {
			return err
		}
		begun = began == 1
		gen, err = answer[0].ToString()
		return err
	})
	return gen, begun, err
}

// publishGeneration has the other instances look for a generation that is new here.
func (b *Broker) publishGeneration(ctx context.Context, before, gen string) error {
	if before == gen || before == "" {
		return nil
	}
	b.options.Logger.WarnContext(ctx, "the positions of all live streams are lost; their readers begin anew", "kind", "system")
	return b.bus.Publish(ctx, allTopic, "G "+gen)
}

// reading returns the channels with readers on this instance.
func (b *Broker) reading() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.read))
}

// announceRead marks channels as wanted.
func (b *Broker) announceRead(ctx context.Context, channels []string) error {
	if !b.awaitUp(ctx) {
		return errDown
	}
	gen := b.generation()
	err := b.announce(ctx, announcement{gen: gen, channels: channels})
	if errors.Is(err, errLost) {
		return b.resync(ctx, gen) // announces all channels that are read, these among them
	}
	return err
}

// announcement is what is sent to the parts.
type announcement struct {
	gen string
	// begun: the generation begins now. everywhere: parts without channels get it too.
	begun, everywhere bool
	channels          []string
}

// announce sends it to the parts. It fails with errLost where one has another generation.
func (b *Broker) announce(ctx context.Context, a announcement) error {
	var names [parts][]string
	for _, channel := range a.channels {
		n := partOf(channel)
		names[n] = append(names[n], channel)
	}
	begun := "0"
	if a.begun {
		begun = "1"
	}
	now := b.options.Clock.Now()
	head := []string{a.gen, begun, strconv.FormatInt(now.UnixMilli(), 10), strconv.FormatInt(now.Add(2*b.options.Age).UnixMilli(), 10)}
	var calls []redisconn.Call
	for n := range parts {
		for first := a.everywhere; first || len(names[n]) > 0; first = false {
			step := min(announceStep, len(names[n]))
			calls = append(calls, redisconn.Call{
				Script: announce, Keys: []string{partKey(n)}, Args: slices.Concat(head, names[n][:step]),
			})
			names[n] = names[n][step:]
		}
	}
	lost := false
	err := b.conn.DoFor(ctx, b.options.Timeout, func(ctx context.Context, client rueidis.Client) error {
		for _, result := range redisconn.Run(ctx, client, calls...) {
			word, err := result.ToString()
			if err != nil {
				return err
			}
			lost = lost || word == "lost"
		}
		return nil
	})
	if err == nil && lost {
		return errLost
	}
	return err
}

// refresh keeps the channels that are read wanted, and carries renewals out, until ctx ends.
func (b *Broker) refresh(ctx context.Context) {
	tick := time.NewTicker(b.options.Age / 2)
	defer tick.Stop()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	pending := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if b.Up() {
				_ = b.announceRead(ctx, b.reading()) // the next tick is early enough to try again
			}
			continue
		case <-b.renewed:
			pending = true
		case <-retry.C:
		}
		if !pending && !b.owing.Load() || !b.Up() {
			continue // the subscription renews everything when it comes back
		}
		gen := b.generation()
		expired := ""
		if b.owing.Load() {
			expired = gen
		}
		if b.adopt(ctx, expired) == nil {
			pending = false
			if b.generation() != gen {
				b.comeBack(b.reading()...)
			}
		}
	}
}

// cutID splits the ID of a stream's entry.
func cutID(id string) (offset, sequence uint64, ok bool) {
	first, second, _ := strings.Cut(id, "-")
	offset, errFirst := strconv.ParseUint(first, 10, 64)
	sequence, errSecond := strconv.ParseUint(second, 10, 64)
	return offset, sequence, errFirst == nil && errSecond == nil
}

func offset(m rueidis.RedisMessage) (uint64, error) {
	text, err := m.ToString()
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}
