package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/devices"
	"hearth/internal/newid"
)

// Heartbeat is a stored heartbeat.
type Heartbeat struct {
	DeviceID     string    `json:"device_id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Status       string    `json:"status" enum:"active,inactive,error"`
	Connection   string    `json:"connection" enum:"online,offline,never" example:"online"`
	LastActiveAt rest.Time `json:"last_active_at"`
	Pending      Pending   `json:"pending"`
}

// Pending is what waits for a device.
type Pending struct {
	Commands       int   `json:"commands" doc:"How many commands the device has neither acknowledged nor answered." example:"1"`
	DesiredVersion int64 `json:"desired_version" doc:"The version of the desired state of the device's twin: read the twin when it is another." example:"3"`
}

// NewHeartbeat is a heartbeat to store.
type NewHeartbeat struct {
	Status rest.Optional[string] `json:"status,omitempty" enum:"active,inactive,error" doc:"The status that the device is in; left out or null, it stays."`
}

// NewDeviceHeartbeat is a heartbeat of one of many devices.
type NewDeviceHeartbeat struct {
	DeviceID string `json:"device_id" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	NewHeartbeat
}

// NewHeartbeats are heartbeats of many devices.
type NewHeartbeats struct {
	Items []NewDeviceHeartbeat `json:"items" minItems:"1" maxItems:"1000"`
}

// HeartbeatRejection is a heartbeat that was not stored.
type HeartbeatRejection struct {
	Index int         `json:"index" doc:"Its place in items, from 0." example:"3"`
	Code  hearth.Code `json:"code" doc:"not_found, forbidden, or validation_failed for a status that does not exist." example:"not_found"`
}

// HeartbeatsAccepted is the answer to heartbeats of many devices.
type HeartbeatsAccepted struct {
	Accepted int                  `json:"accepted" doc:"How many were stored." example:"998"`
	Rejected []HeartbeatRejection `json:"rejected" nullable:"false"`
}

func (a *API) registerHeartbeats() {
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "send-heartbeat", Method: http.MethodPost, Path: "/devices/{id}/heartbeat", Tag: tagDevices,
		Access: rest.ForDevices, Key: hearth.KeyTelemetryWrite, Plain: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Send a device's heartbeat",
		Description: "The device is online until three heartbeat intervals pass without a heartbeat. The answer comes once the heartbeat is durable. " +
			"The body may be left out. A device's own token may send that device's.",
	}, func(doc *huma.Operation) {
		doc.Parameters = append(doc.Parameters, deviceIDParam())
		doc.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"application/json": {
			Schema: rest.SchemaOf[NewHeartbeat](a.Router), Example: map[string]any{"status": "active"},
		}}}
		doc.Responses["200"] = jsonResponse("The heartbeat, stored", rest.SchemaOf[Heartbeat](a.Router))
	}, a.sendHeartbeat)
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "send-heartbeats", Method: http.MethodPost, Path: "/heartbeats", Tag: tagDevices,
		Access: rest.ForDevices, Key: hearth.KeyTelemetryWrite, Plain: true,
		Summary: "Send heartbeats of many devices",
		Description: "For gateways: up to 1000 heartbeats. Valid ones are stored; the others are named by index. The answer comes once all " +
			"stored ones are durable. A device's own token may send that device's.",
	}, func(doc *huma.Operation) {
		doc.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema:  rest.SchemaOf[NewHeartbeats](a.Router),
			Example: map[string]any{"items": []any{map[string]any{"device_id": "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "status": "active"}}},
		}}}
		doc.Responses["200"] = jsonResponse("The stored heartbeats, and those that were rejected", rest.SchemaOf[HeartbeatsAccepted](a.Router))
	}, a.sendHeartbeats)
}

// sendHeartbeat is raw, as the busiest call of all: it costs a fraction of a typed operation.
func (a *API) sendHeartbeat(w http.ResponseWriter, r *http.Request) error {
	var status hearth.DeviceStatus
	if r.Body != http.NoBody {
		body, checked, err := rest.ReadBody(r, hearth.MaxHeartbeatBatch)
		if err != nil {
			return err
		}
		if status, err = parseHeartbeat(body, checked); err != nil {
			return err
		}
	}
	beat, err := a.options.Fleet.Heartbeat(r.Context(), rest.CallerOf(r.Context()), r.PathValue("id"), status)
	if err != nil {
		return err
	}
	writeRaw(w, http.StatusOK, append(appendHeartbeat(make([]byte, 0, 256), beat), '\n'))
	return nil
}

// appendHeartbeat appends a Heartbeat. It is written by hand: each second has thousands of them, as answers and as events.
func appendHeartbeat(out []byte, beat hearth.Heartbeat) []byte {
	out = append(out, `{"device_id":"`...)
	out = append(out, beat.DeviceID...) // an id, a status and a connection need no escaping
	out = append(out, `","status":"`...)
	out = append(out, beat.Status...)
	out = append(out, `","connection":"`...)
	out = append(out, beat.Connection...)
	out = append(out, `","last_active_at":`...)
	out = rest.Time(beat.At).Append(out)
	out = append(out, `,"pending":{"commands":`...)
	out = strconv.AppendInt(out, int64(beat.PendingCommands), 10)
	out = append(out, `,"desired_version":`...)
	out = strconv.AppendInt(out, beat.DesiredVersion, 10)
	return append(out, `}}`...)
}

// jsonType is the Content-Type of every answer that is written here.
var jsonType = []string{"application/json"} // never written to

func writeRaw(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header["Content-Type"] = jsonType
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have gone
}

func (a *API) sendHeartbeats(w http.ResponseWriter, r *http.Request) error {
	body, checked, err := rest.ReadBody(r, hearth.MaxHeartbeatBatch)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return hearth.Errorf(hearth.CodeMalformedBody, "a body is required")
	}
	signs, err := parseHeartbeats(body, checked)
	if err != nil {
		return err
	}
	accepted, rejected, err := a.options.Fleet.Heartbeats(r.Context(), rest.CallerOf(r.Context()), signs)
	if err != nil {
		return err
	}
	answer := HeartbeatsAccepted{Accepted: accepted, Rejected: make([]HeartbeatRejection, len(rejected))}
	for i, rejection := range rejected {
		answer.Rejected[i] = HeartbeatRejection(rejection)
	}
	out, err := rest.EncodeBody(answer)
	if err != nil {
		return err
	}
	writeRaw(w, http.StatusOK, out)
	return nil
}

// parseHeartbeat reads {"status": …}; an empty body and {} say nothing. checked says that the body has passed CheckJSON.
func parseHeartbeat(body []byte, checked bool) (hearth.DeviceStatus, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || string(body) == "{}" {
		return "", nil
	}
	if status := statusAlone(body); status.Valid() {
		return status, nil
	}
	p := newHeartbeatParser(body, checked)
	sign := p.item("body.", false)
	return sign.Status, p.end()
}

// statusAlone returns what is between {"status":" and "}, the form that most heartbeats have; "" for a body of another form.
func statusAlone(body []byte) hearth.DeviceStatus {
	after, begins := bytes.CutPrefix(body, []byte(`{"status":"`))
	status, ends := bytes.CutSuffix(after, []byte(`"}`))
	if !begins || !ends {
		return ""
	}
	return hearth.DeviceStatus(status)
}

// parseHeartbeats reads {"items": [{"device_id": …, "status": …}, …]}.
func parseHeartbeats(body []byte, checked bool) ([]devices.Sign, error) {
	p := newHeartbeatParser(body, checked)
	var signs []devices.Sign
	found := false
	p.object("body", func(name string) {
		if name != "items" {
			p.unexpected("body." + name)
			return
		}
		found = true
		if p.decoder.PeekKind() != '[' {
			p.wrong("body.items", "must be an array")
			return
		}
		p.token()
		for p.err == nil && p.decoder.PeekKind() != ']' {
			if len(signs) == hearth.MaxHeartbeatBatch {
				p.problem("body.items", "must have 1 to 1000 items")
				p.err = hearth.Invalid(p.problems...)
				return
			}
			signs = append(signs, p.item("body.items["+strconv.Itoa(len(signs))+"].", true))
		}
		p.token()
	})
	if p.err == nil && !found {
		p.problem("body.items", "is required")
	}
	return signs, p.end()
}

// heartbeatParser reads heartbeats as strictly as every body is read: see CheckJSON. The first fault in the JSON ends it;
// wrong fields are collected.
type heartbeatParser struct {
	decoder  *jsontext.Decoder
	problems []hearth.FieldError
	err      error
	// checked says that the body is known to be JSON, so that nothing needs to be read once enough is wrong.
	checked bool
}

func newHeartbeatParser(body []byte, checked bool) *heartbeatParser {
	return &heartbeatParser{decoder: jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(checked)), checked: checked}
}

func (p *heartbeatParser) problem(location, message string) {
	if len(p.problems) < rest.MaxFields {
		p.problems = append(p.problems, hearth.FieldError{Location: location, Message: message})
	}
	if p.checked && len(p.problems) == rest.MaxFields && p.err == nil {
		p.err = hearth.Invalid(p.problems...)
	}
}

func (p *heartbeatParser) token() jsontext.Token {
	if p.err != nil {
		return jsontext.Token{}
	}
	token, err := p.decoder.ReadToken()
	if err != nil {
		p.err = rest.NotJSON(err, p.decoder.InputOffset())
	}
	return token
}

// wrong passes over a value and says what it should have been.
func (p *heartbeatParser) wrong(location, message string) {
	if p.err != nil {
		return
	}
	if err := p.decoder.SkipValue(); err != nil {
		p.err = rest.NotJSON(err, p.decoder.InputOffset())
		return
	}
	p.problem(location, message)
}

func (p *heartbeatParser) unexpected(location string) { p.wrong(location, "unexpected property") }

// object reads an object, calling field with each name to read the value.
func (p *heartbeatParser) object(location string, field func(name string)) {
	if kind := p.decoder.PeekKind(); kind != '{' {
		if kind == 0 {
			p.token() // to find out what is wrong
		}
		p.wrong(location, "must be an object")
		return
	}
	p.token()
	for p.err == nil && p.decoder.PeekKind() != '}' {
		name := p.token()
		if p.err == nil {
			field(rest.Printable(name.String()))
		}
	}
	p.token()
}

// text reads a string; ok reports whether it was one.
func (p *heartbeatParser) text(location string) (text string, ok bool) {
	if p.decoder.PeekKind() != '"' {
		p.wrong(location, "must be a string")
		return "", false
	}
	token := p.token()
	if p.err != nil {
		return "", false
	}
	return token.String(), true
}

// item reads one heartbeat; the locations of its fields start with prefix.
func (p *heartbeatParser) item(prefix string, named bool) (sign devices.Sign) {
	p.object(prefix[:len(prefix)-1], func(name string) {
		switch {
		case name == "status" && p.decoder.PeekKind() == 'n':
			p.token()
		case name == "status":
			if text, ok := p.text(prefix + name); ok {
				sign.Status = hearth.DeviceStatus(text)
				if text == "" {
					sign.Status = "none" // "" would say nothing; the client said something wrong
				}
			}
		case name == "device_id" && named:
			if text, ok := p.text(prefix + name); ok {
				sign.DeviceID = newid.Canonical(text)
				if text == "" {
					p.problem(prefix+name, "must not be empty")
				}
			}
			named = false
		default:
			p.unexpected(prefix + name)
		}
	})
	if named && p.err == nil {
		p.problem(prefix+"device_id", "is required")
	}
	return sign
}

// end makes sure that nothing follows, and returns what was wrong.
func (p *heartbeatParser) end() error {
	if p.err != nil {
		return p.err
	}
	if _, err := p.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return hearth.Errorf(hearth.CodeMalformedBody, "the body is not valid: something follows the value")
	}
	if len(p.problems) > 0 {
		return hearth.Invalid(p.problems...)
	}
	return nil
}
