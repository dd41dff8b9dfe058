package rest

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyTrustedProxiesChooseTheAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8:aaaa::/48"),
	}
	for _, tt := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no header", "203.0.113.9:1234", nil, "203.0.113.9"},
		{"no header, a proxy", "10.0.0.1:1234", nil, "10.0.0.1"},
		{"a stranger's header", "203.0.113.9:1234", []string{"192.0.2.1"}, "203.0.113.9"},
		{"a proxy's header", "10.0.0.1:1234", []string{"192.0.2.1"}, "192.0.2.1"},
		{"the rightmost counts", "10.0.0.1:1234", []string{"6.6.6.6, 192.0.2.1"}, "192.0.2.1"},
		{"proxies on the way are passed over", "127.0.0.1:1", []string{"6.6.6.6, 192.0.2.1, 10.2.3.4,10.9.9.9"}, "192.0.2.1"},
		{"several headers are one list", "127.0.0.1:1", []string{"6.6.6.6", "192.0.2.1", "10.1.1.1"}, "192.0.2.1"},
		{"proxies alone", "127.0.0.1:1", []string{"10.0.0.5, 10.0.0.6"}, "127.0.0.1"},
		{"garbage is passed over", "127.0.0.1:1", []string{"6.6.6.6, 192.0.2.1, unknown, _hidden, , ;"}, "192.0.2.1"},
		{"garbage alone", "127.0.0.1:1", []string{"garbage, 1.2.3, 1.2.3.4.5, ::g, [1.2.3.4]"}, "127.0.0.1"},
		{"an empty header", "127.0.0.1:1", []string{""}, "127.0.0.1"},
		{"with a port", "127.0.0.1:1", []string{"192.0.2.1:5678"}, "192.0.2.1"},
		{"IPv6", "127.0.0.1:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "127.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", "127.0.0.1:1", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv6 with a zone", "127.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
		{"an IPv6 proxy", "[2001:db8:aaaa::1]:1", []string{"192.0.2.1, 2001:db8:aaaa::2"}, "192.0.2.1"},
		{"IPv4 written as IPv6", "[::ffff:127.0.0.1]:1", []string{"::ffff:192.0.2.1, ::ffff:10.1.1.1"}, "192.0.2.1"},
		{"leading zeros are no address", "127.0.0.1:1", []string{"192.0.2.1, 010.0.0.1"}, "192.0.2.1"},
		{"half a bracket", "127.0.0.1:1", []string{"[2001:db8::1, 192.0.2.1]"}, "127.0.0.1"},
		{"far too long", "127.0.0.1:1", []string{strings.Repeat("1", 10_000) + ", 192.0.2.1"}, "192.0.2.1"},
		{"no peer", "@", []string{"192.0.2.1"}, "unknown"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
		for _, line := range tt.forwarded {
			r.Header.Add("X-Forwarded-For", line)
		}
		if got := clientIP(r, trusted); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzClientIP(f *testing.F) {
	for _, seed := range []string{"192.0.2.1", "6.6.6.6, 192.0.2.1:1", "[2001:db8::1]:443,,", "fe80::1%a,b", "\x00,\xff"} {
		f.Add(seed)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, header string) {
		proxied := &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {header}}}
		got := clientIP(proxied, trusted)
		addr, err := netip.ParseAddr(got)
		if err != nil || addr.String() != got || addr.Zone() != "" || addr.Is4In6() {
			t.Errorf("%q gives %q, which is no plain address", header, got)
		}
		if trusted[0].Contains(addr) && got != "10.0.0.1" {
			t.Errorf("%q gives %q, which is a proxy", header, got)
		}
		// What a client puts in front of what the proxy adds changes nothing.
		proxied.Header.Set("X-Forwarded-For", header+", 192.0.2.7")
		if got := clientIP(proxied, trusted); got != "192.0.2.7" {
			t.Errorf("%q in front of the client's address gives %q", header, got)
		}
		stranger := &http.Request{RemoteAddr: "203.0.113.9:1", Header: http.Header{"X-Forwarded-For": {header}}}
		if got := clientIP(stranger, trusted); got != "203.0.113.9" {
			t.Errorf("a stranger chose the address %q with %q", got, header)
		}
	})
}
