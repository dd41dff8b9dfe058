package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// maxHealthBody bounds what is read of a server's answer.
const maxHealthBody = 64 << 10

type healthcheckCommand struct {
	Settings
	URL     string        `placeholder:"URL" help:"Server to ask, such as http://localhost:8080. Default: the one of this configuration."`
	Timeout time.Duration `default:"5s" help:"How long to wait for the answer."`
}

// Run asks the server whether it is ready; it fails, and so exits with 1, when the server is not or does not answer.
func (c *healthcheckCommand) Run(ctx context.Context, p *Process) error {
	base := strings.TrimSuffix(c.URL, "/")
	if base == "" {
		cfg, err := c.load(p)
		if err != nil {
			return err
		}
		base = "http://" + dialable(cfg.Addr)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health/ready", nil)
	if err != nil {
		return usageError{err}
	}
	// No proxy of the environment: the question is about this machine. No redirect: another server's health is none.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var body struct {
		Status  string   `json:"status"`
		Missing []string `json:"missing"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxHealthBody)).Decode(&body)
	switch {
	case response.StatusCode == http.StatusOK && err == nil:
		_, err := fmt.Fprintln(p.Stdout, "ready")
		return err
	case response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable:
		return fmt.Errorf("the server answers %s; is it a hearth?", response.Status)
	case err != nil:
		return errors.New("the server's answer is not that of a hearth")
	case len(body.Missing) > 0:
		return fmt.Errorf("not ready: %s: %s", body.Status, strings.Join(body.Missing, ", "))
	}
	return fmt.Errorf("not ready: %s", body.Status)
}

// dialable returns an address to reach a server of this machine that listens on addr: the loopback where it listens on
// every interface.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip.Unmap() == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip == netip.IPv6Unspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
