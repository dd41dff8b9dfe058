package api

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
)

const (
	tagTwins       = "Twins"
	mergePatchType = "application/merge-patch+json"
)

// TwinState is one side of a twin, or its delta.
type TwinState json.RawMessage

// Schema says so to the OpenAPI.
func (TwinState) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true, Examples: []any{map[string]any{"brightness": 70}},
		Description: "A JSON object of up to 32 KiB, 8 levels deep. Names come back sorted, numbers with the digits that were sent.",
	}
}

// Twin is a twin on the wire.
type Twin struct {
	DeviceID        string     `json:"device_id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Desired         TwinState  `json:"desired" doc:"What the device should be."`
	Reported        TwinState  `json:"reported" doc:"What the device says it is."`
	Delta           TwinState  `json:"delta" doc:"The desired members that the reported state lacks or has with another value: objects member by member, arrays whole, numbers by value (21 is 21.0)."`
	DesiredVersion  int64      `json:"desired_version" doc:"Counts the changes of the desired state." example:"3"`
	ReportedVersion int64      `json:"reported_version" doc:"Counts the changes of the reported state." example:"12"`
	DesiredAt       *rest.Time `json:"desired_at" doc:"The last change of the desired state; null before the first."`
	ReportedAt      *rest.Time `json:"reported_at" doc:"The last change of the reported state; null before the first."`
}

func (a *API) registerTwins() {
	tag := &huma.Param{Description: "Begins with both versions, such as \"3.12-…\".", Schema: &huma.Schema{Type: huma.TypeString}}
	answer := func(doc *huma.Operation) {
		doc.Parameters = append(doc.Parameters, deviceIDParam())
		doc.Responses["200"] = jsonResponse("The twin", rest.SchemaOf[Twin](a.Router))
		doc.Responses["200"].Headers = map[string]*huma.Param{"ETag": tag}
	}
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "get-twin", Method: http.MethodGet, Path: "/devices/{id}/twin", Tag: tagTwins,
		Access: rest.ForDevices, Key: hearth.KeyDevicesRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get a device's twin",
		Description: "What the device should be, what it says it is, and what is left to do. A device for which nothing was set has an empty twin " +
			"of version 0. A device's own token may read that device's twin.",
	}, answer, a.getTwin)
	for _, side := range []struct {
		hearth.TwinSide
		id, summary, description string
		access                   rest.Access
		key                      hearth.KeyScope
	}{
		{hearth.TwinDesired, "update-twin-desired", "Change what a device should be", "Takes the right to change the device.", rest.ForUsers, hearth.KeyDevicesWrite},
		{hearth.TwinReported, "update-twin-reported", "Change what a device says it is", "For the device's own token, and users who may change the device.", rest.ForDevices, hearth.KeyTelemetryWrite},
	} {
		rest.RegisterRaw(a.Router, rest.Operation{
			ID: side.id, Method: http.MethodPatch, Path: "/devices/{id}/twin/" + string(side.TwinSide), Tag: tagTwins,
			Access: side.access, Key: side.key, ETag: true, ChecksTag: true,
			Codes: []hearth.Code{hearth.CodeNotFound}, Summary: side.summary,
			Description: side.description + " The body is a JSON merge patch (RFC 7396): members replace those of the state, objects are merged, arrays " +
				"replaced, `null` removes. A patch has at most 64 KiB, the state after it at most 32 KiB and 8 levels. A patch that changes nothing makes no " +
				"version and no event. With `If-Match`, only if this side is still at the version of that entity tag: changes of the other side do not count.",
		}, func(doc *huma.Operation) {
			answer(doc)
			doc.Parameters = append(doc.Parameters, &huma.Param{
				Name: "If-Match", In: "header", Description: "Entity tags, of which the twin must still have one, as far as this side goes.",
				Schema: &huma.Schema{Type: huma.TypeString}, Example: `"3.12-9f86d081884c7d65"`,
			})
			body := &huma.MediaType{Schema: rest.SchemaOf[TwinState](a.Router), Example: map[string]any{"brightness": 70, "color": nil}}
			doc.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": body, mergePatchType: body}}
		}, func(w http.ResponseWriter, r *http.Request) error { return a.patchTwin(w, r, side.TwinSide) })
	}
}

func (a *API) getTwin(w http.ResponseWriter, r *http.Request) error {
	twin, err := a.options.Twins.Twin(r.Context(), rest.CallerOf(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeTwin(w, twin)
	return nil
}

// patchTwin is raw: devices report often.
func (a *API) patchTwin(w http.ResponseWriter, r *http.Request, side hearth.TwinSide) error {
	if isMergePatch(r.Header) {
		r.Header.Set("Content-Type", "application/json")
	}
	body, checked, err := rest.ReadBody(r, hearth.MaxTwinPatch)
	switch {
	case err != nil:
		return err
	case len(body) == 0:
		return hearth.Errorf(hearth.CodeMalformedBody, "a body is required")
	case len(body) > hearth.MaxTwinPatch:
		return hearth.Invalid(hearth.FieldError{Location: "body", Message: "is larger than 64 KiB"})
	}
	if !checked {
		if err := rest.CheckJSON(body, hearth.MaxTwinPatch); err != nil {
			return err
		}
	}
	check := twinCondition(strings.Join(r.Header.Values("If-Match"), ","), side)
	twin, err := a.options.Twins.Patch(r.Context(), rest.CallerOf(r.Context()), r.PathValue("id"), side, body, check)
	if err != nil {
		return err
	}
	writeTwin(w, twin)
	return nil
}

func isMergePatch(header http.Header) bool {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	charset, named := params["charset"]
	return err == nil && len(header.Values("Content-Type")) == 1 && kind == mergePatchType && (!named || strings.EqualFold(charset, "utf-8"))
}

// writeTwin writes a Twin with both of its versions as the tag that withETag completes.
func writeTwin(w http.ResponseWriter, t hearth.TwinView) {
	w.Header().Set("ETag", rest.FormatVersion(t.DesiredVersion)+"."+rest.FormatVersion(t.ReportedVersion))
	writeRaw(w, http.StatusOK, appendTwin(make([]byte, 0, 320+len(t.Desired)+len(t.Reported)+len(t.Delta)), t))
}

// appendTwin appends a Twin. The states are JSON already.
func appendTwin(out []byte, t hearth.TwinView) []byte {
	state := func(name string, state json.RawMessage) {
		out = append(append(append(out, `,"`...), name...), `":`...)
		if state == nil {
			out = append(out, "{}"...)
		} else {
			out = append(out, state...)
		}
	}
	out = append(append(append(out, `{"device_id":"`...), t.DeviceID...), '"') // an id needs no escaping
	state("desired", t.Desired)
	state("reported", t.Reported)
	state("delta", t.Delta)
	out = strconv.AppendInt(append(out, `,"desired_version":`...), t.DesiredVersion, 10)
	out = strconv.AppendInt(append(out, `,"reported_version":`...), t.ReportedVersion, 10)
	out = append(out, `,"desired_at":`...)
	if t.DesiredAt.IsZero() {
		out = append(out, "null"...)
	} else {
		out = rest.Time(t.DesiredAt).Append(out)
	}
	out = append(out, `,"reported_at":`...)
	if t.ReportedAt.IsZero() {
		out = append(out, "null"...)
	} else {
		out = rest.Time(t.ReportedAt).Append(out)
	}
	return append(out, '}', '\n')
}

// twinCondition returns the check of an If-Match for a change of one side; nil if it demands nothing.
func twinCondition(ifMatch string, side hearth.TwinSide) func(hearth.Twin) error {
	if ifMatch = strings.TrimSpace(ifMatch); ifMatch == "" || ifMatch == "*" {
		return nil
	}
	return func(t hearth.Twin) error {
		have := rest.FormatVersion(t.Version(side))
		for tag := range rest.TagsOf(ifMatch) {
			versions, _, _ := strings.Cut(strings.TrimPrefix(tag, `"`), "-")
			desired, reported, ok := strings.Cut(strings.TrimSuffix(versions, `"`), ".")
			if ok && (side == hearth.TwinDesired && desired == have || side == hearth.TwinReported && reported == have) {
				return nil
			}
		}
		return hearth.Errorf(hearth.CodeVersionMismatch, "the %s state has changed since: it is at version %s", side, have)
	}
}
