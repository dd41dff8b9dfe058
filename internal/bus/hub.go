package bus

import (
	"context"
	"slices"
	"sync"
	"time"
)

// retryUp is the pause after a listener's Up failed.
const retryUp = 50 * time.Millisecond

// Hub is the part of an end that every adapter has: the listeners of this process, and what they follow.
type Hub struct {
	// reach makes the adapter receive the topics that Follows reports, and stop receiving the others. It returns once it does.
	reach func(ctx context.Context, topics []string) error

	mu     sync.Mutex
	topics map[string][]*subscription // the slices are replaced, never changed
	// link ends when the link goes down; it has ended while the link is down. up is closed while the link is up.
	link   context.Context
	cancel context.CancelFunc
	up     chan struct{}
}

// NewHub makes a hub whose link is down. reach may be nil, where every topic is received anyway.
func NewHub(reach func(ctx context.Context, topics []string) error) *Hub {
	if reach == nil {
		reach = func(context.Context, []string) error { return nil }
	}
	h := &Hub{reach: reach, topics: map[string][]*subscription{}, up: make(chan struct{})}
	h.link, h.cancel = context.WithCancel(context.Background())
	h.cancel()
	return h
}

// SetUp says that the topics of Topics are received from now on.
func (h *Hub) SetUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link.Err() != nil {
		h.link, h.cancel = context.WithCancel(context.Background())
		close(h.up)
	}
}

// SetDown says that messages may be missed from now on.
func (h *Hub) SetDown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link.Err() == nil {
		h.cancel()
		h.up = make(chan struct{})
	}
}

// Topics returns all topics that a listener follows.
func (h *Hub) Topics() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	topics := make([]string, 0, len(h.topics))
	for topic := range h.topics {
		topics = append(topics, topic)
	}
	return topics
}

// Follows reports whether a listener follows the topic.
func (h *Hub) Follows(topic string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.topics[topic]) > 0
}

// Deliver hands a message to the listeners that follow its topic. It is called by one goroutine at a time.
func (h *Hub) Deliver(m Message) {
	h.mu.Lock()
	to := h.topics[m.Topic]
	h.mu.Unlock()
	for _, s := range to {
		s.hear(m)
	}
}

// Listen is Bus's.
func (h *Hub) Listen(l Listener) Subscription {
	if l.Up == nil {
		l.Up = func(context.Context) error { return nil }
	}
	if l.Down == nil {
		l.Down = func() {}
	}
	s := &subscription{hub: h, listener: l, over: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	h.add(s, l.Topics)
	go s.run()
	return s
}

// add returns the topics that the subscription did not follow before.
func (h *Hub) add(s *subscription, topics []string) (added []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		if old := h.topics[topic]; !slices.Contains(old, s) {
			h.topics[topic] = append(slices.Clip(old), s)
			added = append(added, topic)
		}
	}
	return added
}

// remove ends the following of topics, of all if there are none.
func (h *Hub) remove(s *subscription, topics []string) {
	h.mu.Lock()
	if topics == nil {
		for topic := range h.topics {
			topics = append(topics, topic)
		}
	}
	var removed []string
	for _, topic := range topics {
		old := h.topics[topic]
		if !slices.Contains(old, s) {
			continue
		}
		removed = append(removed, topic)
		if rest := slices.DeleteFunc(slices.Clone(old), func(other *subscription) bool { return other == s }); len(rest) > 0 {
			h.topics[topic] = rest
		} else {
			delete(h.topics, topic)
		}
	}
	h.mu.Unlock()
	if len(removed) > 0 {
		ended, cancel := context.WithCancel(context.Background())
		cancel() // it is not waited for
		_ = h.reach(ended, removed)
	}
}

// subscription implements Subscription.
type subscription struct {
	hub      *Hub
	listener Listener
	ctx      context.Context // the subscription's life, which is not a call's
	cancel   context.CancelFunc
	over     chan struct{}

	// hearing is held while Heard runs.
	hearing sync.Mutex
	closed  bool
}

func (s *subscription) hear(m Message) {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	if !s.closed {
		s.listener.Heard(m)
	}
}

// run calls Up and Down until the subscription is closed.
func (s *subscription) run() {
	defer close(s.over)
	for s.ctx.Err() == nil {
		s.hub.mu.Lock()
		up := s.hub.up
		s.hub.mu.Unlock()
		select {
		case <-up:
		case <-s.ctx.Done():
			return
		}
		s.hub.mu.Lock()
		link := s.hub.link
		s.hub.mu.Unlock()
		if s.serve(link) != nil {
			select {
			case <-time.After(retryUp):
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// serve calls Up, waits until the link ends, and calls Down.
func (s *subscription) serve(link context.Context) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(link, cancel)()
	if err := s.hub.reach(ctx, s.listener.Topics); err != nil {
		return err
	}
	err := s.listener.Up(ctx)
	if err == nil {
		<-ctx.Done()
	}
	s.listener.Down()
	return err
}

// Follow implements Subscription.
func (s *subscription) Follow(ctx context.Context, topics ...string) error {
	for _, topic := range topics {
		if err := Check(topic, ""); err != nil {
			return err
		}
	}
	s.hub.mu.Lock()
	down := s.hub.link.Err() != nil
	s.hub.mu.Unlock()
	if down {
		return Unavailable(nil)
	}
	added := s.hub.add(s, topics)
	if err := s.hub.reach(ctx, topics); err != nil {
		if len(added) > 0 {
			s.hub.remove(s, added)
		}
		return err
	}
	return nil
}

// Unfollow implements Subscription.
func (s *subscription) Unfollow(topics ...string) {
	if len(topics) > 0 {
		s.hub.remove(s, topics)
	}
}

// Close implements Subscription.
func (s *subscription) Close() {
	s.cancel()
	s.hub.remove(s, nil)
	s.hearing.Lock()
	s.closed = true
	s.hearing.Unlock()
	<-s.over
}
