package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
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
	senders = 64
	// openRate is the rate of commands a second that the goal names.
	openRate = 3000
)

// line is a connection of HTTP with little around it: the client shares the machine with the server.
type line struct {
	conn net.Conn
	in   *bufio.Reader
}

// ask sends a request and returns the status and the body of its answer; the body is valid until the next call.
func (l *line) ask(request []byte) (status int, body []byte, err error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, nil, err
	}
	return l.answer()
}

// answer reads an answer, which has a Content-Length or no body.
func (l *line) answer() (status int, body []byte, err error) {
	length := 0
	for {
		head, err := l.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		switch head = bytes.TrimRight(head, "\r\n"); {
		case status == 0 && len(head) >= len("HTTP/1.1 200"):
			status, err = strconv.Atoi(string(head[9:12]))
		case len(head) == 0:
			if body, err = l.in.Peek(length); err == nil {
				_, err = l.in.Discard(length)
			}
			return status, body, err
		case len(head) > 16 && bytes.EqualFold(head[:15], []byte("content-length:")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(head[15:])))
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

// requestOf returns the bytes of a request.
func requestOf(host, method, path, token, body string) []byte {
	head := method + " /api/v1" + path + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + token + "\r\n"
	if body != "" {
		head += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return []byte(head + "\r\n" + body)
}

// pollers are devices that wait in polls, and users that send them commands.
type pollers struct {
	h       *hearth
	host    string
	ids     []string
	tokens  []string
	devices []*line
	users   []*line
	polls   [][]byte
	posts   [][]byte
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
	c := &pollers{
		h: h, host: h.url[len("http://"):], ids: ids, tokens: make([]string, n), devices: make([]*line, n), users: make([]*line, senders),
		polls: make([][]byte, n), posts: make([][]byte, n), sent: make([]time.Time, n), arrived: make([]time.Time, n), commands: make([]string, n),
	}
	err = each(n, senders, func(_, i int) error {
		var made struct {
			Token string `json:"token"`
		}
		if err := h.call("POST", "/devices/"+ids[i]+"/tokens", nil, &made); err != nil {
			return err
		}
		c.tokens[i] = made.Token
		c.polls[i] = requestOf(c.host, "GET", "/devices/"+ids[i]+"/commands/next?wait=30s", made.Token, "")
		c.posts[i] = requestOf(c.host, "POST", "/devices/"+ids[i]+"/commands", h.token, `{"name":"set-level","params":{"level":3}}`)
		return nil
	})
	for _, lines := range [][]*line{c.devices, c.users} {
		err = errors.Join(err, each(len(lines), senders, func(_, i int) error {
			conn, err := net.Dial("tcp", c.host)
			if err == nil {
				lines[i] = &line{conn, bufio.NewReaderSize(conn, 2048)}
			}
			return err
		}))
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *pollers) close() (err error) {
	for _, l := range slices.Concat(c.devices, c.users) {
		if l != nil {
			err = errors.Join(err, l.conn.Close())
		}
	}
	return err
}

// each calls do for 0 to n-1, by so many workers in turn, and returns the first error.
func each(n, workers int, do func(worker, i int) error) error {
	var failure atomic.Pointer[error]
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && failure.Load() == nil; i += workers {
				if err := do(w, i); err != nil {
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

// wave has all devices wait, sends each a command by send, and returns how long each took to be in the poll's answer. The devices answer
// their commands after that, outside of the measured time; the server's processor time is of the measured time alone.
func (c *pollers) wave(ctx context.Context, send func(start time.Time) error) (delays []time.Duration, took, cpu time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, 0, err
	}
	failures := make(chan error, len(c.devices))
	for i, d := range c.devices {
		if _, err := d.conn.Write(c.polls[i]); err != nil {
			return nil, 0, 0, err
		}
		go func() { failures <- c.arrive(i) }()
	}
	time.Sleep(2 * time.Second) // the last of them wait too
	before, start := c.h.cpu(), time.Now()
	if err := send(start); err != nil {
		return nil, 0, 0, err
	}
	for range c.devices {
		if err := <-failures; err != nil {
			return nil, 0, 0, err
		}
	}
	cpu = c.h.cpu() - before
	for i, at := range c.arrived {
		delays = append(delays, at.Sub(c.sent[i]))
		took = max(took, at.Sub(start))
	}
	slices.Sort(delays)
	return delays, took, cpu, each(len(c.devices), senders, func(_, i int) error {
		path := "/devices/" + c.ids[i] + "/commands/" + c.commands[i] + "/result"
		status, _, err := c.devices[i].ask(requestOf(c.host, "POST", path, c.tokens[i], `{"ok":true}`))
		if err == nil && status != 204 {
			err = fmt.Errorf("a result is answered with %d", status)
		}
		return err
	})
}

// arrive waits for the answer of a device's poll.
func (c *pollers) arrive(i int) error {
	status, body, err := c.devices[i].answer()
	c.arrived[i] = time.Now()
	if err != nil || status != 200 {
		return errors.Join(fmt.Errorf("a poll is answered with %d", status), err)
	}
	_, after, _ := bytes.Cut(body, []byte(`"id":"`))
	id, _, _ := bytes.Cut(after, []byte(`"`))
	c.commands[i] = string(id)
	return nil
}

// post sends a device its command over a user's connection.
func (c *pollers) post(user, i int) error {
	status, body, err := c.users[user].ask(c.posts[i])
	if err == nil && status != 202 {
		err = fmt.Errorf("a command is answered with %d: %.300s", status, body)
	}
	return err
}

// flood sends the commands as fast as the users' connections allow.
func (c *pollers) flood(time.Time) error {
	return each(len(c.ids), senders, func(user, i int) error {
		c.sent[i] = time.Now()
		return c.post(user, i)
	})
}

// pace sends openRate commands a second, each measured from when it was due, also where the one before it was late.
func (c *pollers) pace(start time.Time) error {
	return each(len(c.ids), senders, func(user, i int) error {
		c.sent[i] = start.Add(time.Duration(i) * time.Second / openRate)
		time.Sleep(time.Until(c.sent[i]))
		return c.post(user, i)
	})
}

// bulk sends all commands in one request.
func (c *pollers) bulk(start time.Time) error {
	for i := range c.sent {
		c.sent[i] = start
	}
	return c.h.call("POST", "/commands", map[string]any{"device_ids": c.ids, "name": "set-level", "params": map[string]int{"level": 3}}, nil)
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
	c, err := newPollers(h, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var rates, costs, p50s, p99s, opens, bulks []float64
	for range o.rounds {
		_, took, cpu, err := c.wave(ctx, c.flood)
		if err != nil {
			return err
		}
		rates, costs = append(rates, float64(n)/took.Seconds()), append(costs, 1e6*cpu.Seconds()/float64(n))
		delays, took, _, err := c.wave(ctx, c.pace)
		if err != nil {
			return err
		}
		p50s, p99s, opens = append(p50s, ms(delays[n/2])), append(p99s, ms(delays[n*99/100])), append(opens, float64(n)/took.Seconds())
		if _, took, _, err = c.wave(ctx, c.bulk); err != nil {
			return err
		}
		bulks = append(bulks, ms(took))
	}
	note := fmt.Sprintf("%d devices wait, each is sent one command; they answer afterwards, outside of the time", n)
	r.add(figure{Name: "commands from POST to waiting polls", Unit: "commands/s", Hearth: median(rates), Goal: "≥ 3000", Note: note})
	r.add(figure{Name: "processor time of the server from POST to a waiting poll", Unit: "µs", Hearth: median(costs), Note: note})
	due := fmt.Sprintf("%d a second are due, and measured from then", openRate)
	r.add(figure{Name: "commands at a fixed rate from POST to waiting polls", Unit: "commands/s", Hearth: median(opens), Note: due})
	r.add(figure{Name: "the same, p50", Unit: "ms", Hearth: median(p50s), Note: due})
	r.add(figure{Name: "the same, p99", Unit: "ms", Hearth: median(p99s), Goal: "≤ 20", Note: due})
	r.add(figure{Name: "one command in bulk until all polls are answered", Unit: "ms", Hearth: median(bulks), Note: fmt.Sprintf("%d devices", n)})
	return nil
}
