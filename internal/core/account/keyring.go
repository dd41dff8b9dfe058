package account

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"hearth"
	"hearth/internal/keyfile"
)

const (
	// FollowInterval is how often Follow is to be called.
	FollowInterval = 5 * time.Second
	// rotationDelay is how long a new signing key is published before it signs, so that every instance and every reader
	// of the JWKS knows it by then. It is longer than FollowInterval.
	rotationDelay = 20 * time.Second
	secretSize    = 32
)

// KeyRingOptions say where the keys are.
type KeyRingOptions struct {
	// Path is the key file; it is made, with mode 0600, if it is not there.
	Path string
	// AccessTTL is the life of an access token: so long an old key verifies after it stopped signing.
	AccessTTL time.Duration
	Clock     hearth.Clock
}

// KeyRing holds the Ed25519 keys that sign access tokens, and a secret from which other values are derived. It lives in
// one file, which may be shared by several processes.
type KeyRing struct {
	options KeyRingOptions
	changes sync.Mutex // serializes writes to the file
	keys    atomic.Pointer[keySet]
}

// keySet is the file's content at one moment.
type keySet struct {
	file    keyFile
	byID    map[string]signingKey
	ordered []signingKey // by From
	version keyfile.Version
}

type keyFile struct {
	// Secret derives keyed hashes and reset tokens; rotation does not change it.
	Secret []byte     `json:"secret"`
	Keys   []keyEntry `json:"signing_keys"`
}

type keyEntry struct {
	ID   string    `json:"kid"`
	Seed []byte    `json:"seed"`
	From time.Time `json:"signs_from"`
}

type signingKey struct {
	id      string
	private ed25519.PrivateKey
	public  ed25519.PublicKey
	from    time.Time
	until   time.Time // when it stops verifying; zero while no other key has taken over
}

// OpenKeyRing reads the keys, or makes the first ones. It refuses a file that others may read and keys that are weak.
func OpenKeyRing(options KeyRingOptions) (*KeyRing, error) {
	if options.Path == "" || options.AccessTTL <= 0 {
		return nil, errors.New("account: a key ring needs a path and the life of access tokens")
	}
	ring := &KeyRing{options: options}
	err := ring.Reload()
	if errors.Is(err, fs.ErrNotExist) {
		if err = ring.create(); err == nil {
			err = ring.Reload()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the signing keys: %w", err)
	}
	return ring, nil
}

// create writes the first file. Another process that does the same at the same time wins or loses as a whole.
func (r *KeyRing) create() error {
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	key, err := newKeyEntry(r.options.Clock.Now())
	if err != nil {
		return err
	}
	content, err := encodeKeys(keyFile{Secret: secret, Keys: []keyEntry{key}})
	if err != nil {
		return err
	}
	return keyfile.Create(r.options.Path, content)
}

func newKeyEntry(from time.Time) (keyEntry, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyEntry{}, err
	}
	return keyEntry{ID: thumbprint(public), Seed: private.Seed(), From: from}, nil
}

// thumbprint is RFC 7638's.
func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(public) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func encodeKeys(content keyFile) ([]byte, error) {
	data, err := json.MarshalIndent(content, "", "  ")
	return append(data, '\n'), err
}

// Rotate makes a new signing key. It signs after 20 seconds; the one before goes on verifying until the last token that it
// signed has expired. Keys that verify nothing any more are removed. It may run in another process than the server.
func (r *KeyRing) Rotate() error {
	r.changes.Lock()
	defer r.changes.Unlock()
	if err := r.Reload(); err != nil {
		return err
	}
	now := r.options.Clock.Now()
	set := r.keys.Load()
	key, err := newKeyEntry(now.Add(rotationDelay))
	if err != nil {
		return err
	}
	content := keyFile{Secret: set.file.Secret}
	for i, old := range set.ordered {
		if old.until.IsZero() || now.Before(old.until) {
			content.Keys = append(content.Keys, set.file.Keys[i])
		}
	}
	content.Keys = append(content.Keys, key)
	data, err := encodeKeys(content)
	if err != nil {
		return err
	}
	if err := keyfile.Replace(r.options.Path, data); err != nil {
		return err
	}
	return r.Reload()
}

// Reload reads the file again. On an error the keys stay as they were.
func (r *KeyRing) Reload() error {
	data, version, err := keyfile.Read(r.options.Path)
	if err != nil {
		return err
	}
	var content keyFile
	if err := json.Unmarshal(data, &content); err != nil {
		return fmt.Errorf("%s is damaged: %w", r.options.Path, err)
	}
	set, err := r.keySet(content)
	if err != nil {
		return fmt.Errorf("%s: %w", r.options.Path, err)
	}
	set.version = version
	r.keys.Store(set)
	return nil
}

func (r *KeyRing) keySet(content keyFile) (*keySet, error) {
	if weak(content.Secret) {
		return nil, errors.New("the secret is weak")
	}
	if len(content.Keys) == 0 {
		return nil, errors.New("there is no signing key")
	}
	sort.Slice(content.Keys, func(i, j int) bool { return content.Keys[i].From.Before(content.Keys[j].From) })
	set := &keySet{file: content, byID: map[string]signingKey{}}
	for i, entry := range content.Keys {
		if weak(entry.Seed) {
			return nil, errors.New("a signing key is weak")
		}
		private := ed25519.NewKeyFromSeed(entry.Seed)
		// The public key is the second half of the private one: see ed25519.PrivateKey.
		key := signingKey{id: entry.ID, private: private, public: ed25519.PublicKey(private[ed25519.SeedSize:]), from: entry.From}
		if key.id != thumbprint(key.public) {
			return nil, errors.New("a signing key does not match its id")
		}
		if i+1 < len(content.Keys) {
			key.until = content.Keys[i+1].From.Add(r.options.AccessTTL)
		}
		set.byID[key.id] = key
		set.ordered = append(set.ordered, key)
	}
	return set, nil
}

// weak refuses what was not made at random: a wrong length or few different bytes.
func weak(secret []byte) bool {
	different := map[byte]bool{}
	for _, b := range secret {
		different[b] = true
	}
	return len(secret) != secretSize || len(different) < 12 // at random, fewer than 20 are already one in 10^13
}

// Follow reads the file again if it has changed since, so that a rotation in another process shows. It is to be called
// every FollowInterval. On an error the keys stay as they were.
func (r *KeyRing) Follow(context.Context) error {
	changed, err := keyfile.Changed(r.options.Path, r.keys.Load().version)
	if err != nil || !changed {
		return err
	}
	return r.Reload()
}

// signer returns the key that signs at the time now: the newest that has begun to.
func (r *KeyRing) signer(now time.Time) signingKey {
	ordered := r.keys.Load().ordered
	for _, key := range slices.Backward(ordered) {
		if !now.Before(key.from) {
			return key
		}
	}
	return ordered[0] // the clock went back to before the first key
}

// verifier returns the public key of that id, if it still verifies at the time now.
func (r *KeyRing) verifier(id string, now time.Time) (ed25519.PublicKey, bool) {
	key, ok := r.keys.Load().byID[id]
	return key.public, ok && (key.until.IsZero() || now.Before(key.until))
}

// derive returns 256 bits that cannot be computed without the key file, the same for the same purpose and value.
func (r *KeyRing) derive(purpose, value string) []byte {
	mac := hmac.New(sha256.New, r.keys.Load().file.Secret)
	mac.Write([]byte(purpose + "\x00" + value))
	return mac.Sum(nil)
}

// JWK is a public key as RFC 8037 writes it.
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	X         string `json:"x"`
}

// Public returns the public keys that verify now or will soon, oldest first.
func (r *KeyRing) Public() []JWK {
	now := r.options.Clock.Now()
	var keys []JWK
	for _, key := range r.keys.Load().ordered {
		if key.until.IsZero() || now.Before(key.until) {
			keys = append(keys, JWK{
				KeyType: "OKP", Curve: "Ed25519", Use: "sig", Algorithm: "EdDSA", ID: key.id,
				X: base64.RawURLEncoding.EncodeToString(key.public),
			})
		}
	}
	return keys
}
