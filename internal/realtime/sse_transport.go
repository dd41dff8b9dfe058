package realtime

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/centrifugal/protocol"

	"hearth"
)

// retryAfter is how long an EventSource waits before it comes back, if nothing special happened.
const retryAfter = 2 * time.Second

// chunk bounds what is written at once, so that a long replay to a slow client is not mistaken for a client that does not
// read.
const chunk = 32 << 10

// sseTransport is the SSE side of a centrifuge client. It is unidirectional; centrifuge speaks Protobuf to it because that
// is the cheapest to read, and it writes what EventSource reads.
type sseTransport struct {
	node    *Node
	w       http.ResponseWriter
	control *http.ResponseController
	http2   bool
	// reset reports whether the client came back with an id whose position is invalid.
	reset  bool
	closed chan struct{}

	mu        sync.Mutex
	isEnded   bool
	begun     bool
	positions []channelPosition
	ids       *cursorWriter
	buffer    []byte
	// deadline is the one that is set for writes.
	deadline time.Time
}

var _ centrifuge.Transport = (*sseTransport)(nil)

func newSSETransport(w http.ResponseWriter, r *http.Request, n *Node) *sseTransport {
	return &sseTransport{
		node: n, w: w, control: http.NewResponseController(w), http2: r.ProtoMajor >= 2, closed: make(chan struct{}),
		ids: n.cursors.writer(),
	}
}

// Name implements centrifuge.Transport.
func (t *sseTransport) Name() string { return transportSSE }

// AcceptProtocol implements centrifuge.Transport.
func (t *sseTransport) AcceptProtocol() string { return "" }

// Protocol implements centrifuge.Transport.
func (t *sseTransport) Protocol() centrifuge.ProtocolType { return centrifuge.ProtocolTypeProtobuf }

// ProtocolVersion implements centrifuge.Transport.
func (t *sseTransport) ProtocolVersion() centrifuge.ProtocolVersion {
	return centrifuge.ProtocolVersion2
}

// Unidirectional implements centrifuge.Transport.
func (t *sseTransport) Unidirectional() bool { return true }

// Emulation implements centrifuge.Transport.
func (t *sseTransport) Emulation() bool { return false }

// DisabledPushFlags implements centrifuge.Transport: the end of a stream is its disconnect.
func (t *sseTransport) DisabledPushFlags() uint64 { return centrifuge.PushFlagDisconnect }

// PingPongConfig implements centrifuge.Transport.
func (t *sseTransport) PingPongConfig() centrifuge.PingPongConfig {
	return centrifuge.PingPongConfig{PingInterval: t.node.options.Heartbeat, PongTimeout: -1}
}

// setHeader prepares the answer; it is sent with the first write.
func (t *sseTransport) setHeader() {
	// The request's own deadlines do not hold for a stream. Not every ResponseWriter has them.
	_ = t.control.SetReadDeadline(time.Time{})
	header := t.w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
}

// clearHeader undoes setHeader, for an answer that is a problem after all.
func (t *sseTransport) clearHeader() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isEnded = true
	t.w.Header().Del("X-Accel-Buffering")
	t.w.Header().Del("Content-Type")
}

// Write implements centrifuge.Transport.
func (t *sseTransport) Write(push []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isEnded {
		return nil
	}
	t.buffer = t.buffer[:0]
	if err := t.take(push); err != nil {
		return err
	}
	return t.flush()
}

// WriteMany implements centrifuge.Transport.
func (t *sseTransport) WriteMany(pushes ...[]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isEnded {
		return nil
	}
	t.buffer = t.buffer[:0]
	for _, push := range pushes {
		if err := t.take(push); err != nil {
			return err
		}
	}
	return t.flush()
}

// take writes one push into the buffer.
func (t *sseTransport) take(data []byte) error {
	if event, ok := readEvent(data); ok {
		t.event(event)
		if len(t.buffer) >= chunk {
			return t.flush()
		}
		return nil
	}
	var push protocol.Push
	if err := push.UnmarshalCF(data); err != nil {
		return fmt.Errorf("realtime: read a push: %w", err)
	}
	switch {
	case push.Pub != nil:
		t.event(pushedEvent{channel: []byte(push.Channel), data: push.Pub.Data, offset: push.Pub.Offset})
	case push.Connect != nil:
		return t.begin(push.Connect)
	case push.Unsubscribe != nil:
		t.leave(push.Channel)
	default:
		t.heartbeat()
	}
	if len(t.buffer) >= chunk {
		return t.flush()
	}
	return nil
}

// begin writes the head of the stream: its position, a reset where the client's position is lost, and what the client missed.
func (t *sseTransport) begin(connect *protocol.Connect) error {
	var missed [][]*protocol.Publication
	var names []string
	lost := false
	positions := make(map[string]centrifuge.StreamPosition, len(connect.Subs))
	for channel, result := range connect.Subs {
		positions[channel] = centrifuge.StreamPosition{Offset: result.Offset, Epoch: result.Epoch}
		if result.WasRecovering {
			t.node.metrics.replayed(transportSSE, result.Recovered)
			lost = lost || !result.Recovered
		}
		if len(result.Publications) > 0 {
			names, missed = append(names, channel), append(missed, result.Publications)
		}
	}
	t.positions = sortedPositions(positions)
	t.begun = true
	t.buffer = append(t.buffer, "retry: "...)
	t.buffer = strconv.AppendInt(t.buffer, retryAfter.Milliseconds(), 10)
	t.buffer = append(t.buffer, '\n')
	if t.reset || lost {
		// The new position comes with the reset, never before it: a client that has the one has the other.
		t.writeReset()
	} else {
		// An id without data moves the client's position and is no event to it.
		t.buffer = append(t.buffer, "id: "...)
		t.buffer = t.ids.append(t.buffer, t.positions)
		t.buffer = append(t.buffer, "\n\n"...)
	}
	// The oldest first over all channels; within one channel the order is as it was.
	for {
		oldest := -1
		for i, pubs := range missed {
			if len(pubs) > 0 && (oldest < 0 || bytes.Compare(atOf(pubs[0].Data), atOf(missed[oldest][0].Data)) < 0) {
				oldest = i
			}
		}
		if oldest < 0 {
			return nil
		}
		pub := missed[oldest][0]
		t.event(pushedEvent{channel: []byte(names[oldest]), data: pub.Data, offset: pub.Offset})
		missed[oldest] = missed[oldest][1:]
		if len(t.buffer) >= chunk {
			if err := t.flush(); err != nil {
				return err
			}
		}
	}
}

// writeReset notifies the client that it missed events that are not kept: it must read anew what it shows.
func (t *sseTransport) writeReset() {
	data, err := envelope(eventReset, t.node.options.Clock.Now(), []byte("{}"))
	if err != nil {
		panic("realtime: constant JSON is valid: " + err.Error())
	}
	t.write([]byte(eventReset), data)
}

// eventReset is the type of the event that says: something is missing here.
const eventReset hearth.EventType = "reset"

// event writes one event, with the position after it.
func (t *sseTransport) event(event pushedEvent) {
	for i := range t.positions {
		if t.positions[i].channel == string(event.channel) {
			t.positions[i].position.Offset = event.offset
			break
		}
	}
	t.write(typeOf(event.data), event.data)
}

func (t *sseTransport) write(eventType, data []byte) {
	t.buffer = append(t.buffer, "id: "...)
	t.buffer = t.ids.append(t.buffer, t.positions)
	t.buffer = append(t.buffer, "\nevent: "...)
	t.buffer = append(t.buffer, eventType...)
	t.buffer = append(t.buffer, "\ndata: "...)
	t.buffer = append(t.buffer, data...)
	t.buffer = append(t.buffer, "\n\n"...)
}

// leave forgets a channel that is gone.
func (t *sseTransport) leave(channel string) {
	for i := range t.positions {
		if t.positions[i].channel == channel {
			t.positions = append(t.positions[:i], t.positions[i+1:]...)
			return
		}
	}
}

// heartbeat writes a comment, which keeps proxies from closing the connection and detects that a client is gone.
func (t *sseTransport) heartbeat() { t.buffer = append(t.buffer, ": \n\n"...) }

// allowWrite moves the deadline of writes on. One with three quarters of its time left is left as it is: many events a
// second need no timer each.
func (t *sseTransport) allowWrite(now time.Time) {
	timeout := t.node.options.WriteTimeout
	if t.deadline.Sub(now) >= timeout-timeout/4 {
		return
	}
	t.deadline = now.Add(timeout)
	_ = t.control.SetWriteDeadline(t.deadline)
}

// flush sends what was gathered. The caller holds the lock.
func (t *sseTransport) flush() error {
	if len(t.buffer) == 0 {
		return nil
	}
	// A client that does not read holds up its own connection only, and not for long.
	t.allowWrite(time.Now())
	_, err := t.w.Write(t.buffer)
	if err == nil {
		err = t.control.Flush()
	}
	if t.http2 {
		// There a deadline that passes ends the stream, whether or not anything is being written.
		_ = t.control.SetWriteDeadline(time.Time{})
		t.deadline = time.Time{}
	}
	if cap(t.buffer) > 4*chunk || len(t.buffer) > 4<<10 && cap(t.buffer) > chunk {
		t.buffer = nil // one long replay is no reason to keep the memory
	}
	t.buffer = t.buffer[:0]
	return err
}

// Close implements centrifuge.Transport: it ends the stream. Where the service restarts, clients are asked to come back
// at different times.
func (t *sseTransport) Close(disconnect centrifuge.Disconnect) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.isEnded {
		return nil
	}
	t.isEnded = true
	close(t.closed)
	if disconnect.Code == centrifuge.DisconnectShutdown.Code && t.begun {
		retry := time.Second + t.node.jitter()
		t.buffer = fmt.Appendf(t.buffer[:0], "retry: %d\n: %s\n\n", retry.Milliseconds(), disconnect.Reason)
		_ = t.flush() // the stream ends either way
	}
	return nil
}

// end waits for a write under way and lets no other begin.
func (t *sseTransport) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isEnded = true
}
