package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hearth"
)

// forge is an access token taken apart, with the server's own key: what a test can do that no attacker can.
type forge struct {
	t       *testing.T
	header  m
	claims  m
	private ed25519.PrivateKey
	valid   string
}

// newForge takes a valid access token and the server's key file.
func newForge(t *testing.T, valid, keyFile string) forge {
	t.Helper()
	data, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keys []struct{ Seed []byte } `json:"signing_keys"`
	}
	if err := json.Unmarshal(data, &file); err != nil || len(file.Keys) != 1 {
		t.Fatalf("the key file is %s, %v", data, err)
	}
	f := forge{t: t, private: ed25519.NewKeyFromSeed(file.Keys[0].Seed), valid: valid}
	parts := strings.Split(valid, ".")
	for i, into := range []*m{&f.header, &f.claims} {
		if err := json.Unmarshal(unbase64(t, parts[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// with gives fields over others; a nil value removes the field.
func with(base m, change m) m {
	out := maps.Clone(base)
	for k, v := range change {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

// signing gives header and claims as they are signed.
func (f forge) signing(header, claims m) string {
	var parts []string
	for _, part := range []m{with(f.header, header), with(f.claims, claims)} {
		data, err := json.Marshal(part)
		if err != nil {
			f.t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(data))
	}
	return strings.Join(parts, ".")
}

// signed is a token of changed header and claims, signed with the server's key.
func (f forge) signed(header, claims m) string {
	text := f.signing(header, claims)
	return f.sign(text, f.private)
}

func (f forge) sign(text string, key ed25519.PrivateKey) string {
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

func (f forge) hmac(header m, secret []byte) string {
	text := f.signing(header, nil)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// part gives the valid token with one part replaced.
func (f forge) part(i int, text string) string {
	parts := strings.Split(f.valid, ".")
	parts[i] = text
	return strings.Join(parts, ".")
}

func TestForgedAccessTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	s.signUp("eve@example.com")
	in, other := s.login("ann@example.com"), s.login("eve@example.com")
	f := newForge(t, in.text("access_token"), s.keyFile)
	public := f.private.Public().(ed25519.PublicKey)
	_, attacker, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	attackerJWK := m{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(attacker.Public().(ed25519.PublicKey))}
	var fetched atomic.Int32
	lure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_ = json.NewEncoder(w).Encode(m{"keys": []any{with(attackerJWK, m{"kid": "evil"})}})
	}))
	t.Cleanup(lure.Close)
	now := s.clock.now.Unix()
	rs, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(f.claims)).SignedString(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	byAttacker := func(header m) string { return f.sign(f.signing(header, nil), attacker) }
	validParts := strings.Split(f.valid, ".")
	signature := unbase64(t, validParts[2])
	flipped := bytes.Clone(signature)
	flipped[5] ^= 1

	tests := []struct {
		name, token string
		code        hearth.Code
	}{
		// The control: what is forged below is otherwise right.
		{"nothing changed, signed anew", f.signed(nil, nil), ""},
		{"the token itself", f.valid, ""},

		{"alg none", f.signing(m{"alg": "none"}, nil) + ".", hearth.CodeUnauthenticated},
		{"alg None", f.signing(m{"alg": "None"}, nil) + ".", hearth.CodeUnauthenticated},
		{"alg NONE", f.signing(m{"alg": "NONE"}, nil) + ".", hearth.CodeUnauthenticated},
		{"alg nOnE with the signature kept", f.part(0, strings.Split(f.signing(m{"alg": "nOnE"}, nil), ".")[0]), hearth.CodeUnauthenticated},
		{"alg none without a last part", f.signing(m{"alg": "none"}, nil), hearth.CodeUnauthenticated},
		{"alg empty", f.signed(m{"alg": ""}, nil), hearth.CodeUnauthenticated},
		{"alg missing", f.signed(m{"alg": nil}, nil), hearth.CodeUnauthenticated},
		{"alg a list", f.signed(m{"alg": []string{"EdDSA"}}, nil), hearth.CodeUnauthenticated},
		{"alg eddsa in lower case", f.signed(m{"alg": "eddsa"}, nil), hearth.CodeUnauthenticated},
		{"HS256 with the public key", f.hmac(m{"alg": "HS256"}, public), hearth.CodeUnauthenticated},
		{"HS256 with the published key", f.hmac(m{"alg": "HS256"}, []byte(s.keys.Public()[0].X)), hearth.CodeUnauthenticated},
		{"HS256 with an empty key", f.hmac(m{"alg": "HS256"}, nil), hearth.CodeUnauthenticated},
		{"HS256 with the word secret", f.hmac(m{"alg": "HS256"}, []byte("secret")), hearth.CodeUnauthenticated},
		{"RS256", rs, hearth.CodeUnauthenticated},
		{"alg ES256 over an Ed25519 signature", f.signed(m{"alg": "ES256"}, nil), hearth.CodeUnauthenticated},

		{"another's signature", byAttacker(nil), hearth.CodeUnauthenticated},
		{"no signature", f.part(2, ""), hearth.CodeUnauthenticated},
		{"a changed signature", f.part(2, base64.RawURLEncoding.EncodeToString(flipped)), hearth.CodeUnauthenticated},
		{"a cut signature", f.part(2, validParts[2][:40]), hearth.CodeUnauthenticated},
		{"a longer signature", f.part(2, validParts[2]+"AAAA"), hearth.CodeUnauthenticated},
		{"a signature of zeros", f.part(2, base64.RawURLEncoding.EncodeToString(make([]byte, 64))), hearth.CodeUnauthenticated},
		{"a signature with padding", f.valid + "==", hearth.CodeUnauthenticated},
		{"the last bits of the signature changed", f.valid[:len(f.valid)-1] + string(otherBits(f.valid[len(f.valid)-1])), hearth.CodeUnauthenticated},
		{"the claims of another token", f.part(1, strings.Split(other.text("access_token"), ".")[1]), hearth.CodeUnauthenticated},
		{"claims changed after signing", f.part(1, strings.Split(f.signing(nil, m{"role": "admin"}), ".")[1]), hearth.CodeUnauthenticated},

		{"kid unknown", f.signed(m{"kid": "x"}, nil), hearth.CodeUnauthenticated},
		{"kid missing", f.signed(m{"kid": nil}, nil), hearth.CodeUnauthenticated},
		{"kid empty", f.signed(m{"kid": ""}, nil), hearth.CodeUnauthenticated},
		{"kid a number", f.signed(m{"kid": 0}, nil), hearth.CodeUnauthenticated},
		{"kid a path", byAttacker(m{"kid": "../../../../dev/null"}), hearth.CodeUnauthenticated},
		{"kid SQL", byAttacker(m{"kid": "' UNION SELECT 'x' --"}), hearth.CodeUnauthenticated},
		{"kid a URL", byAttacker(m{"kid": lure.URL}), hearth.CodeUnauthenticated},
		{"jku to the attacker's keys", byAttacker(m{"jku": lure.URL, "kid": "evil"}), hearth.CodeUnauthenticated},
		{"jku with the server's kid", byAttacker(m{"jku": lure.URL}), hearth.CodeUnauthenticated},
		{"jwk with the attacker's key", byAttacker(m{"jwk": attackerJWK, "kid": nil}), hearth.CodeUnauthenticated},
		{"jwk with the server's kid", byAttacker(m{"jwk": attackerJWK}), hearth.CodeUnauthenticated},
		{"x5u to the attacker's certificate", byAttacker(m{"x5u": lure.URL}), hearth.CodeUnauthenticated},
		{"x5c with a certificate", byAttacker(m{"x5c": []string{base64.StdEncoding.EncodeToString(public)}}), hearth.CodeUnauthenticated},
		{"crit with an extension", f.signed(m{"crit": []string{"exp"}}, nil), hearth.CodeUnauthenticated},
		{"typ of another kind of token", f.signed(m{"typ": "JWT"}, nil), hearth.CodeUnauthenticated},

		{"iss of another server", f.signed(nil, m{"iss": "https://evil.example"}), hearth.CodeUnauthenticated},
		{"iss missing", f.signed(nil, m{"iss": nil}), hearth.CodeUnauthenticated},
		{"aud of another service", f.signed(nil, m{"aud": "other"}), hearth.CodeUnauthenticated},
		{"aud missing", f.signed(nil, m{"aud": nil}), hearth.CodeUnauthenticated},
		{"aud empty", f.signed(nil, m{"aud": []string{}}), hearth.CodeUnauthenticated},
		{"exp missing", f.signed(nil, m{"exp": nil}), hearth.CodeUnauthenticated},
		{"exp a word", f.signed(nil, m{"exp": "never"}), hearth.CodeUnauthenticated},
		{"exp now", f.signed(nil, m{"exp": now}), hearth.CodeTokenExpired},
		{"exp long ago", f.signed(nil, m{"exp": 1}), hearth.CodeTokenExpired},
		{"exp negative", f.signed(nil, m{"exp": -1}), hearth.CodeTokenExpired},
		{"expired and of another server", f.signed(nil, m{"exp": 1, "iss": "x"}), hearth.CodeUnauthenticated},
		{"expired with another's signature", f.sign(f.signing(nil, m{"exp": 1}), attacker), hearth.CodeUnauthenticated},
		{"nbf in the future", f.signed(nil, m{"nbf": now + 61}), hearth.CodeUnauthenticated},
		{"iat in the future", f.signed(nil, m{"iat": now + 61}), hearth.CodeUnauthenticated},
		{"sub of another user", f.signed(nil, m{"sub": other.body["user"].(m)["id"]}), hearth.CodeTokenRevoked},
		{"sub missing", f.signed(nil, m{"sub": nil}), hearth.CodeUnauthenticated},
		{"sid unknown", f.signed(nil, m{"sid": "none"}), hearth.CodeTokenRevoked},
		{"sid missing", f.signed(nil, m{"sid": nil}), hearth.CodeUnauthenticated},
		{"role admin", f.signed(nil, m{"role": "admin"}), hearth.CodeTokenRevoked},
		{"role unknown", f.signed(nil, m{"role": "root"}), hearth.CodeUnauthenticated},
		{"epoch of another time", f.signed(nil, m{"epoch": 1}), hearth.CodeTokenRevoked},

		{"a refresh token", in.text("refresh_token"), hearth.CodeUnauthenticated},
		{"a device's token that nobody has", "hd_none", hearth.CodeUnauthenticated},
		{"nothing but dots", "..", hearth.CodeUnauthenticated},
		{"two parts", strings.Join(validParts[:2], "."), hearth.CodeUnauthenticated},
		{"four parts", f.valid + ".x", hearth.CodeUnauthenticated},
		{"five parts, as if encrypted", "a.b.c.d.e", hearth.CodeUnauthenticated},
		{"standard base64", strings.NewReplacer("-", "+", "_", "/").Replace(f.part(0, validParts[0]+"+/")), hearth.CodeUnauthenticated},
		{"no base64", "!.!.!", hearth.CodeUnauthenticated},
		{"a header that is no JSON", f.part(0, base64.RawURLEncoding.EncodeToString([]byte("alg"))), hearth.CodeUnauthenticated},
		{"a very long token", strings.Repeat("a", 5000), hearth.CodeUnauthenticated},
		{"a long token of three parts", f.part(1, strings.Repeat("a", 3000)), hearth.CodeUnauthenticated},
	}
	if len(tests) < 32 {
		t.Fatalf("only %d cases", len(tests))
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &site{t: t, url: s.url}
			status := http.StatusUnauthorized
			if test.code == "" {
				status = http.StatusOK
			}
			r := s.call("GET", "/users/me", test.token, nil)
			s.want(r, status, test.code)
			if test.code != "" && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
			}
		})
	}
	t.Cleanup(func() {
		if n := fetched.Load(); n != 0 {
			t.Errorf("a token made the server fetch keys %d times", n)
		}
	})
}

// otherBits gives a letter of base64 that differs only in the bits that encode nothing.
func otherBits(last byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, last)^1]
}

func TestTokensArePlacedInTheHeaderAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	in := s.login("ann@example.com")
	token := in.text("access_token")
	s.want(s.call("GET", "/users/me?access_token="+token, "", nil), 401, hearth.CodeUnauthenticated)
	s.want(s.call("GET", "/users/me", "", nil, "Authorization", "bearer "+token), 200, "")
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + token, token, "Bearer  " + token, "Bearer " + token + " x", "Token " + token} {
		s.want(s.call("GET", "/users/me", "", nil, "Authorization", header), 401, hearth.CodeUnauthenticated)
	}
	for _, kind := range []string{token, "hd_x"} { // neither is a refresh token
		s.want(s.call("POST", "/auth/refresh", "", m{"refresh_token": kind}), 401, hearth.CodeUnauthenticated)
	}
	// A client that still sends a bad token can sign in.
	s.want(s.call("POST", "/auth/login", "x.y.z", m{"email": "ann@example.com", "password": sitePassword}), 200, "")
}

func TestFiftyParallelRefreshesGiveOneSuccess(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	in := s.login("ann@example.com")
	count := s.parallel(50, func(int) reply {
		return s.call("POST", "/auth/refresh", "", m{"refresh_token": in.text("refresh_token")})
	})
	if count[""] != 1 || count[hearth.CodeRefreshReused] != 49 {
		t.Errorf("the refreshes were answered by %v", count)
	}
	s.want(s.call("GET", "/users/me", in.text("access_token"), nil), 401, hearth.CodeTokenRevoked)
}

func TestTwoHundredParallelGuessesGetFiveVerdicts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	for _, email := range []string{"ann@example.com", "nobody@example.com"} { // neither can be told from the other
		count := s.parallel(200, func(int) reply {
			return s.call("POST", "/auth/login", "", m{"email": email, "password": "guess guess guess"})
		})
		if count[hearth.CodeInvalidCredentials] != 5 || count[hearth.CodeAccountLocked] != 195 {
			t.Errorf("%s: the guesses were answered by %v", email, count)
		}
	}
}

func TestParallelSignUpsMakeOneAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	count := s.parallel(20, func(int) reply {
		return s.call("POST", "/auth/signup", "", m{"name": "Ann", "email": "ann@example.com", "password": sitePassword})
	})
	if count[""] != 1 || count[hearth.CodeEmailTaken] != 19 {
		t.Errorf("the sign-ups were answered by %v", count)
	}
}

// parallel makes n calls at once and counts their codes.
func (s *site) parallel(n int, call func(int) reply) map[hearth.Code]int {
	s.t.Helper()
	var mu sync.Mutex
	count := map[hearth.Code]int{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r := call(i)
			mu.Lock()
			defer mu.Unlock()
			count[r.code()]++
		})
	}
	wg.Wait()
	return count
}

func TestACachedTokenExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp("ann@example.com")
	token := s.login("ann@example.com").text("access_token")
	s.want(s.call("GET", "/users/me", token, nil), 200, "")
	s.clock.now = s.clock.now.Add(15 * time.Minute)
	s.want(s.call("GET", "/users/me", token, nil), 401, hearth.CodeTokenExpired)
	if _, err := s.accounts.Authenticate(context.Background(), token); hearth.ErrorCode(err) != hearth.CodeTokenExpired {
		t.Errorf("a cached token that expired is answered by %v", err)
	}
}
