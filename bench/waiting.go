package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// waitingDevices is how many devices wait in polls, each on a connection of its own.
	waitingDevices = 10_000
	// senders is how many connections users send commands over.
	senders = 256
	// giveUp is how long a wave may take.
	giveUp = 25 * time.Second
)

// openRates are the fixed rates of commands a second at which their delays are measured: one with room, and that of the goal.
var openRates = []int{2000, 3000}

// requestOf returns the bytes of a request.
func requestOf(host, method, path, token, body string) []byte {
	head := method + " /api/v1" + path + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + token + "\r\n"
	if body != "" {
		head += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return []byte(head + "\r\n" + body)
}

// pollers are devices that wait in polls, and users that send them commands. Connections are numbered: those of devices come first.
type pollers struct {
	*lines
	h      *hearth
	host   string
	ids    []string
	tokens []string
	polls  [][]byte
	posts  [][]byte
	// sent is when the command of a device was sent, arrived when its poll was answered, and commands what the answer named.
	sent, arrived []time.Time
	commands      []string
}

// newPollers makes so many devices and connects them.
func newPollers(h *hearth, n int) (*pollers, error) {
	ids, err := h.devices(n)
	if err != nil {
		return nil, err
	}
	p := &pollers{
		h: h, host: h.url[len("http://"):], ids: ids, tokens: make([]string, n), polls: make([][]byte, n), posts: make([][]byte, n),
		sent: make([]time.Time, n), arrived: make([]time.Time, n), commands: make([]string, n),
	}
	err = each(n, func(i int) error {
		var made struct {
			Token string `json:"token"`
		}
		if err := h.call("POST", "/devices/"+ids[i]+"/tokens", nil, &made); err != nil {
			return err
		}
		p.tokens[i] = made.Token
		p.polls[i] = requestOf(p.host, "GET", "/devices/"+ids[i]+"/commands/next?wait=30s", made.Token, "")
		p.posts[i] = requestOf(p.host, "POST", "/devices/"+ids[i]+"/commands", h.token, `{"name":"set-level","params":{"level":3}}`)
		return nil
	})
	if err == nil {
		p.lines, err = openLines(p.host, n+senders)
	}
	return p, err
}

// each calls do for 0 to n-1, some at a time, and returns the first error.
func each(n int, do func(i int) error) error {
	const workers = 16
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && failure.Load() == nil; i += workers {
				if err := do(i); err != nil {
					failure.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}

// wave has all devices wait, sends each a command, and returns how long each took to be in the poll's answer. A user's connection sends the
// next command that is due once its last one is answered; bulk sends all in one request in their place. The devices answer their commands
// after that, outside of the measured time; the server's processor time is of the measured time alone.
func (p *pollers) wave(ctx context.Context, due func(i int) time.Duration, bulk []byte) (delays []time.Duration, took, cpu time.Duration, err error) {
	n := len(p.ids)
	for i, poll := range p.polls {
		if err := p.send(i, poll); err != nil {
			return nil, 0, 0, err
		}
	}
	time.Sleep(2 * time.Second) // the last of them wait too
	free := make([]int, 0, senders)
	for user := range senders {
		free = append(free, n+user)
	}
	before, start := p.h.cpu(), time.Now()
	next, open := 0, n
	if bulk != nil {
		next = n
		for i := range p.sent {
			p.sent[i] = start
		}
		if err := p.send(free[0], bulk); err != nil {
			return nil, 0, 0, err
		}
	}
	for open > 0 || len(free) < senders && bulk == nil {
		for ; len(free) > 0 && next < n && time.Since(start) >= due(next); next++ {
			if p.sent[next] = start.Add(due(next)); due(next) == 0 {
				p.sent[next] = time.Now()
			}
			if err := p.send(free[0], p.posts[next]); err != nil {
				return nil, 0, 0, err
			}
			free = free[1:]
		}
		err := p.receive(time.Millisecond, func(i, status int, body []byte) error {
			if i >= n {
				free = append(free, i)
				return expect(202, status, body)
			}
			p.arrived[i] = time.Now()
			_, after, _ := bytes.Cut(body, []byte(`"id":"`))
			id, _, _ := bytes.Cut(after, []byte(`"`))
			p.commands[i] = string(id)
			open--
			return expect(200, status, body)
		})
		if err == nil && time.Since(start) > giveUp {
			err = fmt.Errorf("%d polls are not answered", open)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, 0, 0, err
		}
	}
	cpu = p.h.cpu() - before
	for i, at := range p.arrived {
		delays = append(delays, at.Sub(p.sent[i]))
		took = max(took, at.Sub(start))
	}
	slices.Sort(delays)
	return delays, took, cpu, p.answer()
}

// answer has each device answer its command, some at a time.
func (p *pollers) answer() error {
	for next, open := 0, 0; next < len(p.ids) || open > 0; {
		for ; next < len(p.ids) && open < senders; next++ {
			path := "/devices/" + p.ids[next] + "/commands/" + p.commands[next] + "/result"
			if err := p.send(next, requestOf(p.host, "POST", path, p.tokens[next], `{"ok":true}`)); err != nil {
				return err
			}
			open++
		}
		err := p.receive(giveUp, func(i, status int, body []byte) error {
			if i < len(p.ids) {
				open--
				return expect(204, status, body)
			}
			return expect(202, status, body) // that of a request in bulk
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func expect(want, status int, body []byte) error {
	if status != want {
		return fmt.Errorf("an answer is %d, not %d: %.300s", status, want, body)
	}
	return nil
}

// immediately has each command be due at once.
func immediately(int) time.Duration { return 0 }

// atRate has so many be due a second: each is measured from when it was due, also where those before it were late.
func atRate(perSecond int) func(i int) time.Duration {
	return func(i int) time.Duration { return time.Duration(i+1) * time.Second / time.Duration(perSecond) }
}

// measureWaiting: devices wait in polls, and each is sent one command. Each command is durable before it is acknowledged, and that it was
// sent before its poll's answer ends.
func measureWaiting(ctx context.Context, o options, dir string, r *report) (err error) {
	n, err := allowed(waitingDevices)
	if err != nil {
		return err
	}
	h, err := launchHearth(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	p, err := newPollers(h, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	all := requestOf(p.host, "POST", "/commands", h.token, `{"name":"set-level","params":{"level":3},"filter":{"type":"sensor"}}`)
	var rates, costs, bulks []float64
	p50s, p99s, opens := map[int][]float64{}, map[int][]float64{}, map[int][]float64{}
	for range o.rounds {
		_, took, cpu, err := p.wave(ctx, immediately, nil)
		if err != nil {
			return err
		}
		rates, costs = append(rates, float64(n)/took.Seconds()), append(costs, 1e6*cpu.Seconds()/float64(n))
		for _, rate := range openRates {
			delays, took, _, err := p.wave(ctx, atRate(rate), nil)
			if err != nil {
				return err
			}
			p50s[rate], p99s[rate] = append(p50s[rate], ms(delays[n/2])), append(p99s[rate], ms(delays[n*99/100]))
			opens[rate] = append(opens[rate], float64(n)/took.Seconds())
		}
		if _, took, _, err = p.wave(ctx, immediately, all); err != nil {
			return err
		}
		bulks = append(bulks, ms(took))
	}
	note := fmt.Sprintf("%d devices wait, each is sent one command; they answer afterwards, outside of the time", n)
	r.add(figure{Name: "commands from POST to waiting polls", Unit: "commands/s", Hearth: median(rates), Goal: "≥ 3000", Note: note})
	r.add(figure{Name: "processor time of the server from POST to a waiting poll", Unit: "µs", Hearth: median(costs), Note: note})
	for _, rate := range openRates {
		name := fmt.Sprintf("commands from POST to waiting polls, %d a second", rate)
		fixed := "each measured from when it was due"
		r.add(figure{Name: name + ": reached", Unit: "commands/s", Hearth: median(opens[rate]), Note: fixed})
		r.add(figure{Name: name + ": p50", Unit: "ms", Hearth: median(p50s[rate]), Note: fixed})
		r.add(figure{Name: name + ": p99", Unit: "ms", Hearth: median(p99s[rate]), Goal: "≤ 20", Note: fixed})
	}
	r.add(figure{Name: "one command in bulk until all polls are answered", Unit: "ms", Hearth: median(bulks), Note: fmt.Sprintf("%d devices", n)})
	return nil
}
