package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Bytes is a size, written as a whole number and a unit: 512B, 64KiB, 16MiB, 1GiB. A number alone is bytes.
type Bytes int64

// byteUnits are the units of Bytes, the largest first; "B" stands last because the others end in it.
func byteUnits() []struct {
	name string
	size Bytes
} {
	return []struct {
		name string
		size Bytes
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// ParseBytes reads a size as Bytes writes it. It is positive.
func ParseBytes(text string) (Bytes, error) {
	number, size := text, Bytes(1)
	for _, unit := range byteUnits() {
		if rest, ok := strings.CutSuffix(text, unit.name); ok {
			number, size = rest, unit.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n == 0 || n > math.MaxInt64/uint64(size) {
		return 0, errors.New("must be a size such as 512KiB, 16MiB or 1GiB")
	}
	return Bytes(n) * size, nil
}

// String writes the size with the largest unit that leaves a whole number.
func (b Bytes) String() string {
	for _, unit := range byteUnits() {
		if b >= unit.size && b%unit.size == 0 {
			return strconv.FormatInt(int64(b/unit.size), 10) + unit.name
		}
	}
	return "0B"
}

// keySize is the length of an encryption key in bytes.
const keySize = 32

// Key is a 256-bit encryption key. It prints as a placeholder, so that no log can hold it.
type Key [keySize]byte

// Format hides the key from every verb of package fmt.
func (Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// LogValue hides the key from logs.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the key from encoders.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// parseKeys reads encryption keys: base64, 32 bytes each, separated by commas.
func parseKeys(text string) ([]Key, error) {
	var keys []Key
	for part := range items(text) {
		key, err := parseKey(part)
		if err != nil {
			return nil, err
		}
		if slices.Contains(keys, key) {
			return nil, errors.New("holds the same key twice")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(text string) (Key, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		data, err = base64.RawURLEncoding.DecodeString(text)
	}
	if err != nil || len(data) != keySize {
		return Key{}, errors.New("must be 32 random bytes in base64: openssl rand -base64 32")
	}
	if weak(data) {
		return Key{}, errors.New("is not random, so anybody can guess it: openssl rand -base64 32 makes a good one")
	}
	return Key(data), nil
}

// weak reports whether no random generator can have made the key: 32 random bytes hold 11 distinct ones or fewer, or only
// letters, digits and signs, or a run with a constant step, with a chance far below 2^-30.
func weak(key []byte) bool {
	var seen [256]bool
	distinct, printable, steps := 0, 0, 0
	for i, b := range key {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
		if b >= 0x20 && b < 0x7f {
			printable++
		}
		if i > 1 && b-key[i-1] == key[i-1]-key[i-2] {
			steps++
		}
	}
	return distinct < 12 || printable == len(key) || steps > len(key)/2
}

// parseBool reads true and false, and on and off for them.
func parseBool(text string) (bool, error) {
	switch text {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		err = fmt.Errorf("must be true or false, not %q", text)
	}
	return v, err
}

func parseInt(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("must be a whole number, not %q", text)
	}
	return n, nil
}

func parseFloat(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("must be a number, not %q", text)
	}
	return f, nil
}

func parseLevel(text string) (slog.Level, error) {
	switch text {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("must be one of debug, info, warn, error, not %q", text)
}

// parsePrefixes reads networks in CIDR form or single addresses.
func parsePrefixes(text string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for part := range items(text) {
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			addr, addrErr := netip.ParseAddr(part)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("must hold networks such as 10.0.0.0/8 or addresses, not %q", part)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if addr := prefix.Addr(); addr.Is4In6() { // clients' addresses are compared as IPv4
			if prefix.Bits() < 96 {
				return nil, fmt.Errorf("must hold networks of IPv4 addresses as such, not %q", part)
			}
			prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
		}
		if prefix.IsSingleIP() && prefix.Addr().IsUnspecified() {
			return nil, fmt.Errorf("must hold addresses that clients can have, not %q: every address is %s/0", part, prefix.Addr())
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// parseOrigins reads origins of web pages: a scheme, a host, perhaps a port, and nothing else. They are returned as browsers send them.
func parseOrigins(text string) ([]string, error) {
	var origins []string
	for part := range items(text) {
		if part != "*" {
			origin, err := canonicalOrigin(part)
			if err != nil {
				return nil, err
			}
			part = origin
		}
		origins = append(origins, part)
	}
	return origins, nil
}

// canonicalOrigin returns an origin as browsers send it: in lower case, its host in ASCII, without the default port.
func canonicalOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(text, "#") || strings.HasSuffix(text, "?") {
		return "", fmt.Errorf("must hold origins such as https://home.example, without a path, not %q", text)
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil && addr.Zone() == "" && !addr.Is4In6() {
		if host = addr.String(); addr.Is6() {
			host = "[" + host + "]"
		}
	} else if host, err = idna.Lookup.ToASCII(host); err != nil || !isHost(strings.TrimSuffix(host, ".")) {
		return "", fmt.Errorf("must hold the names of hosts, each by itself, not %q", text)
	}
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) || port == "" && strings.HasSuffix(u.Host, ":") {
		return "", fmt.Errorf("must have a port from 1 to 65535, or none, not %q", text)
	} else if port = strconv.FormatUint(n, 10); n == 0 || u.Scheme == "http" && n == 80 || u.Scheme == "https" && n == 443 {
		return u.Scheme + "://" + host, nil
	}
	return u.Scheme + "://" + host + ":" + port, nil
}

// items returns the parts of a list, trimmed, without empty ones.
func items(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" && !yield(part) {
				return
			}
		}
	}
}

func checkAddr(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if _, ipErr := netip.ParseAddr(host); err == nil && host != "" && ipErr != nil && !isHost(host) {
		return fmt.Errorf("must have the name or the address of an interface before its port, or nothing for every interface, not %q", text)
	}
	if err != nil {
		return fmt.Errorf("must be host:port or :port, not %q", text)
	}
	return nil
}

// isHost reports whether text, in lower case or not, is the name of a host: of labels of up to 63 letters, digits, hyphens and underscores, the
// last of which is not a number.
func isHost(text string) bool {
	labels := strings.Split(strings.ToLower(text), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return len(text) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// ephemeral reports whether the system picks the port of addr.
func ephemeral(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && strings.Trim(port, "0") == ""
}

// checkURL never repeats the text, because it may hold a password.
func checkURL(text string, schemes []string) error {
	u, err := parseURL(text)
	if err == nil && u.Scheme == "file" && slices.Contains(schemes, "file") {
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.ContainsAny(text, "?#") {
			return errors.New("must name a directory by its whole path, such as file:///mnt/hearth")
		}
		return nil
	}
	if scheme, _, ok := strings.Cut(text, "://"); err != nil && ok && slices.Contains(schemes, scheme) {
		return errors.New("cannot be read: look at its host and port, and write characters such as / # % @ in the password as %2F %23 %25 %40")
	}
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("must be a URL that begins with %s://", strings.Join(schemes, ":// or "))
	}
	if strings.Contains(u.Host, ",") && u.Scheme != "mongodb" {
		return errors.New("must name one host")
	}
	if strings.Contains(text, "#") {
		return errors.New("must not have a # and what follows it, which no server is sent; in a password it is written as %23")
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		if !isHostPort(host) {
			return errors.New("must have the name or the address of a host, and a port from 1 to 65535 or none; characters such as / # % @ in a password are written as %2F %23 %25 %40")
		}
	}
	return nil
}

// isHostPort reports whether text is a host that can be asked for, with a port or without. A path is a socket's.
func isHostPort(text string) bool {
	host := text
	if at := strings.LastIndexByte(text, ':'); at > strings.LastIndexByte(text, ']') {
		host = text[:at]
		if n, err := strconv.ParseUint(text[at+1:], 10, 16); err != nil || n == 0 {
			return false
		}
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return isHost(host) || err == nil && address.Is6() == strings.HasPrefix(host, "[") || strings.HasPrefix(host, "/")
}

// asciiHosts returns a URL with the names of its hosts in ASCII (IDNA), as they are asked for. What cannot be is left to checkURL.
func asciiHosts(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || strings.IndexFunc(rest, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return text
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	begin := strings.LastIndexByte(rest[:end], '@') + 1
	hosts := strings.Split(rest[begin:end], ",")
	for i, one := range hosts {
		host := one[:strings.IndexByte(one+":", ':')]
		if ascii, err := idna.Lookup.ToASCII(host); err == nil {
			hosts[i] = ascii + strings.TrimPrefix(one, host)
		}
	}
	return scheme + "://" + rest[:begin] + strings.Join(hosts, ",") + rest[end:]
}

// parseURL parses a URL whose authority may name several hosts, as mongodb://a:27017,b:27017/hearth does; url.Parse
// takes one alone, so the others are put behind it unchecked.
func parseURL(text string) (*url.URL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("a URL needs a scheme and ://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	hosts := authority[strings.LastIndexByte(authority, '@')+1:]
	user := strings.TrimSuffix(authority, hosts)
	first, others, _ := strings.Cut(hosts, ",")
	u, err := url.Parse(scheme + "://" + user + first + rest[end:])
	if err != nil {
		return nil, err
	}
	if others != "" {
		u.Host += "," + others
	}
	return u, nil
}

// parseMailbox returns a mail address with its domain in ASCII (IDNA), as mail servers ask for it.
func parseMailbox(text string) (string, error) {
	parsed, err := mail.ParseAddress(text)
	if err != nil {
		return "", fmt.Errorf("must be a mail address such as hearth <hearth@home.example>, not %q", text)
	}
	at := strings.LastIndexByte(parsed.Address, '@')
	domain := parsed.Address[at+1:]
	if strings.HasPrefix(domain, "[") { // an IP address
		return text, nil
	}
	if domain, err = idna.Lookup.ToASCII(domain); err != nil || !isHost(domain) {
		return "", fmt.Errorf("must have a domain behind its @, not %q", parsed.Address[at+1:])
	}
	parsed.Address = parsed.Address[:at+1] + domain
	return parsed.String(), nil
}
