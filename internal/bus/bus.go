// Package bus carries every message between the processes of one service: which caches to invalidate, live events, questions for
// figures, wake-ups. Nothing else passes between processes, but for what they store.
//
// # What a bus promises
//
//   - Order: the messages of a topic are heard in one order by all, and those of one publisher in the order in which its calls of
//     Publish returned. On one machine and on one Redis server that holds across topics as well; in a Redis cluster it does not.
//   - At most once: a message is heard once, by the listeners that follow its topic at that time, in the publisher's process
//     too. It is not kept for others and never replayed: what has to survive is stored, and read again after Up.
//   - No silent loss: while a process's link is down it hears nothing. Down of its listeners is called within a second, and Up
//     when everything that they follow is heard again. Publish fails with CodeUnavailable where the link is known to be down; the message
//     is lost.
//   - Bounds: a topic has 1 to 200 bytes, a message up to 4 MiB; CodeValidationFailed beyond.
//   - Cost: a process receives only the topics that it follows (the SQLite adapter reads all of its file and passes on only those).
package bus

import (
	"context"
	"crypto/rand"
	"math"
	"time"

	"hearth"
)

// Bus is one process's end of the bus. Its methods may be called at once from many goroutines.
type Bus interface {
	// ID names this end in Message.From. It has IDSize characters, and is new with each start.
	ID() string
	// Publish sends a message to all that follow the topic. Errors: CodeUnavailable, CodeValidationFailed.
	Publish(ctx context.Context, topic, data string) error
	// PublishCounted is Publish, and returns how many processes the message was sent to, this one included if it follows the topic;
	// Uncounted where that is not known.
	PublishCounted(ctx context.Context, topic, data string) (processes int, err error)
	// Listen begins to listen, until the subscription is closed.
	Listen(l Listener) Subscription
}

// Message is what a listener hears.
type Message struct {
	Topic string
	// From is the ID of the end that published it.
	From string
	Data string
}

// Listener hears the messages of some topics.
type Listener struct {
	// Topics are followed from the beginning.
	Topics []string
	// Heard is called with each message, one at a time. It must not wait, publish or follow: other listeners wait for it.
	Heard func(Message)
	// Up is called each time that all followed topics are heard, again after 50 ms where it fails. Its ctx ends with the link. Nil:
	// nothing is done.
	Up func(ctx context.Context) error
	// Down is called each time that messages may be missed from now on, after Up and before the next Up; nil: nothing is done.
	Down func()
}

// Subscription is a listener's.
type Subscription interface {
	// Follow adds topics. It returns once messages that are published from now on are heard. On an error none of the topics was
	// added: CodeUnavailable while the link is down, or ctx's. Topics that are followed already are no error.
	Follow(ctx context.Context, topics ...string) error
	// Unfollow removes topics, and does not wait.
	Unfollow(topics ...string)
	// Close ends the listening. No function of the listener runs when it returns; it must not be called by one.
	Close()
}

const (
	// IDSize is the length of an end's ID.
	IDSize = 8
	// Uncounted is the count of a bus that cannot count who hears a message: more than there are.
	Uncounted = math.MaxInt

	maxTopic = 200
	maxData  = 4 << 20
)

// NewID returns the ID of a new end.
func NewID() string { return rand.Text()[:IDSize] }

// Check returns CodeValidationFailed for a message that no bus carries.
func Check(topic, data string) error {
	if topic == "" || len(topic) > maxTopic {
		return hearth.Errorf(hearth.CodeValidationFailed, "a topic has 1 to %d bytes, this one has %d", maxTopic, len(topic))
	}
	if len(data) > maxData {
		return hearth.Errorf(hearth.CodeValidationFailed, "a message has up to %d bytes, this one has %d", maxData, len(data))
	}
	return nil
}

// Unavailable is the error of a link that is down; cause may be nil.
func Unavailable(cause error) error {
	return &hearth.Error{
		Code: hearth.CodeUnavailable, Message: "messages do not pass between the processes now", RetryAfter: time.Second, Cause: cause,
	}
}
