package guardedhttp

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestURLsThatLeadInsideAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"http://127.0.0.1/", "http://127.0.0.1:8080/x", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0X7F.0.0.1/",
		"http://0177.0.0.1/", "http://017700000001/", "http://127.0.0.1./", "http://0/", "http://0.0.0.0/", "http://10.1.2.3/", "http://172.16.0.1/",
		"http://172.31.255.255/", "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://100.127.255.255/",
		"http://224.0.0.1/", "http://255.255.255.255/", "http://240.0.0.1/", "http://192.0.2.1/", "http://198.18.0.1/", "http://192.88.99.1/",
		"http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:a00:1]:80/", "http://[::127.0.0.1]/",
		"http://[::ffff:0:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::10.0.0.1]/", "http://[64:ff9b:1::1]/",
		"http://[2002:7f00:1::]/", "http://[2002:a00:1::1]/", "http://[2001::1]/", "http://[fc00::1]/", "http://[fd12:3456::1]/", "http://[fe80::1]/",
		"http://[fe80::1%25eth0]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://[2001:db8::1]/", "http://[100::1]/", "http://[4000::1]/",
		"http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://１２７.０.０.１/", "http://127。0。0。1/", "http://%31%32%37.0.0.1/",
		"ftp://example.com/", "javascript:alert(1)", "https:example.com", "//example.com/", "example.com", "https://", "https://:443/", "",
		"https://user@example.com/", "https://user:password@example.com/", "https://example.com/#part", "https://example.com/#",
		"https://example.com:0/", "https://example.com:99999/", "https://example.com:/", "https://exa mple.com/", "https://example..com/",
		"https://bücher.example/", "https://example.com/" + strings.Repeat("x", 2048), "https://example.com\n.evil/", "http://1.2.3.4.5/", "http://example.0x1f/",
	} {
		if message := (guard{}).checkURL(text); message == "" {
			t.Errorf("%q is accepted", text)
		}
	}
	for _, text := range []string{
		"https://example.com/", "http://example.com:8080/hook?token=a%20b", "https://xn--bcher-kva.example/", "https://8.8.8.8/", "https://[2606:4700::1111]/",
		"https://[64:ff9b::8.8.8.8]/", "https://EXAMPLE.com./x", "https://a_b.example.com/", "https://hooks.2day.example/", "http://172.32.0.1/",
	} {
		if message := (guard{}).checkURL(text); message != "" {
			t.Errorf("%q is refused: %s", text, message)
		}
	}
}

func TestAllowedNetworksAndHostsMayBeReached(t *testing.T) {
	t.Parallel()
	g := guard{networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, hosts: []string{"localhost", "hooks.internal"}}
	for text, want := range map[string]bool{
		"http://10.9.8.7/": true, "http://[::ffff:10.0.0.1]/": true, "http://[64:ff9b::10.0.0.1]/": true, "http://[fd00::1]/": true, "http://localhost:9/": true,
		"http://Hooks.Internal./": true, "http://127.0.0.1/": false, "http://192.168.0.1/": false, "http://[fc00::1]/": false, "http://a.localhost/": false,
	} {
		if got := g.checkURL(text) == ""; got != want {
			t.Errorf("%s is accepted: %t", text, got)
		}
	}
}

// What is accepted leads to a name that is resolved, or to an address that may be reached.
func FuzzURL(f *testing.F) {
	for _, text := range []string{"https://example.com/", "http://127.0.0.1/", "http://[::ffff:1.2.3.4]/", "http://0x7f.1:80/", "http://a@b/", "http://１/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g := guard{}
		if g.checkURL(text) != "" {
			return
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q is accepted and is no URL: %v", text, err)
		}
		addr, err := netip.ParseAddr(strings.TrimSuffix(u.Hostname(), "."))
		if err == nil && !g.allows(addr) {
			t.Errorf("%q is accepted and leads to %s", text, addr)
		}
		if last := u.Hostname()[strings.LastIndexByte(strings.TrimSuffix(u.Hostname(), "."), '.')+1:]; err != nil && strings.Trim(last, "0123456789.") == "" {
			t.Errorf("%q is accepted and ends in a number", text)
		}
	})
}
