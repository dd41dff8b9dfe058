package rest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// idempotencyHeader is the header that makes a creating request safe to repeat.
const idempotencyHeader = "Idempotency-Key"

// maxIdempotencyKey bounds a client's key, in characters.
const maxIdempotencyKey = 255

// keyedRequest is a request that came with an Idempotency-Key.
//
// All that is stored of it is made with keys derived from the server's secret and the client's key: a reader of the database
// cannot find out the client's key, nor by guessing the body (which may hold a password), nor what was created.
type keyedRequest struct {
	op          Operation
	caller      string
	key         string // what is stored of the client's key
	cipher      cipher.AEAD
	fingerprint hash.Hash
	now         time.Time
	store       hearth.IdempotencyStore
}

// keyed reads the Idempotency-Key of a creating request; nil without one. CodeValidationFailed for a key that is not 1 to
// 255 visible ASCII characters, or is there twice.
func (rt *Router) keyed(r *http.Request, op Operation) (*keyedRequest, error) {
	keys := r.Header.Values(idempotencyHeader)
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // no key is a value
	}
	if len(keys) > 1 || !visible(keys[0]) {
		return nil, hearth.Invalid(hearth.FieldError{
			Location: "header." + idempotencyHeader, Message: "must be 1 to 255 visible ASCII characters",
		})
	}
	k := &keyedRequest{op: op, now: rt.Now(), store: rt.options.Idempotency}
	if k.caller = CallerOf(r.Context()).Actor(); k.caller == "" {
		k.caller = AddressKey(CallerOf(r.Context()))
	}
	client := k.caller + "\x00" + keys[0]
	k.key = base64.RawURLEncoding.EncodeToString(rt.derive("key", client))
	block, err := aes.NewCipher(rt.derive("seal", client))
	if err == nil {
		k.cipher, err = cipher.NewGCM(block)
	}
	if err != nil {
		return nil, err
	}
	k.fingerprint = hmac.New(sha256.New, rt.derive("fingerprint", client))
	fmt.Fprintf(k.fingerprint, "%s %s\x00", r.Method, r.URL.RequestURI())
	return k, nil
}

// derive returns 32 bytes for one use from the server's secret and the client's key.
func (rt *Router) derive(use, client string) []byte {
	key, err := hkdf.Key(sha256.New, rt.options.Secret, []byte(client), "hearth idempotency "+use, sha256.Size)
	if err != nil {
		panic("rest: 32 bytes can always be derived: " + err.Error())
	}
	return key
}

func visible(key string) bool {
	if key == "" || len(key) > maxIdempotencyKey {
		return false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}

// Idempotency returns what the request's Idempotency-Key asks of the write, nil without one. It is called once the body was
// read. body returns what clients see of what was created; it is the function that makes the first answer too.
func Idempotency[C, B any](ctx context.Context, body func(C) B) *hearth.IdempotencyRequest {
	k := RequestOf(ctx).keyed
	if k == nil {
		return nil
	}
	return &hearth.IdempotencyRequest{IdempotencyRecord: k.record(), Seal: func(created any) ([]byte, error) {
		c, ok := created.(C)
		if !ok {
			return nil, fmt.Errorf("rest: %s creates a %s, not a %T", k.op.ID, reflect.TypeFor[C](), created)
		}
		plain, err := EncodeBody(body(c))
		if err != nil {
			return nil, err
		}
		return k.seal(plain), nil
	}}
}

// record returns the record without what was created.
func (k *keyedRequest) record() hearth.IdempotencyRecord {
	return hearth.IdempotencyRecord{
		Caller: k.caller, Key: k.key, Fingerprint: base64.RawURLEncoding.EncodeToString(k.fingerprint.Sum(nil)),
		Operation: k.op.ID, CreatedAt: k.now, ExpiresAt: k.now.Add(hearth.IdempotencyTTL),
	}
}

func (k *keyedRequest) seal(plain []byte) []byte {
	nonce := make([]byte, k.cipher.NonceSize(), k.cipher.NonceSize()+len(plain)+k.cipher.Overhead())
	_, _ = rand.Read(nonce) // it never fails: see its documentation
	return k.cipher.Seal(nonce, nonce, plain, []byte(k.key))
}

func (k *keyedRequest) open(sealed []byte) ([]byte, error) {
	if len(sealed) < k.cipher.NonceSize() {
		return nil, errors.New("rest: an idempotency record is cut")
	}
	plain, err := k.cipher.Open(nil, sealed[:k.cipher.NonceSize()], sealed[k.cipher.NonceSize():], []byte(k.key))
	if err != nil {
		return nil, fmt.Errorf("rest: open an idempotency record: %w", err)
	}
	return plain, nil
}

// serveKeyed runs a creating operation, or answers as it was answered before.
func (rt *Router) serveKeyed(
	op Operation, handler func(http.ResponseWriter, *http.Request) error, w http.ResponseWriter, r *http.Request,
) error {
	k, err := rt.keyed(r, op)
	if err != nil || k == nil {
		if err != nil {
			return err
		}
		return handler(w, r)
	}
	// A repetition while the first request is under way waits, so that the work is done once, not only stored once.
	release, err := rt.underWay.Lock(r.Context(), k.caller+"\x00"+k.key)
	if err != nil {
		return err
	}
	defer release()
	RequestOf(r.Context()).keyed = k
	err = handler(w, r)
	if replayed, ok := errors.AsType[*hearth.Replayed](err); ok {
		return k.replay(w, r, replayed.Record)
	}
	return err
}

// find adds the body of a typed operation to the fingerprint, in one form however it is spaced, and looks for the record
// before the operation runs, so that a repeated request is answered even where the operation would refuse it by now. What it
// misses the write itself finds.
func (k *keyedRequest) find(ctx context.Context, body []byte) error {
	writeCompact(k.fingerprint, body)
	if k.store == nil {
		return nil
	}
	asked := k.record()
	first, err := k.store.IdempotencyRecord(ctx, asked.Caller, asked.Key)
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return nil
	case err != nil:
		return err
	case first.Fingerprint != asked.Fingerprint:
		return hearth.Errorf(hearth.CodeIdempotencyMismatch, "this Idempotency-Key was used for another request")
	}
	return &hearth.Replayed{Record: first}
}

// writeCompact writes checked JSON to a hash without the spaces between its tokens, as json.Compact does.
func writeCompact(to hash.Hash, body []byte) {
	const most = 4 << 10
	part := make([]byte, 0, most)
	inText := false
	for i := 0; i < len(body); i++ {
		b := body[i]
		if len(part) > most-2 {
			to.Write(part)
			part = part[:0]
		}
		switch {
		case inText && b == '\\':
			part = append(part, b)
			i++
			b = body[i]
		case b == '"':
			inText = !inText
		case !inText && (b == ' ' || b == '\t' || b == '\r' || b == '\n'):
			continue
		}
		part = append(part, b)
	}
	to.Write(part)
}

// replay answers with what the first request created, as it was then. The status and the headers are the operation's, which is
// the same as the first: its method and path are in the fingerprint.
func (k *keyedRequest) replay(w http.ResponseWriter, r *http.Request, record hearth.IdempotencyRecord) error {
	body, err := k.open(record.Created)
	if err != nil {
		return err
	}
	if record.Operation == "" {
		// The program that wrote it stored an HTTP answer: a line of headers, then the body.
		_, body, _ = bytes.Cut(body, []byte("\n"))
	}
	if record.FirstLog > 0 {
		// The log was sealed before the store numbered it.
		body = bytes.Replace(body, []byte(`"id":""`), []byte(`"id":"`+hearth.LogID(record.FirstLog)+`"`), 1)
	}
	header := w.Header()
	if k.op.Location {
		var created struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &created); err != nil {
			return fmt.Errorf("rest: read an idempotency record: %w", err)
		}
		below := r.URL.Path
		if k.op.At != "" {
			below = BasePath + k.op.At
		}
		header.Set("Location", below+"/"+created.ID)
	}
	header.Set("Idempotency-Replayed", "true")
	header.Set("Content-Type", "application/json")
	w.WriteHeader(k.op.status())
	_, _ = w.Write(body) //nolint:gosec // it is JSON and labelled so; the client may have gone
	return nil
}

// EncodeBody returns what writeJSON writes.
func EncodeBody(v any) ([]byte, error) {
	var buffer bytes.Buffer
	err := writeJSON(&buffer, v)
	return buffer.Bytes(), err
}

// documentIdempotency adds the header to a creating operation and to its success.
func documentIdempotency(op Operation, doc *huma.Operation) {
	one, most := 1, maxIdempotencyKey
	doc.Parameters = append(doc.Parameters, &huma.Param{
		Name: idempotencyHeader, In: "header",
		Description: "Makes the request safe to repeat: within 24 h the same key with the same body returns the first answer again " +
			"and creates nothing.",
		Schema:  &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most, Pattern: "^[!-~]+$"},
		Example: "7d1f6a52-0c0e-4f6e-9a43-0f4f1c1f9d55",
	})
	if success := doc.Responses[strconv.Itoa(op.status())]; success != nil {
		if success.Headers == nil {
			success.Headers = map[string]*huma.Param{}
		}
		success.Headers["Idempotency-Replayed"] = &huma.Param{
			Description: "true where this is the first answer again.", Schema: &huma.Schema{Type: huma.TypeBoolean},
		}
	}
}
