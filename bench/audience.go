package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// slowest is the longest delay that is told apart, in milliseconds.
const slowest = 30_000

// audience is many open connections that read raw bytes and count a mark that each event has once, with the event's time
// behind it: so the clients, who share the machine with the server, cost little.
type audience struct {
	mark     []byte
	conns    []net.Conn
	received atomic.Int64
	// dropped counts connections that the server ended.
	dropped atomic.Int64
	// farewell is what the server said last to one of them.
	farewell atomic.Pointer[string]
	closing  atomic.Bool
	// delays counts events by milliseconds between their time and their reading.
	delays  [slowest + 1]atomic.Uint32
	readers sync.WaitGroup
}

// stampLength is the length of a time such as 2026-03-01T12:00:00.000Z, which follows the mark.
const stampLength = 24

// ping is centrifuge's, as a frame, and in one with events; pong the masked answer.
var (
	ping       = []byte{0x81, 2, '{', '}'}
	pingBefore = []byte("{}\n")
	pingBehind = []byte("\n{}")
	pong       = []byte{0x81, 0x82, 0, 0, 0, 0, '{', '}'}
)

// pinged tells whether data holds a ping that ends behind the first old bytes: those were looked at. A second answer to a ping
// would be as wrong as none.
func pinged(data []byte, old int) bool {
	if bytes.Contains(data[old:], ping) || bytes.Contains(data[max(0, old-len(pingBehind)+1):], pingBehind) {
		return true
	}
	for from := max(0, old-len(pingBefore)+1); ; {
		at := bytes.Index(data[from:], pingBefore)
		if at < 0 {
			return false
		}
		if at += from; at == 0 || data[at-1] != '\n' {
			return true
		}
		from = at + 1
	}
}

// openers is how many connections are opened at a time.
const openers = 64

// gather opens so many connections.
func gather(ctx context.Context, s stage, connections int) (*audience, error) {
	a := &audience{mark: s.mark, conns: make([]net.Conn, connections)}
	var next atomic.Int64
	failures := make([]error, openers)
	var wg sync.WaitGroup
	for o := range openers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < connections && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				conn, err := s.open(i)
				if err != nil {
					failures[o] = fmt.Errorf("connection %d to %s: %w", i, s.name, err)
					return
				}
				a.conns[i] = conn
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		a.close()
		return nil, err
	}
	for _, conn := range a.conns {
		a.readers.Go(func() { a.read(conn) })
	}
	return a, nil
}

func (a *audience) close() {
	a.closing.Store(true)
	for _, conn := range a.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	a.readers.Wait()
}

// read counts events until the connection ends.
func (a *audience) read(conn net.Conn) {
	buffer, kept := make([]byte, 4096), 0
	for {
		n, err := conn.Read(buffer[kept:])
		if err != nil {
			if !a.closing.Load() {
				a.dropped.Add(1)
				last := fmt.Sprintf("%.60q, %v", buffer[:kept], err)
				a.farewell.CompareAndSwap(nil, &last)
			}
			return
		}
		data := buffer[:kept+n]
		if pinged(data, kept) {
			_, _ = conn.Write(pong) // the next read tells what is wrong
		}
		rest := a.count(data)
		kept = copy(buffer, rest)
	}
}

// count counts the whole events of data and gives back what may be the beginning of another.
func (a *audience) count(data []byte) []byte {
	now := time.Now().UTC()
	today := int(now.Sub(now.Truncate(24 * time.Hour)).Milliseconds())
	for {
		at := bytes.Index(data, a.mark)
		if at < 0 {
			return data[max(0, len(data)-len(a.mark)+1):]
		}
		stamp := data[at+len(a.mark):]
		if len(stamp) < stampLength {
			return data[at:]
		}
		a.received.Add(1)
		a.delays[min(max(0, today-millisOfDay(stamp)), slowest)].Add(1)
		data = stamp[stampLength:]
	}
}

// millisOfDay reads the time of day of a stamp; midnight is not measured over.
func millisOfDay(stamp []byte) int {
	two := func(at int) int { return int(stamp[at]-'0')*10 + int(stamp[at+1]-'0') }
	millis := int(stamp[20]-'0')*100 + two(21)
	return ((two(11)*60+two(14))*60+two(17))*1000 + millis
}

// await waits until so many events have come, or fails after a minute.
func (a *audience) await(ctx context.Context, events int64) error {
	for began := time.Now(); a.received.Load() < events; {
		if time.Since(began) > time.Minute || ctx.Err() != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("%d of %d events have come, %s", a.received.Load(), events, a.lost()))
		}
		time.Sleep(200 * time.Microsecond)
	}
	return nil
}

// lost tells how many connections were dropped, and what one of them heard last.
func (a *audience) lost() string {
	last := a.farewell.Load()
	if last == nil {
		return "no connection was dropped"
	}
	return fmt.Sprintf("%d connections were dropped, one after %s", a.dropped.Load(), *last)
}

// forget begins the counting of delays anew.
func (a *audience) forget() {
	for i := range a.delays {
		a.delays[i].Store(0)
	}
}

// percentile gives the delay in milliseconds that the share p of the events does not exceed.
func (a *audience) percentile(p float64) float64 {
	total := 0
	for i := range a.delays {
		total += int(a.delays[i].Load())
	}
	seen := 0
	for i := range a.delays {
		if seen += int(a.delays[i].Load()); float64(seen) >= p*float64(total) && seen > 0 {
			return float64(i)
		}
	}
	return 0
}

// dialTimeout bounds the opening of one connection.
const dialTimeout = 60 * time.Second

// dial sends a request and reads until the answer holds what is awaited.
func dial(addr, request, awaited string) (net.Conn, []byte, error) {
	conn, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return nil, nil, err
	}
	answer, err := exchange(conn, request, awaited)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, answer, nil
}

func exchange(conn net.Conn, request, awaited string) ([]byte, error) {
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := conn.Write([]byte(request)); err != nil {
		return nil, err
	}
	answer := make([]byte, 0, 4096)
	for !bytes.Contains(answer, []byte(awaited)) {
		if len(answer) == cap(answer) {
			return nil, fmt.Errorf("no %q in %.600q", awaited, answer)
		}
		n, err := conn.Read(answer[len(answer):cap(answer)])
		if err != nil {
			return nil, fmt.Errorf("%w after %.600q", err, answer)
		}
		answer = answer[:len(answer)+n]
	}
	return answer, conn.SetDeadline(time.Time{})
}

// openWebSocket connects a centrifuge client that joins one channel.
func openWebSocket(addr, path, token, channel string) (net.Conn, error) {
	conn, _, err := dial(addr, "GET "+path+" HTTP/1.1\r\nHost: "+addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "\r\n\r\n")
	if err != nil {
		return nil, err
	}
	commands := `{"id":1,"connect":{"token":` + strconv.Quote(token) + `}}` + "\n" + `{"id":2,"subscribe":{"channel":` + strconv.Quote(channel) + `}}`
	frame := []byte{0x81, 0x80 | 126, byte(len(commands) >> 8), byte(len(commands)), 0, 0, 0, 0}
	if _, err = exchange(conn, string(frame)+commands, `"subscribe":{`); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
