// Package peers lets the processes of a fleet ask one another for what each of them alone knows: a question goes to all by a
// channel of Redis, and each answers by a channel of the asker's. Nothing is stored.
package peers

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"hearth/internal/redisconn"
)

// Options are what a group works with.
type Options struct {
	Conn *redisconn.Conn
	// Wait bounds the wait for the others' answers; 0 is 250 ms.
	Wait time.Duration
	// Keep is how long the others' answers to one question are used again; 0 is 1 s.
	Keep time.Duration
	// Logger is told of answers that cannot be given; nil discards it.
	Logger *slog.Logger
}

func (o Options) validate() (Options, error) {
	if o.Conn == nil || o.Wait < 0 || o.Keep < 0 {
		return o, errors.New("peers: a connection is needed, and no duration may be negative")
	}
	if o.Wait == 0 {
		o.Wait = 250 * time.Millisecond
	}
	if o.Keep == 0 {
		o.Keep = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

const (
	// maxInquiries bounds the different questions of a moment; whoever asks one more hears nobody else.
	maxInquiries = 1024
	// maxQuestions bounds the questions that wait to be answered; one beyond it is not.
	maxQuestions = 1024
	// maxPeers bounds the answers that wait to be read.
	maxPeers = 256
	// maxAnswer bounds an answer, in bytes of JSON; a longer one is not given.
	maxAnswer = 1 << 20
)

// Group is the processes that share one Redis database, as one of them sees them. Nil is a process that is alone.
type Group struct {
	options Options
	self    string
	// questions is everybody's channel; a process's answers come by the channel of its name.
	questions string
	// answerers give this process's answers, by the name of the question. They are complete before Run.
	answerers map[string]func(argument []byte) ([]byte, error)
	waiting   chan message
	up        atomic.Bool

	mu        sync.Mutex
	inquiries map[string]*inquiry
}

// message is a question or, if Name is empty, an answer. It travels as "FROM ID NAME\nBODY", so that taking it off the connection
// costs the same however long the body is.
type message struct {
	from string
	// id is the question's; an answer repeats it.
	id, name string
	// body is the question's argument, or the answer; empty from whoever has none.
	body string
}

func (m message) String() string { return m.from + " " + m.id + " " + m.name + "\n" + m.body }

func readMessage(text string) (m message, ok bool) {
	head, body, _ := strings.Cut(text, "\n")
	words := strings.Split(head, " ")
	if len(words) != 3 {
		return m, false
	}
	return message{from: words[0], id: words[1], name: words[2], body: body}, true
}

// inquiry is a question on its way, and its answers after that.
type inquiry struct {
	arrived chan message
	done    chan struct{}
	// ends and answers are set when done is closed.
	ends    time.Time
	answers []string
}

// New makes a group. Until Run, nobody hears it and it hears nobody.
func New(options Options) (*Group, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	return &Group{
		options: options, self: rand.Text(), questions: "hearth:questions:" + strconv.Itoa(options.Conn.Database()),
		answerers: map[string]func([]byte) ([]byte, error){}, waiting: make(chan message, maxQuestions), inquiries: map[string]*inquiry{},
	}, nil
}

// Question is one that each process of a group answers of itself.
type Question[A, F any] struct {
	group *Group
	name  string
	own   func(argument A) F
}

// NewQuestion makes a question, before the group runs. Own is this process's answer: it is quick, and may be called at once from
// many goroutines. Arguments and answers travel as JSON. With a nil group nobody else is asked.
func NewQuestion[A, F any](group *Group, name string, own func(argument A) F) *Question[A, F] {
	if group != nil {
		group.answerers[name] = func(text []byte) ([]byte, error) {
			var argument A
			if err := json.Unmarshal(text, &argument); err != nil {
				return nil, err
			}
			return json.Marshal(own(argument))
		}
	}
	return &Question[A, F]{group: group, name: name, own: own}
}

// Ask returns the answer of this process, of now, and then those of the others that came in time, at most Options.Keep old. An answer
// that is missing, because its process or Redis is away, or not understood is left out.
func (q *Question[A, F]) Ask(ctx context.Context, argument A) []F {
	answers := []F{q.own(argument)}
	if q.group == nil {
		return answers
	}
	text, err := json.Marshal(argument)
	if err != nil {
		panic("peers: an argument always encodes: " + err.Error())
	}
	for _, other := range q.group.ask(ctx, q.name, text) {
		var answer F
		if json.Unmarshal([]byte(other), &answer) == nil {
			answers = append(answers, answer)
		}
	}
	return answers
}

// Run answers the others, and hears their answers, until ctx ends.
func (g *Group) Run(ctx context.Context) {
	var answering sync.WaitGroup
	answering.Go(func() {
		for {
			select {
			case question := <-g.waiting:
				g.answer(ctx, question)
			case <-ctx.Done():
				return
			}
		}
	})
	g.options.Conn.Listen(ctx, redisconn.Listener{
		Channels: []string{g.questions, g.channelOf(g.self)}, Heard: func(_, text string) { g.heard(text) },
		Up: func(context.Context) error { g.up.Store(true); return nil }, Down: func() { g.up.Store(false) },
	})
	answering.Wait()
}

// channelOf returns the channel of a process's answers.
func (g *Group) channelOf(process string) string { return g.questions + ":" + process }

// ask returns the others' answers. Whoever asks the same meanwhile, or soon after, gets the same ones.
func (g *Group) ask(ctx context.Context, name string, argument []byte) []string {
	if !g.up.Load() {
		return nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s", name, argument))
	question := message{from: g.self, id: hex.EncodeToString(sum[:16]), name: name, body: string(argument)}
	asked, mine := g.inquire(question.id)
	switch {
	case asked == nil:
		return nil
	case mine:
		g.gather(context.WithoutCancel(ctx), question, asked)
		return asked.answers
	}
	select {
	case <-asked.done:
		return asked.answers
	case <-ctx.Done():
		return nil
	}
}

// inquire returns the inquiry of a question; mine tells that it begins with this call. It is nil where there are too many.
func (g *Group) inquire(id string) (asked *inquiry, mine bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if asked = g.inquiries[id]; asked != nil && !asked.over(now) {
		return asked, false
	}
	for id, old := range g.inquiries {
		if old.over(now) {
			delete(g.inquiries, id)
		}
	}
	if len(g.inquiries) >= maxInquiries {
		return nil, false
	}
	asked = &inquiry{arrived: make(chan message, maxPeers), done: make(chan struct{})}
	g.inquiries[id] = asked
	return asked, true
}

// over reports whether the answers are too old.
func (i *inquiry) over(now time.Time) bool {
	select {
	case <-i.done:
		return now.After(i.ends)
	default:
		return false
	}
}

// gather asks, and waits until everybody who was asked has answered, or for as long as it may.
func (g *Group) gather(ctx context.Context, question message, asked *inquiry) {
	defer close(asked.done)
	defer func() { asked.ends = time.Now().Add(g.options.Keep) }()
	ctx, cancel := context.WithTimeout(ctx, g.options.Wait)
	defer cancel()
	listening, err := g.publish(ctx, g.questions, question)
	if err != nil {
		return // Redis is away, which was logged there
	}
	if g.options.Conn.Client().Mode() == rueidis.ClientModeCluster {
		listening = g.listening(ctx)
	}
	for heard := map[string]bool{}; len(heard) < listening; {
		select {
		case answer := <-asked.arrived:
			if !heard[answer.from] && answer.name == "" && answer.body != "" {
				asked.answers = append(asked.answers, answer.body)
			}
			heard[answer.from] = true
		case <-ctx.Done():
			return
		}
	}
}

// publish sends a message, and returns how many got it of the server that it was given to.
func (g *Group) publish(ctx context.Context, channel string, m message) (receivers int, err error) {
	err = g.options.Conn.Try(ctx, func(ctx context.Context, client rueidis.Client) error {
		n, err := client.Do(ctx, client.B().Publish().Channel(channel).Message(m.String()).Build()).AsInt64()
		receivers = int(n)
		return err
	})
	return receivers, err
}

// listening returns how many hear questions by all nodes of a cluster, each of which knows its own listeners. Where one does not
// tell, it is more than there are.
func (g *Group) listening(ctx context.Context) (all int) {
	for _, node := range g.options.Conn.Client().Nodes() {
		counts, err := node.Do(ctx, node.B().PubsubNumsub().Channel(g.questions).Build()).AsIntMap()
		if err != nil {
			return math.MaxInt
		}
		all += int(counts[g.questions])
	}
	return all
}

// heard takes a message. It runs on the connection's reader, and does not wait.
func (g *Group) heard(text string) {
	m, ok := readMessage(text)
	if !ok {
		return // of another version
	}
	if m.name != "" && m.from != g.self {
		select {
		case g.waiting <- m:
		default:
		}
		return
	}
	// One's own question comes back too: it stands for an answer, because Redis counts this process among the listeners.
	g.mu.Lock()
	asked := g.inquiries[m.id]
	g.mu.Unlock()
	if asked == nil {
		return
	}
	select {
	case asked.arrived <- m:
	default:
	}
}

// answer answers another process: with nothing what this one does not understand, so that nobody waits for it.
func (g *Group) answer(ctx context.Context, question message) {
	reply := message{from: g.self, id: question.id}
	if own := g.answerers[question.name]; own != nil {
		text, err := own([]byte(question.body))
		if err == nil && len(text) > maxAnswer {
			text, err = nil, fmt.Errorf("an answer of %d bytes is too long", len(text))
		}
		if err != nil {
			g.options.Logger.WarnContext(ctx, "another instance gets no answer", "kind", "system", "question", question.name, "err", err)
		}
		reply.body = string(text)
	}
	_, _ = g.publish(ctx, g.channelOf(question.from), reply) // an error is Redis's, and was logged where it went away
}
