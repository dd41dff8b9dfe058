package rest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// Access says who may call an operation at all; what they may do with which object is the capabilities' business.
type Access int

const (
	undeclared Access = iota
	// ForAnyone needs no token.
	ForAnyone
	// ForUsers needs an access token; a device's token is forbidden.
	ForUsers
	// ForDevices needs an access token or a device's token.
	ForDevices
	// ForAdmins needs an access token of an admin.
	ForAdmins
)

// ClosedToKeys is the Key of an operation that no API key may call.
const ClosedToKeys hearth.KeyScope = "closed"

// Operation is one call of the contract.
type Operation struct {
	// ID is the operationId, such as "create-device".
	ID     string
	Method string
	// Path is below BasePath, unless Root is set.
	Path        string
	Root        bool
	Summary     string
	Description string
	// Tag is the chapter of the documentation.
	Tag    string
	Access Access
	// Key is the scope that an API key needs for the call, or closedToKeys. Operations that need no token may leave it out.
	Key hearth.KeyScope
	// Class is the rate limit that the call counts against; "" is the one that Contract.Class returns.
	Class string
	// CountByBody counts the call in place of its caller or address; nil: nothing does.
	CountByBody CountByBody
	// Status is the success; 0 is 200.
	Status int
	// Codes are the failures beyond those that every operation of its kind has.
	Codes []hearth.Code
	// Batch allows a body up to the larger limit.
	Batch bool
	// Stream is not compressed, not buffered and not cut off by the write timeout. HEAD is refused: it would never end, and behind a
	// proxy take the connection of the next request with it.
	Stream bool
	// Claims says that a GET changes what it answers with. HEAD is refused: its answer reaches no one.
	Claims bool
	// Plain is never compressed: small answers of hot routes.
	Plain bool
	// Static answers are the program's own, the same for everyone: all requests share their bytes. They have an entity tag too.
	Static bool
	// ETag returns the answer an entity tag and answers 304 to a matching If-None-Match.
	ETag bool
	// ChecksTag says that the handler checks If-Match itself, of an object that GET serves at another path. Every other PATCH, PUT and
	// DELETE is checked in front of its handler.
	ChecksTag bool
	// Secret answers hand out tokens: Cache-Control: no-store.
	Secret bool
	// Creates accepts an Idempotency-Key.
	Creates bool
	// Location answers name what was created: its path is the operation's, or At where that is set, then the id.
	Location bool
	At       string
}

// Pattern returns the whole path, with its parameters in braces.
func (op Operation) Pattern() string {
	if op.Root {
		return op.Path
	}
	return BasePath + op.Path
}

func (op Operation) status() int { return cmp.Or(op.Status, http.StatusOK) }

// mustBeDeclared panics for an operation that leaves open who may call it.
func (op Operation) mustBeDeclared() {
	public := op.Access == ForAnyone && op.Key == ""
	if op.Access == undeclared || !public && op.Key != ClosedToKeys && !slices.Contains(hearth.KeyScopes(), op.Key) {
		panic(fmt.Sprintf("rest: %s %s must declare its Access, and as Key the scope that an API key needs or closedToKeys", op.Method, op.Pattern()))
	}
}

// codes returns every failure of the operation, for its documentation.
func (op Operation) codes(hasBody, hasParams bool) []hearth.Code {
	codes := slices.Clone(op.Codes)
	if op.Access != ForAnyone {
		codes = append(codes, hearth.CodeUnauthenticated, hearth.CodeTokenExpired, hearth.CodeTokenRevoked, hearth.CodeForbidden)
	}
	if hasBody {
		codes = append(codes, hearth.CodeMalformedBody, hearth.CodePayloadTooLarge, hearth.CodeUnsupportedMediaType)
	}
	if hasBody || hasParams {
		codes = append(codes, hearth.CodeValidationFailed)
	}
	if op.Class != "" {
		codes = append(codes, hearth.CodeRateLimited)
	}
	if op.Creates {
		codes = append(codes, hearth.CodeIdempotencyMismatch)
	}
	if op.isConditional() {
		codes = append(codes, hearth.CodeVersionMismatch)
	}
	if !op.Root {
		codes = append(codes, hearth.CodeInternal, hearth.CodeUnavailable)
	}
	if op.Method != http.MethodGet && !op.Root {
		codes = append(codes, hearth.CodeStorageFull)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func (op Operation) document() huma.Operation {
	doc := huma.Operation{
		OperationID: op.ID, Method: op.Method, Path: op.Pattern(), Summary: op.Summary, Description: op.Description,
		Tags: []string{op.Tag}, DefaultStatus: op.Status, MaxBodyBytes: -1, BodyReadTimeout: -1,
		Responses: map[string]*huma.Response{},
	}
	switch op.Access {
	case ForAnyone:
		doc.Security = []map[string][]string{}
	case ForDevices:
		doc.Security = []map[string][]string{{"user": {}}, {"device": {}}}
	case ForUsers, ForAdmins:
		doc.Security = []map[string][]string{{"user": {}}}
	}
	op.documentKey(&doc)
	return doc
}

// documentKey says which API keys may call the operation.
func (op Operation) documentKey(doc *huma.Operation) {
	if slices.Contains(hearth.KeyScopes(), op.Key) {
		doc.Security = append(doc.Security, map[string][]string{"key": {string(op.Key)}})
	}
}

// documentErrors adds an answer for each status that the operation's codes have.
func (op Operation) documentErrors(rt *Router, doc *huma.Operation) {
	delete(doc.Responses, "default")
	hasParams := len(doc.Parameters) > 0
	op.documentIfMatch(doc)
	op.documentETag(doc)
	schema := rt.openAPI.Components.Schemas.Schema(problemType, true, "Problem")
	byStatus := map[int][]hearth.Code{}
	for _, code := range op.codes(doc.RequestBody != nil, hasParams) {
		byStatus[statuses[code]] = append(byStatus[statuses[code]], code)
	}
	for status, codes := range byStatus {
		names := make([]string, len(codes))
		for i, code := range codes {
			names[i] = "`" + string(code) + "`"
		}
		// Operations share their answers to failures: one each would take megabytes.
		description := http.StatusText(status) + ": " + strings.Join(names, ", ")
		key := sharedAnswer{description, op.Class != ""}
		if rt.failures[key] == nil {
			rt.failures[key] = documentFailure(schema, status, description, codes)
		}
		doc.Responses[strconv.Itoa(status)] = rt.failures[key]
	}
	if op.Creates {
		documentIdempotency(op, doc)
	}
	if op.Class != "" {
		rt.documentLimits(doc)
	}
}

// sharedAnswer names an answer to a failure that operations have in common.
type sharedAnswer struct {
	description string
	limited     bool
}

func documentFailure(schema *huma.Schema, status int, description string, codes []hearth.Code) *huma.Response {
	examples := map[string]*huma.Example{}
	for _, code := range codes {
		examples[string(code)] = problemExample(code)
	}
	response := &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema, Examples: examples}},
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage {
		response.Headers = map[string]*huma.Param{"Retry-After": {
			Description: "Seconds to wait before the next attempt.", Schema: &huma.Schema{Type: huma.TypeInteger},
		}}
	}
	return response
}

// Register adds a typed operation. I's fields are its parameters and Body, validated before the handler runs; O's are its
// headers, Status and Body: see binding. The handler finds its caller with CallerOf.
func Register[I, O any](rt *Router, op Operation, handler func(context.Context, *I) (*O, error)) {
	rt.register(op, typeOf[I](), typeOf[O](), func(ctx context.Context, in any) (any, error) {
		return handler(ctx, in.(*I)) //nolint:forcetypeassert // it is made by the binding of this type
	})
}

// register is the part of Register that is compiled once, not for each operation.
func (rt *Router) register(op Operation, input, output reflect.Type, handler func(context.Context, any) (any, error)) {
	if op.Class == "" {
		op.Class = rt.contract.Class(op)
	}
	checkEmbedded(input)
	checkEmbedded(output)
	doc := op.document()
	binding := bind(rt.openAPI.Components.Schemas, &doc, input, output)
	op.documentErrors(rt, &doc)
	rt.openAPI.AddOperation(&doc)
	binding.maxItems = rt.maxItems(&doc)
	limitBody, check := rt.limitByBody(op), rt.queryCheck(&doc)
	rt.Route(op, func(w http.ResponseWriter, r *http.Request) (err error) {
		if err := check(r); err != nil {
			return err
		}
		var body bodyOf
		var failed func(error)
		if binding.body != nil {
			if body, err = binding.readBody(r); err != nil {
				return err
			}
			if limitBody != nil {
				if failed, err = limitBody(r.Context(), body.text); err != nil {
					return err
				}
			}
		}
		if k := RequestOf(r.Context()).keyed; k != nil {
			if err := k.find(r.Context(), body.whole); err != nil {
				return err
			}
		}
		in, err := binding.read(w, r, body)
		if err != nil {
			return err
		}
		out, err := handler(r.Context(), in)
		if err != nil {
			if failed != nil {
				failed(err)
			}
			return err
		}
		return binding.write(w, out)
	})
}

// maxQueryErrors bounds the wrong parameters that an answer names.
const maxQueryErrors = 20

// queryCheck returns a function that refuses query parameters that are not among those of an operation, and those that are given more than
// once but are no lists, naming each.
func (rt *Router) queryCheck(op *huma.Operation) func(*http.Request) error {
	// most is how often each parameter may be given.
	most := map[string]int{}
	for _, p := range op.Parameters {
		switch {
		case p.In != "query":
		case p.Schema.Type == huma.TypeArray:
			most[p.Name] = math.MaxInt
		default:
			most[p.Name] = 1
		}
	}
	for _, requirement := range op.Security {
		for name := range requirement {
			if scheme := rt.openAPI.Components.SecuritySchemes[name]; scheme != nil && scheme.In == "query" {
				most[scheme.Name] = 1
			}
		}
	}
	return func(r *http.Request) error {
		if r.URL.RawQuery == "" {
			return nil
		}
		var errs []hearth.FieldError
		query := r.URL.Query()
		for _, name := range slices.Sorted(maps.Keys(query)) {
			if len(errs) == maxQueryErrors || len(query[name]) <= most[name] {
				continue
			}
			message := "must be given once"
			if most[name] == 0 {
				message = "is not a parameter of this operation"
			}
			errs = append(errs, hearth.FieldError{Location: "query." + Printable(name), Message: message})
		}
		return InvalidIf(errs)
	}
}

// checkEmbedded panics for an embedded type that is not exported: its parameters would be undocumented and ignored.
func checkEmbedded(t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.Anonymous || f.Type.Kind() != reflect.Struct {
			continue
		}
		if !f.IsExported() {
			panic(fmt.Sprintf("rest: %v embeds %v, which must be exported", t, f.Type))
		}
		checkEmbedded(f.Type)
	}
}

// RegisterRaw adds an operation whose handler reads the request and writes the answer itself; doc describes parameters,
// body and answers. The handler returns an error before it has written anything, or nil.
func RegisterRaw(rt *Router, op Operation, doc func(*huma.Operation), handler func(http.ResponseWriter, *http.Request) error) {
	if op.Class == "" {
		op.Class = rt.contract.Class(op)
	}
	operation := op.document()
	doc(&operation)
	op.documentErrors(rt, &operation)
	rt.openAPI.AddOperation(&operation)
	check := rt.queryCheck(&operation)
	rt.Route(op, func(w http.ResponseWriter, r *http.Request) error {
		if err := check(r); err != nil {
			return err
		}
		if body, ok := r.Body.(*requestBody); ok {
			if k := RequestOf(r.Context()).keyed; k != nil {
				body.digest = k.fingerprint
			}
		}
		return handler(w, r)
	})
}

// SchemaOf returns the document's schema of a wire type, for RegisterRaw.
func SchemaOf[T any](rt *Router) *huma.Schema {
	return rt.openAPI.Components.Schemas.Schema(typeOf[T](), true, typeOf[T]().Name())
}
