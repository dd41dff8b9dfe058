package bus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// AskerOptions are what an Asker works with.
type AskerOptions struct {
	Bus Bus
	// Wait bounds the wait for the others' answers; 0 is 250 ms.
	Wait time.Duration
	// Keep is how long the others' answers to one question are used again; 0 is 1 s.
	Keep time.Duration
	// Logger gets answers that cannot be sent; nil discards them.
	Logger *slog.Logger
}

func (o AskerOptions) validate() (AskerOptions, error) {
	if o.Bus == nil || o.Wait < 0 || o.Keep < 0 {
		return o, errors.New("bus: an asker needs a bus, and durations that are not negative")
	}
	o.Wait = cmp.Or(o.Wait, 250*time.Millisecond)
	o.Keep = cmp.Or(o.Keep, time.Second)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

const (
	// questionsTopic is followed by all; a process's answers come by the topic of its ID below answersTopic.
	questionsTopic = "questions"
	answersTopic   = "answers:"

	// maxInquiries bounds the different questions of a moment; a caller with one more gets its own answer only.
	maxInquiries = 1024
	// maxQuestions bounds the questions that wait to be answered; one beyond it is not.
	maxQuestions = 1024
	// maxAnswers bounds the answers that wait to be read.
	maxAnswers = 256
	// maxAnswer bounds an answer, in bytes of JSON; a longer one is not given.
	maxAnswer = 1 << 20
)

// Asker lets the processes of a service ask one another for what each of them alone knows: a question goes to all, and each
// answers the one that asked. Nothing is stored. Nil is a process that is alone.
type Asker struct {
	options AskerOptions
	// answerers return this process's answers, by the name of the question. They are complete before Run.
	answerers map[string]func(argument []byte) ([]byte, error)
	waiting   chan question
	up        atomic.Bool

	mu        sync.Mutex
	inquiries map[string]*inquiry
}

// question is one of another process. It travels as "ID NAME\nARGUMENT", its answer as "ID\nANSWER".
type question struct{ from, id, name, argument string }

// answer is empty from a process that knows none.
type answer struct{ from, body string }

// inquiry is a question on its way, and its answers after that.
type inquiry struct {
	arrived chan answer
	done    chan struct{}
	// ends and answers are set when done is closed.
	ends    time.Time
	answers []string
}

// NewAsker makes an asker. Until Run it neither answers nor is answered.
func NewAsker(options AskerOptions) (*Asker, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	return &Asker{
		options: options, answerers: map[string]func([]byte) ([]byte, error){}, waiting: make(chan question, maxQuestions),
		inquiries: map[string]*inquiry{},
	}, nil
}

// Question is one that each process answers of itself.
type Question[A, F any] struct {
	asker *Asker
	name  string
	own   func(argument A) F
}

// NewQuestion makes a question, before the asker runs. Own is this process's answer: it is quick, and may be called at once from
// many goroutines. Arguments and answers travel as JSON. With a nil asker no other process is asked.
func NewQuestion[A, F any](asker *Asker, name string, own func(argument A) F) *Question[A, F] {
	if asker != nil {
		asker.answerers[name] = func(text []byte) ([]byte, error) {
			var argument A
			if err := json.Unmarshal(text, &argument); err != nil {
				return nil, err
			}
			return json.Marshal(own(argument))
		}
	}
	return &Question[A, F]{asker: asker, name: name, own: own}
}

// Ask returns the answer of this process, of now, and then those of the others that came in time, at most AskerOptions.Keep old. An
// answer that is missing, because its process or the link is down, or that is not understood is left out.
func (q *Question[A, F]) Ask(ctx context.Context, argument A) []F {
	answers := []F{q.own(argument)}
	if q.asker == nil {
		return answers
	}
	text, err := json.Marshal(argument)
	if err != nil {
		panic("bus: an argument always encodes: " + err.Error())
	}
	for _, other := range q.asker.ask(ctx, q.name, string(text)) {
		var answer F
		if json.Unmarshal([]byte(other), &answer) == nil {
			answers = append(answers, answer)
		}
	}
	return answers
}

// Run answers the others, and hears their answers, until ctx ends.
func (a *Asker) Run(ctx context.Context) {
	listening := a.options.Bus.Listen(Listener{
		Topics: []string{questionsTopic, answersTopic + a.options.Bus.ID()}, Heard: a.heard,
		Up: func(context.Context) error { a.up.Store(true); return nil }, Down: func() { a.up.Store(false) },
	})
	defer listening.Close()
	for {
		select {
		case q := <-a.waiting:
			a.answer(ctx, q)
		case <-ctx.Done():
			return
		}
	}
}

// ask returns the others' answers. A caller with the same question meanwhile, or soon after, gets the same ones.
func (a *Asker) ask(ctx context.Context, name, argument string) []string {
	if !a.up.Load() {
		return nil
	}
	sum := sha256.Sum256([]byte(name + " " + argument))
	q := question{id: hex.EncodeToString(sum[:16]), name: name, argument: argument}
	asked, mine := a.inquire(q.id)
	switch {
	case asked == nil:
		return nil
	case mine:
		a.gather(context.WithoutCancel(ctx), q, asked)
		return asked.answers
	}
	select {
	case <-asked.done:
		return asked.answers
	case <-ctx.Done():
		return nil
	}
}

// inquire returns the inquiry of a question; mine reports that it begins with this call. It is nil where there are too many.
func (a *Asker) inquire(id string) (asked *inquiry, mine bool) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if asked = a.inquiries[id]; asked != nil && !asked.over(now) {
		return asked, false
	}
	for id, old := range a.inquiries {
		if old.over(now) {
			delete(a.inquiries, id)
		}
	}
	if len(a.inquiries) >= maxInquiries {
		return nil, false
	}
	asked = &inquiry{arrived: make(chan answer, maxAnswers), done: make(chan struct{})}
	a.inquiries[id] = asked
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

// gather asks, and waits until every process that was asked has answered, or for as long as it may.
func (a *Asker) gather(ctx context.Context, q question, asked *inquiry) {
	defer close(asked.done)
	defer func() { asked.ends = time.Now().Add(a.options.Keep) }()
	ctx, cancel := context.WithTimeout(ctx, a.options.Wait)
	defer cancel()
	processes, err := a.options.Bus.PublishCounted(ctx, questionsTopic, q.id+" "+q.name+"\n"+q.argument)
	if err != nil {
		return // the link is down, which was logged there
	}
	for heard := map[string]bool{}; len(heard) < processes; {
		select {
		case answer := <-asked.arrived:
			if !heard[answer.from] && answer.body != "" {
				asked.answers = append(asked.answers, answer.body)
			}
			heard[answer.from] = true
		case <-ctx.Done():
			return
		}
	}
}

// heard accepts a question or an answer.
func (a *Asker) heard(m Message) {
	head, body, _ := strings.Cut(m.Data, "\n")
	id, name, isQuestion := strings.Cut(head, " ")
	own := m.From == a.options.Bus.ID()
	if isQuestion && !own {
		select {
		case a.waiting <- question{m.From, id, name, body}:
		default:
		}
		return
	}
	if isQuestion {
		body = "" // a process's own question stands for its answer: it counts among those that hear it
	}
	a.mu.Lock()
	asked := a.inquiries[id]
	a.mu.Unlock()
	if asked == nil {
		return
	}
	select {
	case asked.arrived <- answer{m.From, body}:
	default:
	}
}

// answer answers another process: with nothing what this one does not understand, so that none waits for it.
func (a *Asker) answer(ctx context.Context, q question) {
	var text []byte
	if own := a.answerers[q.name]; own != nil {
		var err error
		text, err = own([]byte(q.argument))
		if err == nil && len(text) > maxAnswer {
			text, err = nil, fmt.Errorf("an answer of %d bytes is too long", len(text))
		}
		if err != nil {
			a.options.Logger.WarnContext(ctx, "another instance gets no answer", "kind", "system", "question", q.name, "err", err)
		}
	}
	_ = a.options.Bus.Publish(ctx, answersTopic+q.from, q.id+"\n"+string(text)) // an error is the link's, and was logged where it went down
}
