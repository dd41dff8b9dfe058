package kv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"hearth"
)

// The classes of limits of e-mails that users cause to addresses. They are always on: HEARTH_RATE_LIMITS does not name them.
const (
	mailsTo    = "mail_to"    // invitations and links to confirm an address, to one address
	mailsBy    = "mail_by"    // the same, by one user
	mailsReset = "mail_reset" // links for a new password, to one address
)

// MailLimits returns the limits of e-mails. One link for a new password an hour is there however many strangers ask: each is good for an hour.
func MailLimits() Limits {
	const day = 24 * time.Hour
	return Limits{mailsTo: {Limit: 10, Per: day}, mailsBy: {Limit: 50, Per: day}, mailsReset: {Limit: 24, Per: day}}
}

// Mails bounds the e-mails that users cause to addresses, each a day. With a nil Limiter nothing is bounded.
type Mails struct{ Limiter Limiter }

// Allow counts an e-mail that a user causes to an address; CodeRateLimited if one of the two has had enough.
func (m Mails) Allow(ctx context.Context, userID, email string) error {
	for class, key := range map[string]string{mailsTo: addressKey(email), mailsBy: userID} {
		if d, allowed := m.count(ctx, class, key); !allowed {
			return &hearth.Error{
				Code: hearth.CodeRateLimited, Message: "too many e-mails for a day: to this address, or by you", RetryAfter: d.RetryAfter, Limit: class,
			}
		}
	}
	return nil
}

// AllowReset counts a link for a new password and reports whether it may be sent.
func (m Mails) AllowReset(ctx context.Context, email string) bool {
	_, allowed := m.count(ctx, mailsReset, addressKey(email))
	return allowed
}

// count counts one; what cannot be counted is allowed.
func (m Mails) count(ctx context.Context, class, key string) (Decision, bool) {
	if m.Limiter == nil {
		return Decision{}, true
	}
	d, err := m.Limiter.Allow(ctx, class, key, 1)
	return d, err != nil || d.Limit == 0 || d.Allowed
}

// addressKey names an address without saying it.
func addressKey(email string) string {
	sum := sha256.Sum256([]byte(email))
	return hex.EncodeToString(sum[:16])
}
