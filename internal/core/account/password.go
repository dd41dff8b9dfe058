package account

import (
	"context"
	_ "embed" // for the list of common passwords
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"hearth"
)

//go:embed common_passwords.txt
var commonPasswords string // sorted lines; see common_passwords.LICENSE

// maxHashQueue bounds how many requests wait for a password hash.
const maxHashQueue = 64

// hasher hashes and checks passwords with bcrypt, a few at a time, so that logins never starve the rest.
type hasher struct {
	cost    int
	slots   chan struct{}
	waiting atomic.Int64
	// decoy is compared for unknown e-mails, so that they take as long.
	decoy []byte
}

func newHasher(cost, slots int) *hasher {
	return &hasher{
		cost: cost, slots: make(chan struct{}, slots),
		// Any salt and any sum will do: no password is looked for.
		decoy: fmt.Appendf(nil, "$2a$%02d$%s%s", cost, "N9qo8uLOickgx2ZMRZoMye", "IjZAgcfl7p92ldGxad68LJZdL17lhWy"),
	}
}

// acquire waits for a turn; CodeUnavailable if too many wait already. release ends it.
func (h *hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > maxHashQueue {
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "too many logins at once", RetryAfter: time.Second}
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) release() { <-h.slots }

// hash makes the stored form of a password; it takes a turn of its own.
func (h *hasher) hash(ctx context.Context, password string) ([]byte, error) {
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	defer h.release()
	hash, err := bcrypt.GenerateFromPassword([]byte(norm.NFC.String(password)), h.cost)
	if err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// matches compares within the caller's turn, after NFC: keyboards and systems compose characters in different ways. A hash of before is
// of the password as it was typed.
func (h *hasher) matches(hash []byte, password string) bool {
	composed := norm.NFC.String(password)
	return h.fits(hash, composed) || composed != password && h.fits(hash, password)
}

// fits compares bytes. A password that is too long to be one is compared with the decoy.
func (h *hasher) fits(hash []byte, password string) bool {
	possible := len(password) <= hearth.MaxPassword && hash != nil
	if !possible {
		hash = h.decoy
	}
	password = password[:min(len(password), hearth.MaxPassword)]
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && possible
}

// checkNewPassword refuses what is too short, too long or too common.
func checkNewPassword(password, location string) []hearth.FieldError {
	password = norm.NFC.String(password)
	message := hearth.CheckPassword(password)
	if message == "" && isCommon(password) {
		message = "is one of the most common passwords"
	}
	if message == "" {
		return nil
	}
	return []hearth.FieldError{{Location: location, Message: message}}
}

// isCommon reports whether a password is in the list, in any case, or repeats one character.
func isCommon(password string) bool {
	password = strings.ToLower(password)
	if password == strings.Repeat(password[:1], len(password)) {
		return true
	}
	low, high := 0, len(commonPasswords) // both at the start of a line
	for low < high {
		middle := low + (high-low)/2
		start := strings.LastIndexByte(commonPasswords[:middle], '\n') + 1
		end := start + strings.IndexByte(commonPasswords[start:], '\n')
		switch line := commonPasswords[start:end]; {
		case line == password:
			return true
		case line < password:
			low = end + 1
		default:
			high = start
		}
	}
	return false
}
