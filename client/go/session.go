package hearth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// session is a login. Its access token is renewed once for all calls that need it.
type session struct {
	email, password string
	save            func(Tokens)

	mu              sync.Mutex
	access, refresh string
	ends            time.Time
	// renewing is the renewal that runs, nil while none does.
	renewing *renewal
}

type renewal struct {
	done   chan struct{}
	access string // this and err are set once done is closed
	err    error
}

const (
	// renewBefore is how long before its end an access token is renewed.
	renewBefore = 20 * time.Second
	// renewWithin bounds a renewal.
	renewWithin = time.Minute
)

// token returns an access token that is not the rejected one, renewing it if it must.
func (s *session) token(ctx context.Context, c *Client, rejected string) (string, error) {
	access, running := s.current(ctx, c, rejected)
	if running == nil {
		return access, nil
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-running.done:
		return running.access, running.err
	}
}

// current returns the access token, or the renewal that runs.
func (s *session) current(ctx context.Context, c *Client, rejected string) (access string, running *renewal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.access != "" && s.access != rejected && time.Until(s.ends) > renewBefore {
		return s.access, nil
	}
	if s.renewing == nil {
		s.renewing = &renewal{done: make(chan struct{})}
		// A call that is given up must not take the new refresh token with it: the old one is spent.
		go s.renew(context.WithoutCancel(ctx), c, s.renewing)
	}
	return "", s.renewing
}

func (s *session) renew(ctx context.Context, c *Client, r *renewal) {
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	s.mu.Lock()
	refresh := s.refresh
	s.mu.Unlock()
	tokens, err := s.newTokens(ctx, c, refresh)
	s.mu.Lock()
	if err == nil {
		s.access, s.refresh, r.access = tokens.AccessToken, tokens.RefreshToken, tokens.AccessToken
		s.ends = time.Now().Add(time.Duration(tokens.ExpiresIn) * time.Second)
	}
	s.mu.Unlock()
	if err == nil && s.save != nil {
		s.save(*tokens)
	}
	s.mu.Lock()
	r.err, s.renewing = err, nil
	s.mu.Unlock()
	close(r.done)
}

// newTokens refreshes the session, or signs in where it is over. The server answers a refresh token that is sent again at once with
// the same tokens, so that a lost answer does no harm.
func (s *session) newTokens(ctx context.Context, c *Client, refresh string) (*Tokens, error) {
	if refresh != "" {
		tokens, err := c.Refresh(ctx, RefreshRequest{RefreshToken: refresh}, callOption(repeatable))
		var refused *Error
		if err == nil || s.email == "" || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			return tokens, err
		}
	}
	return c.LogIn(ctx, Login{Email: s.email, Password: s.password}, callOption(repeatable))
}
