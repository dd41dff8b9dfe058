package api

import (
	"context"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/logjson"
	"hearth/internal/api/rest"
	"hearth/internal/api/timerange"
	"hearth/internal/core/telemetry"
)

const tagLogs = "Logs"

// Log is one reading on the wire.
type Log struct {
	ID        string    `json:"id" doc:"Opaque and stable." example:"00000000000GM"`
	DeviceID  string    `json:"device_id" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Event     string    `json:"event" doc:"What was measured." example:"temperature"`
	Value     Value     `json:"value" doc:"Of the JSON type that was sent."`
	Timestamp rest.Time `json:"timestamp" doc:"When it was measured."`
}

func wireLog(l hearth.Log) Log {
	return Log{ID: l.ID, DeviceID: l.DeviceID, Event: l.Event, Value: Value(l.Value), Timestamp: rest.Time(l.At)}
}

// append appends the log as package json encodes it. It is written by hand: each second has thousands of them, as answers and as events.
func (l Log) append(out []byte) ([]byte, error) {
	out = append(out, `{"id":"`...)
	out = append(out, l.ID...) // ids and events need no escaping
	out = append(out, `","device_id":"`...)
	out = append(out, l.DeviceID...)
	out = append(out, `","event":"`...)
	out = append(out, l.Event...)
	out = append(out, `","value":`...)
	out, err := l.Value.append(out)
	if err != nil {
		return nil, err
	}
	out = append(out, `,"timestamp":`...)
	return append(l.Timestamp.Append(out), '}'), nil
}

// NewLog is one reading of a known device on its way in.
type NewLog struct {
	Event     string     `json:"event" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9_.:*/-]+$" doc:"What was measured." example:"temperature"`
	Value     Value      `json:"value" doc:"A number, a boolean or a string. An event may change its type from one log to the next."`
	Timestamp *rest.Time `json:"timestamp,omitempty" doc:"When it was measured, RFC 3339 with any offset: now if it is left out or null. At most 24 hours ahead; any time in the past is accepted. Digits beyond milliseconds are cut."`
}

// NewDeviceLog is one reading of a batch on its way in.
type NewDeviceLog struct {
	DeviceID string `json:"device_id,omitempty" doc:"The device that measured. With a device's token it may be left out or null: that device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	NewLog
}

// Accepted is the answer to a batch.
type Accepted struct {
	Accepted int  `json:"accepted" doc:"The number of logs stored: all of the batch, those skipped aside." example:"2"`
	Skipped  *int `json:"skipped,omitempty" doc:"With duplicates=skip: the number of logs not stored, because they are stored already or stand twice in the batch." example:"0"`
}

func (a *API) registerLogs() {
	a.registerLatest()
	a.registerStates()
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "create-log", Method: http.MethodPost, Path: "/devices/{id}/logs", Tag: tagLogs,
		Access: rest.ForDevices, Key: hearth.KeyTelemetryWrite, Status: http.StatusCreated,
		Creates: true, Plain: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeQuotaExceeded},
		Summary: "Report one value",
		Description: "Stores one log of a device. The answer comes once it is durable. A device's own token may report for that device; " +
			"every other device is `not_found` to it. It counts as a sign of life of the device, as a heartbeat does.",
	}, func(doc *huma.Operation) {
		doc.Parameters = append(doc.Parameters, deviceIDParam())
		doc.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema:  rest.SchemaOf[NewLog](a.Router),
			Example: map[string]any{"event": "temperature", "value": 21.5, "timestamp": "2026-03-01T12:00:00.000Z"},
		}}}
		doc.Responses["201"] = jsonResponse("The log, stored", rest.SchemaOf[Log](a.Router))
	}, a.createLog)
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "create-logs", Method: http.MethodPost, Path: "/logs", Tag: tagLogs,
		Access: rest.ForDevices, Key: hearth.KeyTelemetryWrite, Status: http.StatusCreated,
		Creates: true, Plain: true, Batch: true, Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeQuotaExceeded},
		Summary: "Report many values",
		Description: "Stores up to 10,000 logs of any devices of the caller: a JSON array, or NDJSON (`application/x-ndjson`, one object a " +
			"line). All or nothing: what is wrong is named by index, such as `body[17].value`, for up to 20 logs. A device that " +
			"does not exist and one that you may not write to are refused with the same message. The answer comes once all logs are durable and every " +
			"analytics answer counts them. In sums a boolean counts as 1 or 0; strings are counted, never summed. Logs count as a sign of life " +
			"of their devices, as heartbeats do, once a second at most. The " +
			"body may be compressed (`Content-Encoding: gzip`) and has at most 16 MiB; an item has at most 64 KiB. " +
			"An array may be empty. With `duplicates=skip` a log whose device, event, timestamp and value, with its type, are stored already or " +
			"stand before it in the batch is not stored again.",
	}, func(doc *huma.Operation) {
		doc.Parameters = append(doc.Parameters, &huma.Param{
			Name: "duplicates", In: "query", Description: "What happens to logs that are stored already: `keep` stores them again.",
			Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"keep", "skip"}, Default: "keep"},
		})
		item, most := rest.SchemaOf[NewDeviceLog](a.Router), hearth.MaxLogBatch
		example := map[string]any{"device_id": "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "event": "temperature", "value": 21.5}
		doc.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {
				Schema: &huma.Schema{Type: huma.TypeArray, Items: item, MaxItems: &most}, Example: []any{example},
			},
			"application/x-ndjson": {
				Schema: &huma.Schema{Type: huma.TypeString, Description: "One NewDeviceLog a line."},
				Example: `{"device_id":"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","event":"temperature","value":21.5}` + "\n" +
					`{"device_id":"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","event":"humidity","value":48}` + "\n",
			},
		}}
		doc.Responses["201"] = jsonResponse("All logs, stored", rest.SchemaOf[Accepted](a.Router))
	}, a.createLogs)
	rest.Register(a.Router, rest.Operation{
		ID: "list-logs", Method: http.MethodGet, Path: "/devices/{id}/logs", Tag: tagLogs, Access: rest.ForUsers, Key: hearth.KeyTelemetryRead, ETag: true,
		Codes:   []hearth.Code{hearth.CodeNotFound},
		Summary: "List a device's logs",
		Description: "The logs of a range, of all time if none is given; newest first unless `order=asc`. Pages hold their place while logs " +
			"arrive; the pages after the first keep the range of the first one, `range=…` included.",
	}, a.listLogs)
	rest.Register(a.Router, rest.Operation{
		ID: "delete-logs", Method: http.MethodDelete, Path: "/devices/{id}/logs", Tag: tagLogs, Access: rest.ForUsers, Key: hearth.KeyTelemetryWrite,
		Codes:   []hearth.Code{hearth.CodeNotFound},
		Summary: "Delete a device's logs of a range",
		Description: "Deletes the logs of a range for good: of one event, or of all. When the answer comes, every list and every analytics answer is without them. " +
			"Logs that arrive meanwhile may stay. After a failure some may be deleted: send the request again. Files of exports, archives and backups are not changed.",
	}, a.deleteLogs)
}

func deviceIDParam() *huma.Param {
	return &huma.Param{
		Name: "id", In: "path", Required: true, Description: "The device.", Schema: &huma.Schema{Type: huma.TypeString},
		Example: "0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
	}
}

func jsonResponse(description string, schema *huma.Schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// createLog is raw: with the log decoder it costs a fraction of a typed operation.
func (a *API) createLog(w http.ResponseWriter, r *http.Request) error {
	if !rest.IsJSON(r.Header) {
		return hearth.Errorf(hearth.CodeUnsupportedMediaType, "the body must be application/json")
	}
	batch, err := a.logs.Decode(r.Body, logjson.Options{Format: logjson.Single, Now: a.Now().UnixMilli()})
	if err != nil {
		return err
	}
	entry, faults := batch.Entries[0], batch.Faults
	batch.Release()
	log, err := a.options.Telemetry.Add(r.Context(), rest.CallerOf(r.Context()), telemetry.Single{
		DeviceID: r.PathValue("id"), Entry: entry, Faults: faults, Idempotency: rest.Idempotency(r.Context(), wireLog),
	})
	if err != nil {
		return err
	}
	body, err := wireLog(log).append(make([]byte, 0, 256))
	if err != nil {
		return err
	}
	writeRaw(w, http.StatusCreated, append(body, '\n'))
	return nil
}

func (a *API) createLogs(w http.ResponseWriter, r *http.Request) error {
	format, err := logsFormat(r.Header)
	if err != nil {
		return err
	}
	skip, err := skipsDuplicates(r)
	if err != nil {
		return err
	}
	batch, err := a.logs.Decode(r.Body, logjson.Options{Format: format, Now: a.Now().UnixMilli(), Device: rest.CallerOf(r.Context()).DeviceID})
	if err != nil {
		return err
	}
	defer batch.Release()
	wire := func(done telemetry.Ingested) Accepted {
		if !skip {
			return Accepted{Accepted: done.Stored}
		}
		return Accepted{done.Stored, &done.Skipped}
	}
	done, err := a.options.Telemetry.Ingest(r.Context(), rest.CallerOf(r.Context()), telemetry.Batch{
		Devices: batch.Devices, Entries: batch.Entries, Faults: batch.Faults, SkipDuplicates: skip, Idempotency: rest.Idempotency(r.Context(), wire),
	})
	if err != nil {
		return err
	}
	return writeCreated(w, wire(done))
}

// skipsDuplicates reads the parameter duplicates.
func skipsDuplicates(r *http.Request) (bool, error) {
	switch values := r.URL.Query()["duplicates"]; {
	case len(values) == 0 || len(values) == 1 && values[0] == "keep":
		return false, nil
	case len(values) == 1 && values[0] == "skip":
		return true, nil
	}
	return false, hearth.Invalid(hearth.FieldError{Location: "query.duplicates", Message: "must be keep or skip"})
}

// logsFormat reads the Content-Type of a batch.
func logsFormat(header http.Header) (logjson.Format, error) {
	if rest.IsJSON(header) {
		return logjson.Array, nil
	}
	if values := header.Values("Content-Type"); len(values) == 1 {
		kind, params, err := mime.ParseMediaType(values[0])
		charset, named := params["charset"]
		if err == nil && (kind == "application/x-ndjson" || kind == "application/ndjson") && (!named || strings.EqualFold(charset, "utf-8")) {
			return logjson.Lines, nil
		}
	}
	return 0, hearth.Errorf(hearth.CodeUnsupportedMediaType, "the body must be application/json or application/x-ndjson")
}

func writeCreated(w http.ResponseWriter, v any) error {
	body, err := rest.EncodeBody(v)
	if err != nil {
		return err
	}
	writeRaw(w, http.StatusCreated, body)
	return nil
}

type listLogsInput struct {
	ID string `path:"id" maxLength:"64" doc:"The device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	timerange.Params
	Event string `query:"event" maxLength:"64" doc:"Only logs of this event." example:"temperature"`
	Order string `query:"order" enum:"asc,desc" default:"desc" doc:"Oldest (asc) or newest (desc) first."`
	rest.PageParams
}

type listLogsOutput struct {
	Body rest.List[Log]
}

func (a *API) listLogs(ctx context.Context, in *listLogsInput) (*listLogsOutput, error) {
	sort := telemetry.NewestFirst
	if in.Order == "asc" {
		sort = telemetry.OldestFirst
	}
	page, err := in.Page(sort)
	if err != nil {
		return nil, err
	}
	span, _, err := in.Parse()
	if err != nil {
		return nil, err
	}
	list, err := a.options.Telemetry.Logs(ctx, rest.CallerOf(ctx), telemetry.Query{
		DeviceID: in.ID, Span: span.At(a.Now()).Span, Sliding: span.Sliding > 0, Event: in.Event, Page: page,
	})
	if err != nil {
		return nil, err
	}
	body, err := rest.ListOf(list, in.Fields, wireLog)
	return &listLogsOutput{Body: body}, err
}

type deleteLogsInput struct {
	ID    string `path:"id" maxLength:"64" doc:"The device." example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	From  string `query:"from" required:"true" maxLength:"64" format:"date-time" doc:"Start of the range, inclusive (RFC 3339)." example:"2026-03-01T00:00:00.000Z"`
	To    string `query:"to" required:"true" maxLength:"64" format:"date-time" doc:"End of the range, exclusive (RFC 3339)." example:"2026-03-02T00:00:00.000Z"`
	Event string `query:"event" minLength:"1" maxLength:"64" doc:"Only logs of this event; without it, of all." example:"temperature"`
}

// DeletedLogs is the answer to a deletion of logs.
type DeletedLogs struct {
	Deleted int64 `json:"deleted" doc:"The number of logs deleted." example:"120"`
}

type deleteLogsOutput struct{ Body DeletedLogs }

func (a *API) deleteLogs(ctx context.Context, in *deleteLogsInput) (*deleteLogsOutput, error) {
	span, _, err := timerange.Params{From: in.From, To: in.To}.Parse()
	if err != nil {
		return nil, err
	}
	deleted, err := a.options.Telemetry.Delete(ctx, rest.CallerOf(ctx), telemetry.Deletion{DeviceID: in.ID, Span: span.Span, Event: in.Event})
	if err != nil {
		return nil, err
	}
	return &deleteLogsOutput{Body: DeletedLogs{deleted}}, nil
}
