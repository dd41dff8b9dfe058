package config_test

import (
	"net/netip"
	"slices"
	"testing"

	"hearth/internal/config"
)

func TestParseAllow(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Allow{
		"":                       {},
		"10.0.0.0/8":             {Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"127.0.0.1, ::1":         {Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}},
		"Hooks.Internal., a_b-1": {Hosts: []string{"hooks.internal", "a_b-1"}},
		"Bücher.example":         {Hosts: []string{"xn--bcher-kva.example"}},
		"::ffff:10.0.0.0/104":    {Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		"fd00::/8,nas.local":     {Networks: []netip.Prefix{netip.MustParsePrefix("fd00::/8")}, Hosts: []string{"nas.local"}},
	} {
		got, err := config.ParseAllow(text)
		if err != nil || !slices.Equal(got.Networks, want.Networks) || !slices.Equal(got.Hosts, want.Hosts) {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	// What looks like an address and is none is no host either: a resolver may read it as one.
	for _, text := range []string{"10.0.0.0/33", "10.0.0", "2130706433", "a.1", "http://hooks.internal", "hooks.internal:80", "ho oks", "*.internal", "hooks..internal", "-a.internal", "１０.0.0.1", "fe80::/a", "::ffff:10.0.0.0/90"} {
		if got, err := config.ParseAllow(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}
