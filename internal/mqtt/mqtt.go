// Package mqtt is the server for devices that speak MQTT 3.1.1 or 5. It is no broker: a device has topics of its own alone, and what it sends
// goes where the same request over HTTP would go.
//
// A connection has one goroutine that reads. What it reads waits in the session's queue, in order; a second goroutine, which runs while there
// is something to do, stores it, acknowledges it when it is durable, and sends commands and the delta of the twin. While the queue is full
// nothing more is read.
package mqtt

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hearth"
	"hearth/internal/bus"
	"hearth/internal/core/commands"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/core/twins"
	"hearth/internal/groupcommit"
	"hearth/internal/mqtt/packet"
)

// Limiter bounds how much a device sends.
type Limiter interface {
	// Take takes n units of the class for a key, or returns after which time to ask again. limit is the most units at one moment; 0: any number.
	// An error means that the count is unknown.
	Take(ctx context.Context, class, key string, n int) (wait time.Duration, limit int, err error)
}

// The classes of limits.
const (
	classMessages = "messages"
	classPoints   = "points"
	// classGateway is that of a gateway's messages about devices behind it, classProvision that of the devices that it makes.
	classGateway   = "gateway"
	classProvision = "provision"
)

// Options are what a Server works with. The capabilities, Sessions and Clock are required.
type Options struct {
	Devices   *devices.Service
	Telemetry *telemetry.Service
	Twins     *twins.Service
	Commands  *commands.Service
	Sessions  hearth.MQTTSessionStore
	// Bus carries what concerns connections to the other instances; nil: there are none.
	Bus bus.Bus
	// Limiter bounds what devices send; nil: nothing does.
	Limiter Limiter
	Clock   hearth.Clock
	// Logger records failures; nil discards them.
	Logger *slog.Logger
	// Registry receives the metrics; nil: none are served.
	Registry prometheus.Registerer
}

// The bounds of a server and of its connections.
const (
	// MaxPacket is the largest packet that is read, in bytes.
	MaxPacket = 256 << 10
	// connectTimeout is how long a connection may take until its CONNECT is read.
	connectTimeout = 10 * time.Second
	// writeTimeout is how long a device may leave what was written to it unread before its connection is closed.
	writeTimeout = 10 * time.Second
	// patience is how long something that cannot be stored at the moment is attempted again before the connection is closed.
	patience = 10 * time.Second
	// maxConnections bounds the connections, maxLogins those whose CONNECT was not read yet: the oldest of these makes room for a new one.
	maxConnections = 250_000
	maxLogins      = 4096
	// maxAdmitting is how many devices are logged in at once: as many as share a commit, and few enough that when all devices come back at the
	// same time other requests do not wait behind them.
	maxAdmitting = 64
	// queueLength and queueBytes bound what was read and is not stored yet of one connection.
	queueLength = 1024
	queueBytes  = 1 << 20
	// maxFlight bounds the messages that a device has not acknowledged; one of MQTT 5 may ask for fewer.
	maxFlight = 64
	// maxAliases is how many topic aliases a device may use.
	maxAliases = 32
	// noKeepAlive stands for a keep-alive of 0.
	noKeepAlive = 1200 * time.Second
)

// Server serves devices. Its methods may be called at once from many goroutines.
type Server struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	readers readers
	bodies  bodies
	// writeBuffers are those of WebSockets.
	writeBuffers sync.Pool
	logins       logins
	admitting    chan struct{}
	news         *groupcommit.Committer[message]
	// ctx ends when a stop has no more patience.
	ctx    context.Context //nolint:containedctx // it is the server's life
	cancel context.CancelFunc

	mu       sync.Mutex
	sessions map[string]*session // by device
	behind   map[string]*party   // those behind gateways, by device
	wills    wills
	draining bool
	open     atomic.Int64   // connections
	running  sync.WaitGroup // one for each connection, listener and background work
}

// New returns a server. Start begins its background work.
func New(o Options) (*Server, error) {
	if o.Devices == nil || o.Telemetry == nil || o.Twins == nil || o.Commands == nil || o.Sessions == nil {
		return nil, errors.New("mqtt: devices, telemetry, twins, commands and sessions are needed")
	}
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	s := &Server{o: o, log: o.Logger, sessions: map[string]*session{}, admitting: make(chan struct{}, maxAdmitting)}
	s.metrics = newMetrics(o.Registry, s.Connections, s.waitingWills)
	s.news = groupcommit.New(groupcommit.Options[message]{Commit: s.send, MaxWaiting: maxConnections})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Connections returns how many devices are connected to this process.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// session returns a device's session here; nil if there is none.
func (s *Server) session(deviceID string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[deviceID]
}

// enter makes a session the one of its device, and returns the one that it takes over, if any. It fails once the server drains.
func (s *Server) enter(one *session, as successor) (before *session, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return nil, false
	}
	if before = s.sessions[one.own.caller.DeviceID]; before != nil {
		before.succeeded(as)
	}
	s.sessions[one.own.caller.DeviceID] = one
	return before, true
}

func (s *Server) all() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*session, 0, len(s.sessions))
	for _, one := range s.sessions {
		all = append(all, one)
	}
	return all
}

// Publish implements hearth.Publisher: sessions send what has changed of twins.
func (s *Server) Publish(events ...hearth.Event) {
	for i := range events {
		if events[i].Type != hearth.EventDeviceTwin {
			continue
		}
		if !s.twinChanged(events[i].DeviceID) {
			s.publish(message{What: twinChanged, Device: events[i].DeviceID})
		}
	}
}

// twinChanged has sessions send what has changed of a twin, and reports whether there is one.
func (s *Server) twinChanged(deviceID string) bool {
	one, behind := s.session(deviceID), s.behindOf(deviceID)
	if one != nil {
		one.own.twinChanged()
	}
	if behind != nil {
		behind.twinChanged()
	}
	return one != nil || behind != nil
}

// Revoked notes that tokens of a device have ended: its connection is closed, here or on another instance, if it was made with one of them.
func (s *Server) Revoked(deviceID string) {
	if one := s.session(deviceID); one != nil {
		s.background(one.authenticate)
	}
	s.publish(message{What: tokensChanged, Device: deviceID})
}

// background does something that Drain waits for, and reports whether it does: once the server drains, it does not.
func (s *Server) background(do func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.running.Go(do)
	}
	return !s.draining
}

// Drain ends all connections: what was read of each is stored and acknowledged first. Later ones are refused.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.publishWills()
	s.mu.Unlock()
	for _, one := range s.all() {
		one.end(ending{reason: packet.ShuttingDown, text: "the server is shutting down"})
	}
	s.logins.closeAll()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	defer s.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	for _, one := range s.all() {
		one.conn.close()
	}
	return ctx.Err()
}

// accept admits a connection; false where there are too many.
func (s *Server) accept(nc net.Conn) bool {
	if s.open.Add(1) > maxConnections {
		s.open.Add(-1)
		s.metrics.refused(refusedBusy)
		_ = nc.Close()
		return false
	}
	return true
}

// serve serves one connection to its end. A defect that its packets find ends it alone.
func (s *Server) serve(nc net.Conn) {
	defer s.open.Add(-1)
	c := newConn(nc)
	var one *session
	defer func() {
		if p := recover(); p != nil {
			s.failed(p)
			if c.close(); one != nil {
				one.ended(ending{will: true})
			}
		}
	}()
	if one = s.login(c); one != nil {
		one.run() // its end closes the connection
	} else {
		c.close()
	}
}

// failed records a panic.
func (s *Server) failed(p any) {
	s.metrics.refused(refusedDefect)
	s.log.Error("a packet or a message of a device has found a defect", "kind", "system", "panic", p, "stack", string(debug.Stack()))
}
