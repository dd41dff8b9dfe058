package httpserver

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"hearth"
)

// Peers counts what each network address has open at once, and bounds it: connections, and the requests of clients behind a proxy.
type Peers struct {
	most    int
	proxies []netip.Prefix

	mu      sync.Mutex
	open    map[string]int
	refused atomic.Uint64
}

// NewPeers returns Peers that allow an address so much at once; 0 is no limit. The loopback has none, nor have the proxies: behind them are
// many clients.
func NewPeers(most int, proxies []netip.Prefix) *Peers {
	return &Peers{most: most, proxies: proxies, open: map[string]int{}}
}

// Enter counts one more of the address. It reports false, and counts a refusal, where the address has all that it may have; else leave must
// be called once.
func (p *Peers) Enter(address string) (leave func(), ok bool) {
	if p.most == 0 || p.exempt(address) {
		return func() {}, true
	}
	key := hearth.Caller{IP: address}.Network()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[key] >= p.most {
		p.refused.Add(1)
		return nil, false
	}
	p.open[key]++
	return sync.OnceFunc(func() { p.leave(key) }), true
}

// Refused returns how often Enter reported false.
func (p *Peers) Refused() uint64 { return p.refused.Load() }

func (p *Peers) leave(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[key]--; p.open[key] == 0 {
		delete(p.open, key)
	}
}

func (p *Peers) exempt(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.IsLoopback() {
		return true
	}
	for _, proxy := range p.proxies {
		if proxy.Contains(addr) {
			return true
		}
	}
	return false
}

// accepting closes connections of addresses that have too many, encrypts the others, and has what is no request answered in the server's words.
type accepting struct {
	net.Listener
	options Options
}

// Accept implements net.Listener.
func (l accepting) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: accepted, refused: l.options.Refused}
		if l.options.Peers != nil {
			leave, ok := l.options.Peers.Enter(host(accepted.RemoteAddr()))
			if !ok {
				_ = accepted.Close()
				continue
			}
			c.closed = leave
		}
		if l.options.TLS != nil {
			c.Conn = tls.Server(accepted, l.options.TLS) // its handshake is part of the first read
		}
		return c, nil
	}
}

// host returns the address without its port.
func host(addr net.Addr) string {
	if parsed, err := netip.ParseAddrPort(addr.String()); err == nil {
		return parsed.Addr().Unmap().WithZone("").String()
	}
	return addr.String()
}
