package rest

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
)

// isConditional reports whether the operation honours If-Match.
func (op Operation) isConditional() bool {
	return op.Method == http.MethodPatch || op.Method == http.MethodPut || op.Method == http.MethodDelete
}

// documentIfMatch describes the header of a conditional operation that does not do so itself.
func (op Operation) documentIfMatch(doc *huma.Operation) {
	described := func(p *huma.Param) bool { return p.In == "header" && p.Name == "If-Match" }
	if !op.isConditional() || slices.ContainsFunc(doc.Parameters, described) {
		return
	}
	doc.Parameters = append(doc.Parameters, &huma.Param{
		Name: "If-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
		Description: "Entity tags, of which the object must still have one, or *.",
	})
}

// documentETag describes the entity tag of the operation's answers, and the answer to If-None-Match.
func (op Operation) documentETag(doc *huma.Operation) {
	success := doc.Responses[strconv.Itoa(op.status())]
	if !op.ETag || success == nil {
		return
	}
	if success.Headers == nil {
		success.Headers = map[string]*huma.Param{}
	}
	if success.Headers["ETag"] == nil {
		success.Headers["ETag"] = &huma.Param{Ref: "#/components/headers/ETag"}
	}
	if op.Method == http.MethodGet {
		doc.Responses["304"] = &huma.Response{Ref: "#/components/responses/NotModified"}
	}
}

// conditional puts the check of If-Match in front of a handler: CodeVersionMismatch unless the header names the entity tag under which
// GET of the same path serves the object now. What has no such GET has no entity tag either. Handlers that change a stored object
// check it once more in the transaction (see unchanged).
func (rt *Router) conditional(op Operation, handler func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		list := strings.TrimSpace(r.Header.Get("If-Match"))
		if list == "" || list == "*" {
			return handler(w, r)
		}
		version, tag, err := rt.currentTag(op, r)
		if err != nil {
			return err
		}
		if version != "" && !hasVersion(list, version) || version == "" && !matchesTag(list, tag) {
			return errChanged()
		}
		RequestOf(r.Context()).ifMatch = list
		return handler(w, r)
	}
}

// currentTag returns the entity tag under which GET serves what the request is about, and the version that the tag begins with, if
// it does; "" if there is no such GET.
func (rt *Router) currentTag(op Operation, r *http.Request) (version, tag string, err error) {
	get := rt.tagged[op.Pattern()]
	if get == nil {
		return "", "", nil
	}
	held := &heldAnswer{header: http.Header{}, body: takeBuffer()}
	defer held.body.release()
	read := r.Clone(r.Context())
	read.Method, read.Body, read.ContentLength, read.URL.RawQuery = http.MethodGet, http.NoBody, 0, ""
	if err := get(held, read); err != nil {
		return "", "", err
	}
	version = strings.Trim(held.header.Get("ETag"), `"`)
	return version, entityTag(version, held.body.Bytes()), nil
}

func errChanged() error {
	return hearth.Errorf(hearth.CodeVersionMismatch, "it has changed since: read it again")
}

// Unchanged returns CodeVersionMismatch if the request's If-Match does not name the entity tag under which an object is served as body.
// It is called with the object as the transaction reads it that changes it.
func Unchanged(ctx context.Context, body any) error {
	list := RequestOf(ctx).ifMatch
	if list == "" {
		return nil
	}
	buffer := takeBuffer()
	defer buffer.release()
	if err := writeJSON(buffer, body); err != nil {
		return err
	}
	if !matchesTag(list, entityTag("", buffer.Bytes())) {
		return errChanged()
	}
	return nil
}

// joinTags makes one line of each list of entity tags: a list may come in several, of which most readers see the first.
func joinTags(header http.Header) {
	for _, name := range []string{"If-Match", "If-None-Match"} {
		if lines := header.Values(name); len(lines) > 1 {
			header.Set(name, strings.Join(lines, ", "))
		}
	}
}

// TagsOf returns the entity tags of a list (If-Match, If-None-Match), without the mark of weak ones: proxies that compress answers
// weaken their tags.
func TagsOf(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for tag := range strings.SplitSeq(list, ",") {
			if !yield(strings.TrimPrefix(strings.TrimSpace(tag), "W/")) {
				return
			}
		}
	}
}

// matchesTag reports whether a list holds tag, or is "*".
func matchesTag(list, tag string) bool {
	for candidate := range TagsOf(list) {
		if candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}

// hasVersion reports whether a list holds a tag of that version: it begins with it, as "7-0123456789abcdef" does, or is it.
func hasVersion(list, version string) bool {
	for tag := range TagsOf(list) {
		inner, quoted := strings.CutPrefix(tag, `"`)
		inner, ended := strings.CutSuffix(inner, `"`)
		if have, _, _ := strings.Cut(inner, "-"); quoted && ended && have == version {
			return true
		}
	}
	return false
}

// CheckVersion returns CodeVersionMismatch if an If-Match names entity tags, and none of them is of that version.
func CheckVersion(ifMatch string, have int64) error {
	ifMatch = strings.TrimSpace(ifMatch)
	if ifMatch == "" || ifMatch == "*" || hasVersion(ifMatch, FormatVersion(have)) {
		return nil
	}
	return hearth.Errorf(hearth.CodeVersionMismatch, "it has changed since: it is at version %d", have)
}

// FormatVersion writes a version as the beginning of an entity tag.
func FormatVersion(version int64) string { return strconv.FormatInt(version, 10) }
