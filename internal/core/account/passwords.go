package account

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"hearth/internal/newid"

	"hearth"
)

const (
	resetTTL = time.Hour
	// resetSpacing is the least time between two e-mails with a link to one address.
	resetSpacing = 5 * time.Minute
	// ResetMailKind is the kind of the job that mails a password reset; see ResetMail.
	ResetMailKind = "mail.password_reset"
)

// ChangePassword replaces the caller's password and ends the other sessions. CodeInvalidCredentials for a wrong current
// one, which counts towards the lockout as at login (CodeAccountLocked); CodeValidationFailed.
func (s *Service) ChangePassword(ctx context.Context, caller hearth.Caller, current, next string) error {
	if errs := checkNewPassword(next, "body.new_password"); len(errs) > 0 {
		return hearth.Invalid(errs...)
	}
	me, err := s.store.User(ctx, caller.UserID)
	if err != nil {
		return err
	}
	return s.prove(ctx, caller, Credentials{Email: me.Email, Password: current, action: "auth.password"},
		func(ctx context.Context, p proof) error { return s.replacePassword(ctx, caller, p, next) })
}

func (s *Service) replacePassword(ctx context.Context, caller hearth.Caller, p proof, next string) error {
	hash, err := s.hashes.hash(ctx, next)
	if err != nil {
		return err
	}
	var effects hearth.SideEffects
	user, ended, err := s.store.UpdateUser(ctx, caller.UserID, func(user hearth.User) (hearth.UserChange, error) {
		if !bytes.Equal(user.PasswordHash, p.user.PasswordHash) { // a reset was faster: the old password counts no more
			return hearth.UserChange{}, errWrongCredentials()
		}
		user.PasswordHash, user.UpdatedAt = hash, s.now()
		effects = s.note(ctx, event{caller: caller, action: "auth.password", userID: user.ID, notify: hearth.NoticePassword})
		return hearth.UserChange{
			User: user, EndSessions: hearth.EndPassword, KeepSession: caller.SessionID, DropReset: true, ClearTries: p.tries, SideEffects: effects,
		}, nil
	})
	if err := s.logged(ctx, err, effects); err != nil {
		return err
	}
	s.ended(user.ID, ended...)
	return nil
}

// SetPassword sets the password of an account, for admins, and ends its sessions and its lockout. CodeForbidden, CodeNotFound,
// CodeValidationFailed.
func (s *Service) SetPassword(ctx context.Context, caller hearth.Caller, id, password string) (hearth.User, error) {
	if !caller.IsAdmin() {
		return hearth.User{}, errNotAdmin()
	}
	if errs := checkNewPassword(password, "body.password"); len(errs) > 0 {
		return hearth.User{}, hearth.Invalid(errs...)
	}
	hash, err := s.hashes.hash(ctx, password)
	if err != nil {
		return hearth.User{}, err
	}
	var effects hearth.SideEffects
	user, ended, err := s.store.UpdateUser(ctx, id, func(user hearth.User) (hearth.UserChange, error) {
		user.PasswordHash, user.Epoch, user.UpdatedAt = hash, user.Epoch+1, s.now()
		effects = s.note(ctx, event{caller: caller, action: "user.password", userID: user.ID, notify: hearth.NoticePassword})
		return hearth.UserChange{
			User: user, EndSessions: hearth.EndPassword, DropReset: true, ClearTries: [][]byte{s.triesKey(user.Email)}, SideEffects: effects,
		}, nil
	})
	if err := s.logged(ctx, err, effects); err != nil {
		return user, err
	}
	s.ended(user.ID, ended...)
	s.changed(user.ID)
	return user, nil
}

// resetJob is the payload of a job of kind ResetMailKind. It holds no secret: the token is derived when the mail is made.
type resetJob struct {
	ResetID string `json:"reset_id"`
}

// RequestReset mails a link for a new password to the e-mail if an account has it and got none within the last five minutes. The
// answer is the same and takes as long if none has. Links of before stay valid for their hour.
func (s *Service) RequestReset(ctx context.Context, caller hearth.Caller, email string) error {
	floor := time.NewTimer(s.options.ResetFloor)
	defer floor.Stop()
	if err := s.requestReset(ctx, caller, email); err != nil {
		return err
	}
	select {
	case <-floor.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) requestReset(ctx context.Context, caller hearth.Caller, email string) error {
	email, _ = hearth.NormalizeEmail(email)
	allowed := s.options.Mails.AllowReset(ctx, email)
	user, err := s.userByEmail(ctx, email)
	code := hearth.ErrorCode(err)
	switch {
	case code == hearth.CodeNotFound, err == nil && user.Disabled:
		return s.record(ctx, s.note(ctx, event{
			caller: caller, action: "auth.password_reset", userID: user.ID, result: hearth.CodeNotFound,
		}))
	case err != nil:
		return err
	case !allowed: // a link of the last hour is good still
		return s.record(ctx, s.note(ctx, event{
			caller: caller, action: "auth.password_reset", userID: user.ID, result: hearth.CodeRateLimited,
		}))
	}
	id := newid.New()
	effects := s.note(ctx, event{caller: caller, action: "auth.password_reset", userID: user.ID})
	effects.Jobs = append(effects.Jobs, s.job(ResetMailKind, resetJob{ResetID: id}))
	err = s.store.CreatePasswordReset(ctx, hearth.PasswordReset{
		ID: id, UserID: user.ID, Hash: hashToken(s.resetToken(id)), ExpiresAt: s.now().Add(resetTTL),
	}, resetSpacing, effects)
	if hearth.ErrorCode(err) == hearth.CodeConflict { // an e-mail is on its way
		return s.record(ctx, s.note(ctx, event{
			caller: caller, action: "auth.password_reset", userID: user.ID, result: hearth.CodeConflict,
		}))
	}
	return s.logged(ctx, err, effects)
}

// resetToken derives the token of a reset, so that it is stored nowhere, not even in the job that mails it.
func (s *Service) resetToken(id string) string {
	return base64.RawURLEncoding.EncodeToString(s.keys.derive("password_reset", id))
}

// ResetMail is what the mail of a password reset needs.
type ResetMail struct {
	Name  string
	Email string
	// Token goes into the link, behind the #.
	Token     string
	ExpiresAt time.Time
}

// ResetMail reads the payload of a job of kind ResetMailKind. CodeNotFound: the reset was used, has expired
// or is no longer wanted, and no mail is due.
func (s *Service) ResetMail(ctx context.Context, payload []byte) (ResetMail, error) {
	var job resetJob
	if err := json.Unmarshal(payload, &job); err != nil {
		return ResetMail{}, fmt.Errorf("read the job of a password reset: %w", err)
	}
	reset, err := s.store.PasswordReset(ctx, job.ResetID)
	if err != nil {
		return ResetMail{}, err
	}
	if !s.now().Before(reset.ExpiresAt) {
		return ResetMail{}, hearth.NotFound("password reset")
	}
	user, err := s.store.User(ctx, reset.UserID)
	return ResetMail{Name: user.Name, Email: user.Email, Token: s.resetToken(reset.ID), ExpiresAt: reset.ExpiresAt}, err
}

// ConfirmReset sets a new password by the token of a reset, ends all sessions and any lockout. CodeValidationFailed for a
// token that is unknown, used or expired, and for a password that is refused.
func (s *Service) ConfirmReset(ctx context.Context, caller hearth.Caller, token, next string) error {
	if errs := checkNewPassword(next, "body.new_password"); len(errs) > 0 {
		return hearth.Invalid(errs...)
	}
	refusal := hearth.Invalid(hearth.FieldError{Location: "body.token", Message: "is unknown, used or expired"})
	hash := hashToken(token)
	// Looked up first: a guess must not cost a password hash.
	if _, err := s.store.PasswordResetByHash(ctx, hash); err != nil {
		return orRefusal(err, refusal)
	}
	passwordHash, err := s.hashes.hash(ctx, next)
	if err != nil {
		return err
	}
	var effects hearth.SideEffects
	user, ended, err := s.store.UsePasswordReset(ctx, hash, func(reset hearth.PasswordReset, user hearth.User) (hearth.UserChange, error) {
		now := s.now()
		if !now.Before(reset.ExpiresAt) || user.Disabled {
			return hearth.UserChange{}, refusal
		}
		user.PasswordHash, user.UpdatedAt = passwordHash, now
		effects = s.note(ctx, event{
			caller: caller, actor: "user:" + user.ID, action: "auth.password_reset_confirm", userID: user.ID, notify: hearth.NoticePassword,
		})
		return hearth.UserChange{
			User: user, EndSessions: hearth.EndPassword, ClearTries: [][]byte{s.triesKey(user.Email)}, SideEffects: effects,
		}, nil
	})
	if err := s.logged(ctx, err, effects); err != nil {
		return orRefusal(err, refusal)
	}
	s.ended(user.ID, ended...)
	return nil
}

// orRefusal returns the refusal for what was not found.
func orRefusal(err error, refusal *hearth.Error) error {
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return refusal
	}
	return err
}
