package config

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// Allow lists private networks and hosts that may be reached all the same.
type Allow struct {
	Networks []netip.Prefix
	// Hosts are names in lower case.
	Hosts []string
}

// ParseAllow reads networks in CIDR form, single addresses, and names of hosts.
func ParseAllow(text string) (allow Allow, err error) {
	for part := range items(text) {
		if networks, err := parsePrefixes(part); err == nil {
			allow.Networks = append(allow.Networks, networks...)
			continue
		}
		host := strings.TrimSuffix(strings.ToLower(part), ".")
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			host = ascii
		}
		if !isHost(host) {
			return allow, fmt.Errorf("must hold networks such as 10.0.0.0/8, addresses, or hosts such as hooks.internal, not %q", part)
		}
		allow.Hosts = append(allow.Hosts, host)
	}
	return allow, nil
}
