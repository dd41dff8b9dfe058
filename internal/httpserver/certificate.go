package httpserver

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateEvery is how often at most the files of a certificate are looked at.
const certificateEvery = 10 * time.Second

// Certificate returns the settings of TLS with the certificate of these files (PEM), which is read again when they change. Files that are not
// valid then are logged, and the certificate before stays.
func Certificate(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(time.Now()); err != nil {
		return nil, fmt.Errorf("the certificate of TLS: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.latest(), nil }}, nil
}

type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	looked  time.Time
	changed time.Time // of the later file, when pair was read
}

func (c *certificate) latest() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= certificateEvery {
		if err := c.load(now); err != nil {
			c.log.Error("the certificate of TLS has changed and cannot be read: the one before is used", "kind", "system", "err", err)
		}
	}
	return c.pair
}

// load reads the files if they have changed.
func (c *certificate) load(now time.Time) error {
	c.looked = now
	var changed time.Time
	for _, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if at := info.ModTime(); at.After(changed) {
			changed = at
		}
	}
	if c.pair != nil && changed.Equal(c.changed) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.changed = &pair, changed
	return nil
}
