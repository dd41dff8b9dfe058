package guardedhttp

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// guard decides which addresses may be reached.
type guard struct {
	// networks and hosts may be reached though they are private.
	networks []netip.Prefix
	hosts    []string
}

// normalized returns the one form of a host's name.
func normalized(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// blocked are the networks that are not of the public internet, and those that lead to addresses which cannot be known.
var blocked = []netip.Prefix{ // never written to
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
	netip.MustParsePrefix("::/3"), netip.MustParsePrefix("4000::/2"), netip.MustParsePrefix("8000::/1"), // all but global unicast
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("2002::/16"), // 6to4
}

// nat64 holds IPv4 addresses in its last four bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96") // never written to

// allows reports whether an address may be reached.
func (g guard) allows(addr netip.Addr) bool {
	addr = addr.Unmap()
	in := func(p netip.Prefix) bool { return p.Contains(addr.WithZone("")) }
	if slices.ContainsFunc(g.networks, in) {
		return true
	}
	if nat64.Contains(addr) {
		bytes := addr.As16()
		return g.allows(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	return addr.Zone() == "" && !slices.ContainsFunc(blocked, in)
}

// checkURL says what is wrong with a URL: a sentence's end; "" if nothing is.
func (g guard) checkURL(text string) string {
	if len(text) > MaxURL {
		return "is longer than 2048 bytes"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return "must be a URL such as https://example.com/hook"
	case u.Scheme != "https" && u.Scheme != "http":
		return "must begin with https:// or http://"
	case u.User != nil:
		return "must hold no user and no password"
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return "must hold no fragment"
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "has a port that is not one"
		}
	}
	return g.checkHost(u.Hostname())
}

// checkHost says what is wrong with a host. What its name resolves to is checked when it is dialed.
func (g guard) checkHost(host string) string {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(host, ".")); err == nil {
		if addr.Zone() != "" || !g.allows(addr) {
			return "leads to an address that is not public"
		}
		return ""
	}
	if message := checkName(host); message != "" {
		return "has a host that " + message
	}
	host = normalized(host)
	if slices.Contains(g.hosts, host) {
		return ""
	}
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !g.allows(netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		return "leads to an address that is not public"
	}
	return ""
}

// checkName says what is wrong with the name of a host: a sentence's end; "" if nothing is. One that ends in a number is an IPv4
// address in a form that some programs read, such as 0x7f.1 or 2130706433.
func checkName(host string) string {
	host = normalized(host)
	if host == "" || len(host) > 253 {
		return "must have 1 to 253 characters"
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "must be of letters, digits and - with dots between them; write other letters as xn--"
		}
	}
	last := labels[len(labels)-1]
	if _, err := strconv.ParseUint(strings.TrimPrefix(last, "0x"), 16, 64); err == nil && '0' <= last[0] && last[0] <= '9' {
		return "ends in a number: write an address as four decimal numbers"
	}
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return "ends in a number: write an address as four decimal numbers"
	}
	return ""
}

// errBlocked is the error of a connection that may not be made.
type errBlocked struct{ addr string }

func (e errBlocked) Error() string { return "the address is not public" }

// dialer returns what connects to hosts: it refuses addresses at the moment when they are dialed, whatever was resolved before.
func (g guard) dialer(resolver *net.Resolver) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second, Resolver: resolver}
		if !slices.Contains(g.hosts, normalized(host)) {
			d.Control = func(_, address string, _ syscall.RawConn) error {
				at, err := netip.ParseAddrPort(address)
				if err != nil || !g.allows(at.Addr()) {
					return errBlocked{address}
				}
				return nil
			}
		}
		return d.DialContext(ctx, network, address)
	}
}

// HostOf returns the host of a URL, for logs.
func HostOf(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Host
	}
	return ""
}
