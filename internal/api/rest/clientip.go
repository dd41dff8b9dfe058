package rest

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientIP returns the address that a request came from: the peer's, or, where the peer is a trusted proxy, the rightmost
// address in X-Forwarded-For that is not one. What is no address is passed over. A peer that is none of ours cannot
// choose its address.
func clientIP(r *http.Request, trusted []netip.Prefix) string {
	if len(trusted) == 0 {
		if host, ok := ipv4Of(r.RemoteAddr); ok {
			return host
		}
	}
	peer, ok := parseHop(r.RemoteAddr)
	if !ok {
		return "unknown"
	}
	if contains(trusted, peer) {
		lines := r.Header.Values("X-Forwarded-For")
		for i := len(lines) - 1; i >= 0; i-- {
			for rest := lines[i]; rest != ""; {
				comma := strings.LastIndexByte(rest, ',')
				hop := rest[comma+1:]
				rest = rest[:max(comma, 0)]
				if addr, ok := parseHop(strings.Trim(hop, " \t")); ok && !contains(trusted, addr) {
					return addr.String()
				}
			}
		}
	}
	return peer.String()
}

// ipv4Of returns the address of an IPv4 address with a port, which its text has in the one form that there is.
func ipv4Of(text string) (string, bool) {
	port, err := netip.ParseAddrPort(text)
	if err != nil || !port.Addr().Is4() {
		return "", false
	}
	return text[:strings.LastIndexByte(text, ':')], true
}

// FromProxy reports whether a request came by a trusted proxy.
func (rt *Router) FromProxy(r *http.Request) bool {
	if len(rt.options.TrustedProxies) == 0 {
		return false
	}
	peer, ok := parseHop(r.RemoteAddr)
	return ok && contains(rt.options.TrustedProxies, peer)
}

// parseHop reads an address with or without a port: 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80.
func parseHop(text string) (netip.Addr, bool) {
	if len(text) > 64 {
		return netip.Addr{}, false
	}
	// An address with a port first, as that of every peer is: a failure to parse costs more.
	if port, err := netip.ParseAddrPort(text); err == nil {
		return port.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil || strings.HasPrefix(text, "[") != strings.HasSuffix(text, "]") || strings.HasPrefix(text, "[") && addr.Is4() {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
