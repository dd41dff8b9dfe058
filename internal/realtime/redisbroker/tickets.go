package redisbroker

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"hearth"
	"hearth/internal/redisconn"
)

// ticketTTL is how long a ticket opens a stream.
const ticketTTL = 30 * time.Second

// Tickets keeps the one-use tickets of all instances, each under realtime:{HASH} for 30 s. The token that a ticket stands
// for is encrypted with a key that only the ticket holds: a reader of Redis learns neither.
type Tickets struct{ conn *redisconn.Conn }

// NewTickets makes a store of tickets. It needs no closing.
func NewTickets(conn *redisconn.Conn) (*Tickets, error) {
	if conn == nil {
		return nil, errors.New("redisbroker: tickets need a connection")
	}
	return &Tickets{conn: conn}, nil
}

// Issue returns a new ticket that stands for the access token for 30 s. CodeUnavailable while Redis is away.
func (t *Tickets) Issue(ctx context.Context, token string) (string, error) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	ticket := base64.RawURLEncoding.EncodeToString(random[:])
	key, box, err := open(ticket)
	if err != nil {
		return "", err
	}
	sealed := box.Seal(nil, make([]byte, box.NonceSize()), []byte(token), nil) //nolint:gosec // each key encrypts once
	err = t.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		return client.Do(ctx, client.B().Set().Key(key).Value(rueidis.BinaryString(sealed)).Px(ticketTTL).Build()).Error()
	})
	if err != nil {
		return "", err
	}
	return ticket, nil
}

// Redeem returns the ticket's token, to exactly one caller on any instance. CodeUnauthenticated for the others, and for a ticket
// that is unknown or too old; CodeUnavailable while Redis is away.
func (t *Tickets) Redeem(ctx context.Context, ticket string) (token string, err error) {
	refused := hearth.Errorf(hearth.CodeUnauthenticated, "the ticket is unknown, used or too old")
	key, box, err := open(ticket)
	if err != nil {
		return "", err
	}
	err = t.conn.Do(ctx, func(ctx context.Context, client rueidis.Client) error {
		sealed, err := client.Do(ctx, client.B().Getdel().Key(key).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return refused
		}
		if err != nil {
			return err
		}
		plain, err := box.Open(nil, make([]byte, box.NonceSize()), sealed, nil)
		if err != nil {
			return refused
		}
		token = string(plain)
		return nil
	})
	return token, err
}

// open returns a ticket's name in Redis, and what its token is encrypted with.
func open(ticket string) (key string, box cipher.AEAD, err error) {
	name, secret := sha256.Sum256([]byte("name "+ticket)), sha256.Sum256([]byte("key "+ticket))
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return "", nil, err
	}
	box, err = cipher.NewGCM(block)
	return "realtime:{" + base64.RawURLEncoding.EncodeToString(name[:18]) + "}", box, err
}
