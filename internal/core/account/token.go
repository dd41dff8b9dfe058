package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"hearth/internal/newid"

	"github.com/golang-jwt/jwt/v5"

	"hearth"
)

const (
	audience = "hearth"
	// accessType is the "typ" of RFC 9068: a token of ours for another purpose is no access token.
	accessType = "at+jwt"
	// leeway is for clocks of instances that differ, when a token seems to come from the future. Expiry has none.
	leeway = 30 * time.Second
	// maxAccessToken bounds what is looked at, in bytes.
	maxAccessToken = 2048
	// refreshPrefix marks a refresh token, as "hd_" marks a device's.
	refreshPrefix = "hr_"
	secretBytes   = 32
)

// accessClaims are what an access token says.
type accessClaims struct {
	jwt.RegisteredClaims
	SessionID string      `json:"sid"`
	Role      hearth.Role `json:"role"`
	Epoch     int64       `json:"epoch"`
}

// tokens signs and verifies access tokens.
type tokens struct {
	keys   *KeyRing
	issuer string
	ttl    time.Duration
	parser *jwt.Parser
}

func newTokens(o Options) *tokens {
	return &tokens{
		keys: o.Keys, issuer: o.Issuer, ttl: o.AccessTTL,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(o.Issuer), jwt.WithAudience(audience),
			jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(),
			jwt.WithTimeFunc(o.Clock.Now),
		),
	}
}

// sign makes an access token for a session of the user; it does not outlive the session. It returns the token's life too.
func (t *tokens) sign(user hearth.User, session hearth.Session, now time.Time) (string, time.Duration, error) {
	life := min(t.ttl, session.ExpiresAt.Sub(now))
	key := t.keys.signer(now)
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.issuer, Audience: jwt.ClaimStrings{audience}, Subject: user.ID, ID: newid.New(),
			IssuedAt: jwt.NewNumericDate(now),
			// Whole seconds, rounded up: the session's own end is checked too.
			ExpiresAt: jwt.NewNumericDate(now.Add(life + time.Second - time.Nanosecond)),
		},
		SessionID: session.ID, Role: user.Role, Epoch: user.Epoch,
	})
	token.Header["kid"], token.Header["typ"] = key.id, accessType
	text, err := token.SignedString(key.private)
	if err != nil {
		return "", 0, fmt.Errorf("sign an access token: %w", err)
	}
	return text, life, nil
}

// verified is what is kept of an access token that was found to be ours.
type verified struct {
	userID    string
	sessionID string
	role      hearth.Role
	epoch     int64
	expiresAt int64 // Unix seconds
}

// verify checks an access token by itself: everything but whether it was revoked. It does no I/O.
func (t *tokens) verify(text string, now time.Time) (verified, error) {
	if len(text) > maxAccessToken {
		return verified{}, errBadToken()
	}
	var claims accessClaims
	_, err := t.parser.ParseWithClaims(text, &claims, func(token *jwt.Token) (any, error) {
		if _, critical := token.Header["crit"]; critical || token.Header["typ"] != accessType {
			return nil, errors.New("not an access token")
		}
		id, _ := token.Header["kid"].(string)
		key, ok := t.keys.verifier(id, now)
		if !ok {
			return nil, errors.New("unknown key")
		}
		return key, nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) && onlyExpired(err):
		return verified{}, errExpiredToken()
	case err != nil, claims.Subject == "", claims.SessionID == "", !claims.Role.Valid():
		return verified{}, errBadToken()
	}
	v := verified{
		userID: claims.Subject, sessionID: claims.SessionID, role: claims.Role, epoch: claims.Epoch,
		expiresAt: claims.ExpiresAt.Unix(),
	}
	if now.Unix() >= v.expiresAt {
		return verified{}, errExpiredToken()
	}
	return v, nil
}

// onlyExpired reports whether nothing else is wrong with the claims: "expired" makes a client refresh.
func onlyExpired(err error) bool {
	for _, other := range []error{
		jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenUsedBeforeIssued, jwt.ErrTokenNotValidYet,
		jwt.ErrTokenRequiredClaimMissing, jwt.ErrTokenSignatureInvalid, jwt.ErrTokenUnverifiable, jwt.ErrTokenMalformed,
	} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// newRefreshToken makes an opaque refresh token of 256 random bits, and the hash under which it is kept.
func newRefreshToken() (token string, hash []byte, err error) {
	token, err = newSecret()
	token = refreshPrefix + token
	return token, hashToken(token), err
}

func newSecret() (string, error) {
	secret := make([]byte, secretBytes)
	_, err := rand.Read(secret)
	return base64.RawURLEncoding.EncodeToString(secret), err
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func errBadToken() error {
	return hearth.Errorf(hearth.CodeUnauthenticated, "the token is not valid")
}

func errExpiredToken() error {
	return hearth.Errorf(hearth.CodeTokenExpired, "the token has expired")
}

func errRevokedToken() error {
	return hearth.Errorf(hearth.CodeTokenRevoked, "the token was revoked")
}
