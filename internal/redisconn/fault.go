package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

// advice is what to do about an answer of Redis that begins with a word. lasting means that it does not pass by itself.
type advice struct {
	word, text string
	lasting    bool
}

// faults are the answers by which Redis refuses to serve.
var faults = []advice{ // never written to
	{"NOAUTH", "asks for a password: put it into the Redis URL, redis://:PASSWORD@HOST", true},
	{"WRONGPASS", "refuses the user name or password of the Redis URL", true},
	{"AUTH called without", "asks for no password: take it out of the Redis URL", true},
	{"invalid password", "refuses the password of the Redis URL", true},
	{"NOPERM", "does not permit its user what hearth needs: grant it ~* &* +@all -@dangerous +info", true},
	{"DENIED", "takes no connection from this machine: it is in protected mode; set a password or bind", true},
	{"READONLY", "is a replica and takes no writes: the Redis URL must name the primary, or Sentinel by ?master_set=NAME", true},
	{"MOVED", "is a node of a cluster that redirects: name some of its nodes in the Redis URL, ?addr=HOST:PORT, by addresses that this machine reaches", true},
	{"ASK", "is a node of a cluster that is being moved", false},
	{"CROSSSLOT", "is a cluster that keeps one thing's keys apart", true},
	{"CLUSTERDOWN", "is a cluster that has lost some of its slots: see CLUSTER INFO", false},
	{"DB index", "has no database of the Redis URL's number", true},
	{"invalid DB", "has no database of the Redis URL's number", true},
	{"SELECT is not allowed", "is a cluster, which has database 0 alone: end the Redis URL in /0", true},
	{"max number of clients", "has too many clients: raise its maxclients", false},
	{"LOADING", "still loads its data", false},
	{"MASTERDOWN", "is a replica that has lost its primary", false},
	{"NOREPLICAS", "has fewer replicas than its min-replicas-to-write asks for", false},
	{"MISCONF", "cannot write to its disk and refuses writes: see its log", false},
	{"OOM", "is full: raise its maxmemory", false},
	{"BUSY ", "is busy with a script", false},
	{"TRYAGAIN", "is a cluster that is being moved", false},
}

func find(text string) (advice, bool) {
	for _, fault := range faults {
		if strings.HasPrefix(text, fault.word) {
			return fault, true
		}
	}
	return advice{}, false
}

// refuses reports whether an answer means that Redis does not serve, rather than that the question was wrong.
func refuses(text string) bool {
	_, ok := find(text)
	return ok
}

// fault is an error in a sentence that says what to change.
type fault struct {
	text    string
	lasting bool
	cause   error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.cause }

// permanent reports whether an error of explain does not pass by itself.
func permanent(err error) bool {
	f, ok := errors.AsType[*fault](err)
	return ok && f.lasting
}

// lasts is permanent of an error that was not explained yet.
func lasts(err error) bool { return permanent((&Conn{}).explain(err)) }

// explain puts an error of the library into a sentence without secrets.
func (c *Conn) explain(err error) error {
	say := func(lasting bool, format string, args ...any) error {
		return &fault{text: "Redis at " + c.target.name + " " + fmt.Sprintf(format, args...), lasting: lasting, cause: err}
	}
	if answer, ok := rueidis.IsRedisErr(err); ok {
		text := answer.Error()
		if known, ok := find(text); ok {
			return say(known.lasting, "%s (%s)", known.text, word(text))
		}
		return say(false, "answers an error: %s", text)
	}
	// rueidis returns errors of a handshake as texts at times.
	if known, ok := find(err.Error()); ok {
		return say(known.lasting, "%s (%s)", known.text, word(err.Error()))
	}
	var unknown *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var lookup *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &record):
		return say(true, "does not speak TLS: the Redis URL must begin with redis://")
	case errors.As(err, &authority):
		return say(true, "has a certificate of an unknown authority: name the authority in the Redis URL, ?ca=FILE.pem")
	case errors.As(err, &unknown):
		return say(true, "has a certificate that does not hold: %v", unknown.Err)
	case errors.As(err, &lookup):
		return say(false, "is not known by that name: %v", lookup)
	case errors.Is(err, syscall.ECONNREFUSED):
		return say(false, "is not there: nothing listens at that address")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		if c.target.options.TLSConfig != nil && c.client == nil {
			return say(false, "does not answer to TLS: if it speaks none, the Redis URL must begin with redis://")
		}
		return say(false, "does not answer")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		if c.target.options.TLSConfig == nil && c.client == nil {
			return say(false, "closes the connection: does it want TLS (rediss://)?")
		}
		return say(false, "closed the connection")
	}
	return say(false, "cannot be used: %v", err)
}

// word returns the first word of an answer.
func word(text string) string {
	first, _, _ := strings.Cut(text, " ")
	return first
}
