package steps

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"hearth"
)

// Codes of MongoDB's errors (src/mongo/base/error_codes.yml).
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeOutOfDiskSpace       = 14031
	// codeDeadlock is PostgreSQL's deadlock_detected as FerretDB passes it on: of two commands that write the same keys one
	// was undone. MongoDB never answers it. Doing the command again is right and shows what the other command did.
	codeDeadlock = 16908292
)

// unavailableCodes are answers of a server that cannot take the command now: it shuts down, is not the primary any more,
// lost its peers, or ran out of time.
var unavailableCodes = []int{ // never written to
	6, 7, 24, 50, 64, 89, 91, 100, 133, 134, 189, 202, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436,
}

// Translate turns a driver's error into one of ours, once, by its code. Ours, *hearth.Replayed, the package's own and the
// end of the caller's context pass.
func Translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*hearth.Error](err); ok {
		return err
	}
	if ctx.Err() != nil && (mongo.IsTimeout(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return context.Cause(ctx)
	}
	if hasCode(err, codeOutOfDiskSpace) {
		return &hearth.Error{
			Code: hearth.CodeStorageFull, Message: "the store has no space left", RetryAfter: 5 * time.Second, Cause: err,
		}
	}
	if IsAway(err) {
		return unavailable(err)
	}
	return err
}

// IsAway reports whether the server could not be asked, did not answer in time, or cannot take commands now: whether it did
// what it was asked is unknown.
func IsAway(err error) bool {
	if mongo.IsTimeout(err) || mongo.IsNetworkError(err) || errors.Is(err, mongo.ErrClientDisconnected) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if _, ok := errors.AsType[topology.ServerSelectionError](err); ok {
		return true
	}
	if _, ok := errors.AsType[topology.ConnectionError](err); ok {
		return true
	}
	if labeled, ok := errors.AsType[mongo.LabeledError](err); ok &&
		(labeled.HasErrorLabel("RetryableWriteError") || labeled.HasErrorLabel("RetryableError")) {
		return true
	}
	return hasCode(err, unavailableCodes...)
}

func hasCode(err error, codes ...int) bool {
	server, ok := errors.AsType[mongo.ServerError](err)
	if !ok {
		return false
	}
	return slices.ContainsFunc(codes, server.HasErrorCode)
}

func unavailable(err error) error {
	return &hearth.Error{
		Code: hearth.CodeUnavailable, Message: "the store cannot be used right now", RetryAfter: time.Second, Cause: err,
	}
}

// IsDuplicate reports whether err says that a unique key is taken.
func IsDuplicate(err error) bool { return mongo.IsDuplicateKeyError(err) }

// isDeadlock reports whether the command was undone for another's sake and is to be done again; see codeDeadlock.
func isDeadlock(err error) bool { return hasCode(err, codeDeadlock) }

// Again does a command anew as long as it is undone for others' sake. MongoDB never asks for that.
func Again(ctx context.Context, command func() error) error {
	for try := 0; ; try++ {
		err := command()
		if !isDeadlock(err) || try == 20 || Pause(ctx, try) != nil {
			return err
		}
	}
}

// Found turns the absence of a document into CodeNotFound for that kind of object.
func Found(err error, kind string) error {
	if errors.Is(err, mongo.ErrNoDocuments) {
		return hearth.NotFound(kind)
	}
	return err
}

// Greet makes sure that the server answers and is one that the store can work with.
func (db *DB) Greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, greetWithin)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		if err = db.client.Ping(ctx, readpref.Primary()); err == nil || hasCode(err, codeAuthenticationFailed, codeUnauthorized) {
			break
		}
		if message := explain(err); message != "" {
			break
		}
		if Pause(ctx, 8) != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("mongodb: %s: %w", db.whatToChange(err), Redacted(err, db.Options.URI))
	}
	var build struct {
		Version string  `bson:"version"`
		Array   []int32 `bson:"versionArray"`
	}
	if err := db.primary.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build); err != nil {
		return fmt.Errorf("mongodb: ask the server for its version: %w", err)
	}
	if len(build.Array) > 0 && build.Array[0] < 5 {
		return fmt.Errorf("mongodb: the server is MongoDB %s, which is too old: use 5.0 or newer", build.Version)
	}
	// A command of the database shows whether the account may use it: a ping needs no rights.
	err = db.Collection(Commits).FindOne(ctx, bson.D{}).Err()
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return fmt.Errorf("mongodb: %s: %w", db.whatToChange(err), Redacted(err, db.Options.URI))
	}
	return nil
}

// explain names the mistake in the URI that err tells of for certain; "" if it may just be a server that is not up yet.
func explain(err error) string {
	text := err.Error()
	switch {
	case hasCode(err, codeAuthenticationFailed) || strings.Contains(text, "auth error") || strings.Contains(text, "AuthenticationFailed"):
		return "the server refuses the credentials: check the user, the password and authSource in the store's URI"
	case hasCode(err, codeUnauthorized):
		return "the account may not use the database: give it the role readWrite on it, or name the right database in the store's URI"
	case strings.Contains(text, "tls: first record does not look like a TLS handshake"):
		return "the server does not speak TLS: take tls=true out of the store's URI, or turn TLS on at the server"
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls: "):
		return "the server's certificate is not accepted: set tlsCAFile in the store's URI to the authority that signed it, and use a host name that it holds"
	case strings.Contains(text, "wire version") || strings.Contains(text, "requires a driver"):
		return "the server is too old: use MongoDB 5.0 or newer"
	case strings.Contains(text, "no such host"):
		return "the host in the store's URI is not known: check its name"
	}
	return ""
}

func (db *DB) whatToChange(err error) string {
	if message := explain(err); message != "" {
		return message
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "connection refused"):
		return "nothing listens at the address in the store's URI: start MongoDB there, or correct host and port"
	case db.tls && (strings.Contains(text, "EOF") || strings.Contains(text, "connection reset") || strings.Contains(text, "closed")):
		return "the server hangs up on TLS: take tls=true out of the store's URI, or turn TLS on at the server"
	case strings.Contains(text, "socket was unexpectedly closed") || strings.Contains(text, "connection reset") || strings.Contains(text, "EOF"):
		return "the server hangs up: if it wants TLS, add tls=true to the store's URI; check that it is MongoDB"
	}
	return "no primary of the database answers: check host, port and replicaSet in the store's URI, and that the servers are up"
}

// Redacted returns err's text without the password of the URI.
func Redacted(err error, uri string) error {
	text := err.Error()
	if parsed, parseErr := url.Parse(uri); parseErr == nil && parsed.User != nil {
		if password, ok := parsed.User.Password(); ok && password != "" {
			text = strings.ReplaceAll(text, url.QueryEscape(password), "***")
			text = strings.ReplaceAll(text, password, "***")
		}
	} else if start, end := strings.Index(uri, "://"), strings.LastIndex(uri, "@"); start >= 0 && end > start {
		text = strings.ReplaceAll(text, uri[start+3:end], "***")
	}
	return errors.New(text)
}
