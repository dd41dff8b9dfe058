// Package smtpmail sends messages to a mail server by SMTP, or writes them to a directory where there is none.
package smtpmail

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"hearth"
	"hearth/internal/mail"
)

// TLS is how the way to the server is encrypted.
type TLS string

// The ways.
const (
	// StartTLS begins plain and must become encrypted, or nothing is sent.
	StartTLS TLS = "starttls"
	// Implicit is encrypted from the first byte.
	Implicit TLS = "implicit"
	// None is for a server on the same machine or net.
	None TLS = "none"
)

// Options say where the server is.
type Options struct {
	Host string
	// Port is 1 to 65535; 0 is 587, 465 with Implicit, 25 with None.
	Port int
	// TLS is StartTLS when empty.
	TLS TLS
	// Username and Password; both empty to go without. With None only for a server on this machine.
	Username string
	Password string
	// From is the sender of every message.
	From mail.Address
	// Timeout bounds one attempt to send, 0 is 30 s.
	Timeout time.Duration
	// MaxConnections is how many connections there are at once, 1 to 100; 0 is 4. Further sends wait.
	MaxConnections int
	// IdleTimeout is how long a connection is kept for the next message; 0 is 30 s, negative not at all.
	IdleTimeout time.Duration
	// RootCAs are trusted instead of the system's, if set.
	RootCAs *x509.CertPool
	// Clock dates the messages; nil is the system's.
	Clock hearth.Clock
}

// ParseURL reads smtp://[user:password@]host[:port][?tls=starttls|implicit|none]; smtps:// stands for implicit. Errors do not
// repeat the URL, which may hold a password.
func ParseURL(raw string) (Options, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Options{}, errors.New("the URL of the mail server cannot be read")
	}
	if u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
		return Options{}, errors.New("the URL of the mail server must be smtp://user:password@host:587?tls=starttls")
	}
	o := Options{Host: u.Hostname(), Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	if u.Scheme == "smtps" {
		o.TLS = Implicit
	}
	if p := u.Port(); p != "" {
		if o.Port, err = strconv.Atoi(p); err != nil || o.Port == 0 {
			return Options{}, errors.New("the mail server's port must be 1 to 65535")
		}
	}
	for name, values := range u.Query() {
		if name != "tls" {
			return Options{}, fmt.Errorf("the URL of the mail server has the unknown part %q", name)
		}
		way := TLS(values[len(values)-1])
		if way == "" || o.TLS == Implicit && way != Implicit {
			return Options{}, errors.New("tls must be starttls, implicit or none, and implicit with smtps://")
		}
		o.TLS = way
	}
	o = o.withDefaults()
	return o, o.validateServer()
}

func (o Options) withDefaults() Options {
	o.TLS = cmp.Or(o.TLS, StartTLS)
	if o.Port == 0 {
		o.Port = map[TLS]int{Implicit: 465, None: 25}[o.TLS]
		o.Port = cmp.Or(o.Port, 587)
	}
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.MaxConnections = cmp.Or(o.MaxConnections, 4)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 30*time.Second)
	return o
}

func (o Options) validateServer() error {
	switch {
	case o.Host == "":
		return errors.New("the mail server needs a host")
	case o.Port < 1 || o.Port > 65535:
		return errors.New("the mail server's port must be 1 to 65535")
	case o.TLS != StartTLS && o.TLS != Implicit && o.TLS != None:
		return errors.New("tls must be starttls, implicit or none")
	case (o.Username == "") != (o.Password == ""):
		return errors.New("the mail server needs both a user and a password, or neither")
	case o.TLS == None && o.Username != "" && !local(o.Host):
		return errors.New("a password is not sent over a net without TLS")
	case o.Timeout < 0 || o.MaxConnections < 1 || o.MaxConnections > 100:
		return errors.New("a number of the mail server's options is out of range")
	}
	return nil
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
