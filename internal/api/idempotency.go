package api

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
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// idempotencyHeader is the header that makes a creating request safe to repeat.
const idempotencyHeader = "Idempotency-Key"

// maxIdempotencyKey bounds a client's key, in characters.
const maxIdempotencyKey = 255

// marked is a request that came with an Idempotency-Key.
//
// All that is stored of it is made with keys derived from the server's secret and the client's key: who has the database
// learns neither the client's key, nor the body (which may hold a password) by trying, nor the answer.
type marked struct {
	caller      string
	key         string // what is stored of the client's key
	seal        cipher.AEAD
	fingerprint hash.Hash
	status      int
	now         time.Time
	stored      hearth.IdempotencyStore
}

// answer is a first answer, before it is sealed: the operation's own headers and the body, byte for byte.
type answer struct {
	header map[string]string
	body   []byte
}

// mark reads the Idempotency-Key of a creating request; nil without one. CodeValidationFailed for a key that is not 1 to
// 255 visible ASCII characters, or is there twice.
func (a *API) mark(r *http.Request, op operation) (*marked, error) {
	keys := r.Header.Values(idempotencyHeader)
	if len(keys) == 0 {
		return nil, nil //nolint:nilnil // no key is a value
	}
	if len(keys) > 1 || !visible(keys[0]) {
		return nil, hearth.Invalid(hearth.FieldError{
			Location: "header." + idempotencyHeader, Message: "must be 1 to 255 visible ASCII characters",
		})
	}
	m := &marked{status: op.Status, now: a.now(), stored: a.options.Idempotency}
	if m.status == 0 {
		m.status = http.StatusOK
	}
	if m.caller = callerOf(r.Context()).Key(); m.caller == "" {
		m.caller = addressKey(callerOf(r.Context()).IP)
	}
	client := m.caller + "\x00" + keys[0]
	m.key = base64.RawURLEncoding.EncodeToString(a.derive("key", client))
	block, err := aes.NewCipher(a.derive("seal", client))
	if err == nil {
		m.seal, err = cipher.NewGCM(block)
	}
	if err != nil {
		return nil, err
	}
	m.fingerprint = hmac.New(sha256.New, a.derive("fingerprint", client))
	fmt.Fprintf(m.fingerprint, "%s %s\x00", r.Method, r.URL.RequestURI())
	return m, nil
}

// derive makes 32 bytes for one use from the server's secret and the client's key.
func (a *API) derive(use, client string) []byte {
	key, err := hkdf.Key(sha256.New, a.options.Secret, []byte(client), "hearth idempotency "+use, sha256.Size)
	if err != nil {
		panic("api: 32 bytes can always be derived: " + err.Error())
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

// onceOf returns the protection that the request asks for, nil without an Idempotency-Key. It is called once the body was
// read. wire makes the operation's answer of what was created; it is the function that makes the first answer too.
func onceOf[C, O any](ctx context.Context, wire func(C) *O) *hearth.IdempotencyRecord {
	return onceAnswer(ctx, func(created C) (answer, error) { return answerOf(wire(created)) })
}

// onceBody is onceOf for raw operations, whose answer is body as JSON.
func onceBody[C any](ctx context.Context, body func(C) any) *hearth.IdempotencyRecord {
	return onceAnswer(ctx, func(created C) (answer, error) {
		data, err := encodeBody(body(created))
		return answer{body: data}, err
	})
}

func onceAnswer[C any](ctx context.Context, render func(C) (answer, error)) *hearth.IdempotencyRecord {
	m := requestOf(ctx).marked
	if m == nil {
		return nil
	}
	once := m.once()
	once.Render = func(created any) (int, []byte, error) {
		c, ok := created.(C)
		if !ok {
			return 0, nil, fmt.Errorf("api: the answer to a %T was asked for, not to a %s", created, reflect.TypeFor[C]())
		}
		first, err := render(c)
		if err != nil {
			return 0, nil, err
		}
		sealed, err := m.sealed(first)
		return m.status, sealed, err
	}
	return once
}

func (m *marked) once() *hearth.IdempotencyRecord {
	return &hearth.IdempotencyRecord{
		Caller: m.caller, Key: m.key, Fingerprint: base64.RawURLEncoding.EncodeToString(m.fingerprint.Sum(nil)),
		CreatedAt: m.now, ExpiresAt: m.now.Add(hearth.IdempotencyTTL),
	}
}

func (m *marked) sealed(first answer) ([]byte, error) {
	// The headers in one line of JSON, then the body.
	plain, err := json.Marshal(first.header)
	if err != nil {
		return nil, err
	}
	plain = append(append(plain, '\n'), first.body...)
	nonce := make([]byte, m.seal.NonceSize(), m.seal.NonceSize()+len(plain)+m.seal.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return m.seal.Seal(nonce, nonce, plain, []byte(m.key)), nil
}

func (m *marked) unsealed(sealed []byte) (first answer, err error) {
	if len(sealed) < m.seal.NonceSize() {
		return answer{}, errors.New("api: a stored answer is cut")
	}
	plain, err := m.seal.Open(nil, sealed[:m.seal.NonceSize()], sealed[m.seal.NonceSize():], []byte(m.key))
	if err != nil {
		return answer{}, fmt.Errorf("api: open a stored answer: %w", err)
	}
	header, body, _ := bytes.Cut(plain, []byte("\n"))
	first.body = body
	return first, json.Unmarshal(header, &first.header)
}

// serveOnce runs a creating operation, or answers as it was answered before.
func (a *API) serveOnce(
	op operation, handler func(http.ResponseWriter, *http.Request) error, w http.ResponseWriter, r *http.Request,
) error {
	m, err := a.mark(r, op)
	if err != nil {
		return err
	}
	if m != nil {
		// Repeated while the first is under way: it waits, so that the work is done once, not only stored once.
		release, err := a.marks.acquire(r.Context(), m.caller+"\x00"+m.key)
		if err != nil {
			return err
		}
		defer release()
	}
	requestOf(r.Context()).marked = m
	err = handler(w, r)
	if replayed, ok := errors.AsType[*hearth.Replayed](err); ok {
		return m.replay(w, replayed)
	}
	return err
}

// turns lets one at a time do something under a name. The zero turns is ready.
type turns struct {
	mu sync.Mutex
	// taken holds, for each name, what is closed when its turn ends.
	taken map[string]chan struct{}
}

// acquire waits for the turn of a name; release ends it.
func (t *turns) acquire(ctx context.Context, name string) (release func(), err error) {
	mine := make(chan struct{})
	for {
		t.mu.Lock()
		others := t.taken[name]
		if others == nil {
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			t.taken[name] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.taken, name)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-others:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// find takes the body of a typed operation into the fingerprint, in one form however it is spaced, and looks for the
// first answer before the operation runs, so that a repeated request is answered even where the operation would refuse
// it by now. What it misses the write itself finds.
func (m *marked) find(ctx context.Context, body []byte) error {
	var compact bytes.Buffer
	if len(body) > 0 {
		if err := json.Compact(&compact, body); err != nil {
			return hearth.Errorf(hearth.CodeMalformedBody, "the body is not JSON")
		}
	}
	m.fingerprint.Write(compact.Bytes())
	if m.stored == nil {
		return nil
	}
	asked := m.once()
	first, err := m.stored.IdempotencyRecord(ctx, asked.Caller, asked.Key)
	switch {
	case hearth.ErrorCode(err) == hearth.CodeNotFound:
		return nil
	case err != nil:
		return err
	case first.Fingerprint != asked.Fingerprint:
		return hearth.Errorf(hearth.CodeIdempotencyMismatch, "this Idempotency-Key was used for another request")
	}
	return &hearth.Replayed{Idempotency: first}
}

// replay answers with the first answer to the same request.
func (m *marked) replay(w http.ResponseWriter, replayed *hearth.Replayed) error {
	if m == nil {
		return errors.New("api: a request without a key was answered before")
	}
	first, err := m.unsealed(replayed.Idempotency.Answer)
	if err != nil {
		return err
	}
	header := w.Header()
	for name, value := range first.header {
		header.Set(name, value)
	}
	header.Set("Idempotency-Replayed", "true")
	if len(first.body) > 0 {
		header.Set("Content-Type", "application/json")
	}
	w.WriteHeader(replayed.Idempotency.Status)
	_, _ = w.Write(first.body) // a client that has gone needs no answer
	return nil
}

// answerOf takes the headers and the body out of a typed operation's output (see huma.Register).
func answerOf(output any) (answer, error) {
	value := reflect.Indirect(reflect.ValueOf(output))
	first := answer{header: map[string]string{}}
	for i := range value.NumField() {
		field := value.Type().Field(i)
		if name := field.Tag.Get("header"); name != "" {
			if text := fmt.Sprint(value.Field(i).Interface()); text != "" {
				first.header[name] = text
			}
		}
		if field.Name == "Body" {
			body, err := encodeBody(value.Field(i).Interface())
			if err != nil {
				return answer{}, err
			}
			first.body = body
		}
	}
	return first, nil
}

// encodeBody returns what writeJSON writes.
func encodeBody(v any) ([]byte, error) {
	var buffer bytes.Buffer
	err := writeJSON(&buffer, v)
	return buffer.Bytes(), err
}

// documentIdempotency adds the header to a creating operation and to its success.
func documentIdempotency(op operation, doc *huma.Operation) {
	one, most := 1, maxIdempotencyKey
	doc.Parameters = append(doc.Parameters, &huma.Param{
		Name: idempotencyHeader, In: "header",
		Description: "Makes the request safe to repeat: within 24 h the same key with the same body gives the first answer again " +
			"and creates nothing.",
		Schema:  &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most, Pattern: "^[!-~]+$"},
		Example: "7d1f6a52-0c0e-4f6e-9a43-0f4f1c1f9d55",
	})
	status := op.Status
	if status == 0 {
		status = http.StatusOK
	}
	if success := doc.Responses[strconv.Itoa(status)]; success != nil {
		if success.Headers == nil {
			success.Headers = map[string]*huma.Param{}
		}
		success.Headers["Idempotency-Replayed"] = &huma.Param{
			Description: "true where this is the first answer again.", Schema: &huma.Schema{Type: huma.TypeBoolean},
		}
	}
}
