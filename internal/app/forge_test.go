package app_test

import (
	"bytes"
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
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hearth"
	"hearth/internal/apitest"
)

// forge is an access token taken apart, with the server's own key: what a test can do that no attacker can.
type forge struct {
	t       *testing.T
	header  apitest.Object
	claims  apitest.Object
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
	for i, into := range []*apitest.Object{&f.header, &f.claims} {
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

// changed returns fields over others; a nil value removes the field.
func changed(base, change apitest.Object) apitest.Object {
	out := maps.Clone(base)
	for k, v := range change {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

// signing returns header and claims as they are signed.
func (f forge) signing(header, claims apitest.Object) string {
	var parts []string
	for _, part := range []apitest.Object{changed(f.header, header), changed(f.claims, claims)} {
		data, err := json.Marshal(part)
		if err != nil {
			f.t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(data))
	}
	return strings.Join(parts, ".")
}

// signed is a token of changed header and claims, signed with the server's key.
func (f forge) signed(header, claims apitest.Object) string {
	text := f.signing(header, claims)
	return f.sign(text, f.private)
}

func (f forge) sign(text string, key ed25519.PrivateKey) string {
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

func (f forge) hmac(header apitest.Object, secret []byte) string {
	text := f.signing(header, nil)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// part returns the valid token with one part replaced.
func (f forge) part(i int, text string) string {
	parts := strings.Split(f.valid, ".")
	parts[i] = text
	return strings.Join(parts, ".")
}

func (w *instances) forgeTokens(t *testing.T) {
	w.signUp(t, "ann@example.com")
	w.signUp(t, "eve@example.com")
	in, other := w.login(t, "ann@example.com"), w.login(t, "eve@example.com")
	f := newForge(t, in.text("access_token"), w.keyFile)
	public := f.private.Public().(ed25519.PublicKey)
	_, attacker, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	attackerJWK := apitest.Object{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(attacker.Public().(ed25519.PublicKey))}
	var fetched atomic.Int32
	lure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_ = json.NewEncoder(w).Encode(apitest.Object{"keys": []any{changed(attackerJWK, apitest.Object{"kid": "evil"})}})
	}))
	t.Cleanup(lure.Close)
	now := time.Now().Unix()
	rs, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(f.claims)).SignedString(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	byAttacker := func(header apitest.Object) string { return f.sign(f.signing(header, nil), attacker) }
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

		{"alg none", f.signing(apitest.Object{"alg": "none"}, nil) + ".", hearth.CodeUnauthenticated},
		{"alg None", f.signing(apitest.Object{"alg": "None"}, nil) + ".", hearth.CodeUnauthenticated},
		{"alg NONE", f.signing(apitest.Object{"alg": "NONE"}, nil) + ".", hearth.CodeUnauthenticated},
		{"alg nOnE with the signature kept", f.part(0, strings.Split(f.signing(apitest.Object{"alg": "nOnE"}, nil), ".")[0]), hearth.CodeUnauthenticated},
		{"alg none without a last part", f.signing(apitest.Object{"alg": "none"}, nil), hearth.CodeUnauthenticated},
		{"alg empty", f.signed(apitest.Object{"alg": ""}, nil), hearth.CodeUnauthenticated},
		{"alg missing", f.signed(apitest.Object{"alg": nil}, nil), hearth.CodeUnauthenticated},
		{"alg a list", f.signed(apitest.Object{"alg": []string{"EdDSA"}}, nil), hearth.CodeUnauthenticated},
		{"alg eddsa in lower case", f.signed(apitest.Object{"alg": "eddsa"}, nil), hearth.CodeUnauthenticated},
		{"HS256 with the public key", f.hmac(apitest.Object{"alg": "HS256"}, public), hearth.CodeUnauthenticated},
		{"HS256 with the published key", f.hmac(apitest.Object{"alg": "HS256"}, []byte(w.publishedKey(t))), hearth.CodeUnauthenticated},
		{"HS256 with an empty key", f.hmac(apitest.Object{"alg": "HS256"}, nil), hearth.CodeUnauthenticated},
		{"HS256 with the word secret", f.hmac(apitest.Object{"alg": "HS256"}, []byte("secret")), hearth.CodeUnauthenticated},
		{"RS256", rs, hearth.CodeUnauthenticated},
		{"alg ES256 over an Ed25519 signature", f.signed(apitest.Object{"alg": "ES256"}, nil), hearth.CodeUnauthenticated},

		{"another's signature", byAttacker(nil), hearth.CodeUnauthenticated},
		{"no signature", f.part(2, ""), hearth.CodeUnauthenticated},
		{"a changed signature", f.part(2, base64.RawURLEncoding.EncodeToString(flipped)), hearth.CodeUnauthenticated},
		{"a cut signature", f.part(2, validParts[2][:40]), hearth.CodeUnauthenticated},
		{"a longer signature", f.part(2, validParts[2]+"AAAA"), hearth.CodeUnauthenticated},
		{"a signature of zeros", f.part(2, base64.RawURLEncoding.EncodeToString(make([]byte, 64))), hearth.CodeUnauthenticated},
		{"a signature with padding", f.valid + "==", hearth.CodeUnauthenticated},
		{"the last bits of the signature changed", f.valid[:len(f.valid)-1] + string(otherBits(f.valid[len(f.valid)-1])), hearth.CodeUnauthenticated},
		{"the claims of another token", f.part(1, strings.Split(other.text("access_token"), ".")[1]), hearth.CodeUnauthenticated},
		{"claims changed after signing", f.part(1, strings.Split(f.signing(nil, apitest.Object{"role": "admin"}), ".")[1]), hearth.CodeUnauthenticated},

		{"kid unknown", f.signed(apitest.Object{"kid": "x"}, nil), hearth.CodeUnauthenticated},
		{"kid missing", f.signed(apitest.Object{"kid": nil}, nil), hearth.CodeUnauthenticated},
		{"kid empty", f.signed(apitest.Object{"kid": ""}, nil), hearth.CodeUnauthenticated},
		{"kid a number", f.signed(apitest.Object{"kid": 0}, nil), hearth.CodeUnauthenticated},
		{"kid a path", byAttacker(apitest.Object{"kid": "../../../../dev/null"}), hearth.CodeUnauthenticated},
		{"kid SQL", byAttacker(apitest.Object{"kid": "' UNION SELECT 'x' --"}), hearth.CodeUnauthenticated},
		{"kid a URL", byAttacker(apitest.Object{"kid": lure.URL}), hearth.CodeUnauthenticated},
		{"jku to the attacker's keys", byAttacker(apitest.Object{"jku": lure.URL, "kid": "evil"}), hearth.CodeUnauthenticated},
		{"jku with the server's kid", byAttacker(apitest.Object{"jku": lure.URL}), hearth.CodeUnauthenticated},
		{"jwk with the attacker's key", byAttacker(apitest.Object{"jwk": attackerJWK, "kid": nil}), hearth.CodeUnauthenticated},
		{"jwk with the server's kid", byAttacker(apitest.Object{"jwk": attackerJWK}), hearth.CodeUnauthenticated},
		{"x5u to the attacker's certificate", byAttacker(apitest.Object{"x5u": lure.URL}), hearth.CodeUnauthenticated},
		{"x5c with a certificate", byAttacker(apitest.Object{"x5c": []string{base64.StdEncoding.EncodeToString(public)}}), hearth.CodeUnauthenticated},
		{"crit with an extension", f.signed(apitest.Object{"crit": []string{"exp"}}, nil), hearth.CodeUnauthenticated},
		{"typ of another kind of token", f.signed(apitest.Object{"typ": "JWT"}, nil), hearth.CodeUnauthenticated},

		{"iss of another server", f.signed(nil, apitest.Object{"iss": "https://evil.example"}), hearth.CodeUnauthenticated},
		{"iss missing", f.signed(nil, apitest.Object{"iss": nil}), hearth.CodeUnauthenticated},
		{"aud of another service", f.signed(nil, apitest.Object{"aud": "other"}), hearth.CodeUnauthenticated},
		{"aud missing", f.signed(nil, apitest.Object{"aud": nil}), hearth.CodeUnauthenticated},
		{"aud empty", f.signed(nil, apitest.Object{"aud": []string{}}), hearth.CodeUnauthenticated},
		{"exp missing", f.signed(nil, apitest.Object{"exp": nil}), hearth.CodeUnauthenticated},
		{"exp a word", f.signed(nil, apitest.Object{"exp": "never"}), hearth.CodeUnauthenticated},
		{"exp now", f.signed(nil, apitest.Object{"exp": now}), hearth.CodeTokenExpired},
		{"exp long ago", f.signed(nil, apitest.Object{"exp": 1}), hearth.CodeTokenExpired},
		{"exp negative", f.signed(nil, apitest.Object{"exp": -1}), hearth.CodeTokenExpired},
		{"expired and of another server", f.signed(nil, apitest.Object{"exp": 1, "iss": "x"}), hearth.CodeUnauthenticated},
		{"expired with another's signature", f.sign(f.signing(nil, apitest.Object{"exp": 1}), attacker), hearth.CodeUnauthenticated},
		{"nbf in the future", f.signed(nil, apitest.Object{"nbf": now + 61}), hearth.CodeUnauthenticated},
		{"iat in the future", f.signed(nil, apitest.Object{"iat": now + 61}), hearth.CodeUnauthenticated},
		{"sub of another user", f.signed(nil, apitest.Object{"sub": inner(other.body, "user", "id")}), hearth.CodeTokenRevoked},
		{"sub missing", f.signed(nil, apitest.Object{"sub": nil}), hearth.CodeUnauthenticated},
		{"sid unknown", f.signed(nil, apitest.Object{"sid": "none"}), hearth.CodeTokenRevoked},
		{"sid missing", f.signed(nil, apitest.Object{"sid": nil}), hearth.CodeUnauthenticated},
		{"role admin", f.signed(nil, apitest.Object{"role": "admin"}), hearth.CodeTokenRevoked},
		{"role unknown", f.signed(nil, apitest.Object{"role": "root"}), hearth.CodeUnauthenticated},
		{"epoch of another time", f.signed(nil, apitest.Object{"epoch": 1}), hearth.CodeTokenRevoked},

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
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status := http.StatusUnauthorized
			if test.code == "" {
				status = http.StatusOK
			}
			r := w.call(t, i, "GET", "/users/me", test.token, nil)
			w.want(t, r, status, test.code)
			if test.code != "" && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate is %q", r.header.Get("WWW-Authenticate"))
			}
		})
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("a token made the server fetch keys %d times", n)
	}
}

// otherBits returns a letter of base64 that differs only in the bits that encode nothing.
func otherBits(last byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, last)^1]
}
