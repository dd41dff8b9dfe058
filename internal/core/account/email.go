package account

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hearth"
)

const (
	emailTTL = 24 * time.Hour
	// EmailMailKind is the kind of the job that mails the link which confirms a new e-mail; see EmailMail.
	EmailMailKind = "mail.email"
)

// newEmail is the e-mail that an account is to have: the payload of a job of kind EmailMailKind, and of the token that confirms it.
type newEmail struct {
	UserID    string    `json:"user_id"`
	Email     string    `json:"email"`
	ExpiresAt time.Time `json:"expires_at"`
}

// emailToken returns the token that confirms an e-mail. It is signed, and stored nowhere. It is good until the user's e-mail or password is
// another one, so that it is used once.
func (s *Service) emailToken(n newEmail, user hearth.User) string {
	plain, err := json.Marshal(n)
	if err != nil {
		panic("account: an e-mail always encodes: " + err.Error())
	}
	signed := s.keys.derive("email", string(plain)+"\x00"+user.Email+"\x00"+string(user.PasswordHash))
	return base64.RawURLEncoding.EncodeToString(plain) + "." + base64.RawURLEncoding.EncodeToString(signed)
}

// readEmailToken returns what a token says, which is not checked yet.
func readEmailToken(token string) (n newEmail, err error) {
	text, _, _ := strings.Cut(token, ".")
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(plain, &n)
	}
	return n, err
}

// requestEmail changes the caller's account but for the e-mail, and mails a link to the new one, which counts once it is confirmed by it.
// CodeInvalidCredentials and CodeAccountLocked as at login; CodeEmailTaken, CodeRateLimited, and what UpdateMe returns.
func (s *Service) requestEmail(ctx context.Context, caller hearth.Caller, me hearth.User, email string, update MeUpdate) (user hearth.User, err error) {
	wanted := me
	wanted.Email = email
	errs := wanted.Validate("body.")
	if update.CurrentPassword == "" {
		errs = append(errs, hearth.FieldError{Location: "body.current_password", Message: "is required with another email"})
	}
	if len(errs) > 0 {
		return me, hearth.Invalid(errs...)
	}
	credentials := Credentials{Email: me.Email, Password: update.CurrentPassword, action: "user.email"}
	err = s.prove(ctx, caller, credentials, func(ctx context.Context, p proof) error {
		switch _, err := s.userByEmail(ctx, email); {
		case err == nil:
			return hearth.Errorf(hearth.CodeEmailTaken, "there is an account with this e-mail")
		case hearth.ErrorCode(err) != hearth.CodeNotFound:
			return err
		}
		if err := s.options.Mails.Allow(ctx, caller.UserID, email); err != nil {
			return err
		}
		link := s.job(EmailMailKind, newEmail{UserID: me.ID, Email: email, ExpiresAt: s.now().Add(emailTTL)})
		user, err = s.updateMe(ctx, caller, update, func(change *hearth.UserChange) {
			change.ClearTries = p.tries
			change.SideEffects.Jobs = append(change.SideEffects.Jobs, link)
		})
		return err
	})
	return user, err
}

// EmailMail is what the mail of a new e-mail needs.
type EmailMail struct {
	Name  string
	Email string
	// Token goes into the link, behind the #.
	Token     string
	ExpiresAt time.Time
}

// EmailMail reads the payload of a job of kind EmailMailKind. CodeNotFound: it has expired, or the account has that e-mail already, and no
// mail is due.
func (s *Service) EmailMail(ctx context.Context, payload []byte) (EmailMail, error) {
	var n newEmail
	if err := json.Unmarshal(payload, &n); err != nil {
		return EmailMail{}, fmt.Errorf("read the job of a new e-mail: %w", err)
	}
	user, err := s.store.User(ctx, n.UserID)
	if err == nil && (!s.now().Before(n.ExpiresAt) || user.Email == n.Email || user.Disabled) {
		err = hearth.NotFound("new e-mail")
	}
	return EmailMail{Name: user.Name, Email: n.Email, Token: s.emailToken(n, user), ExpiresAt: n.ExpiresAt}, err
}

// ConfirmEmail sets the e-mail of an account to the one that a token of EmailMail confirms; the old address is sent a notice. CodeValidationFailed for a
// token that is unknown, used or expired; CodeEmailTaken.
func (s *Service) ConfirmEmail(ctx context.Context, caller hearth.Caller, token string) error {
	refusal := hearth.Invalid(hearth.FieldError{Location: "body.token", Message: "is unknown, used or expired"})
	n, err := readEmailToken(token)
	if err != nil {
		return refusal
	}
	var effects hearth.SideEffects
	_, _, err = s.store.UpdateUser(ctx, n.UserID, func(user hearth.User) (hearth.UserChange, error) {
		now := s.now()
		if subtle.ConstantTimeCompare([]byte(token), []byte(s.emailToken(n, user))) != 1 || !now.Before(n.ExpiresAt) || user.Disabled {
			return hearth.UserChange{}, refusal
		}
		effects = s.note(ctx, event{
			caller: caller, actor: "user:" + user.ID, action: "user.update", userID: user.ID, notify: hearth.NoticeEmail, notifyAt: user.Email,
			changes: map[string]hearth.Change{"email": {Before: user.Email, After: n.Email}},
		})
		user.Email, user.UpdatedAt = n.Email, now
		// A link for a new password that went to the old address is worth nothing now.
		return hearth.UserChange{User: user, DropReset: true, SideEffects: effects}, nil
	})
	return orRefusal(s.logged(ctx, err, effects), refusal)
}
