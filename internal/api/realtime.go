package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/people"
	"hearth/internal/api/rest"
)

const tagRealtime = "Realtime"

// Live carries events to connections. Its handlers authenticate by themselves: a stream may come with a ticket, a
// WebSocket shows its token in its first message.
type Live interface {
	// ServeSSE and ServeWebSocket return an error before they have written anything, or nil.
	ServeSSE(w http.ResponseWriter, r *http.Request) error
	ServeWebSocket(w http.ResponseWriter, r *http.Request) error
	// IssueTicket returns a ticket that opens one stream within 30 seconds for the owner of the access token.
	IssueTicket(ctx context.Context, token string) (string, error)
}

// publishes reports whether the operation publishes events of devices.
func publishes(op rest.Operation) bool {
	return op.Method != http.MethodGet && (op.Tag == tagDevices || op.Tag == tagLogs || op.Tag == tagCommands || op.Tag == tagTwins ||
		op.Tag == tagProvisioning || op.Tag == tagAlarms)
}

// afterPublishing delays the answer of an operation that publishes until its events have their position among those of all instances.
func (a *API) afterPublishing(op rest.Operation, handler rest.Handler) rest.Handler {
	if a.options.AwaitPublished == nil || !publishes(op) {
		return handler
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		return handler(&publishingWriter{ResponseWriter: w, await: sync.OnceFunc(func() { a.options.AwaitPublished(r.Context()) })}, r)
	}
}

// publishingWriter waits before the answer begins.
type publishingWriter struct {
	http.ResponseWriter
	await func()
}

func (w *publishingWriter) WriteHeader(status int) {
	w.await()
	w.ResponseWriter.WriteHeader(status)
}

func (w *publishingWriter) Write(data []byte) (int, error) {
	w.await()
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *publishingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ticketParam is the query parameter, and the security scheme, of tickets.
const ticketParam = "ticket"

// ticketSeconds is how long a ticket opens a stream.
const ticketSeconds = 30

// Ticket opens one stream.
type Ticket struct {
	Ticket    string `json:"ticket" doc:"Goes into ?ticket= of the stream, once." example:"Hq5n0s6vPZ1m0yGk3Tq8eX2b7wUu9cJr4dLfAoViN5E"`
	ExpiresIn int    `json:"expires_in" doc:"Seconds." example:"30"`
}

// StreamStats are the figures of the open connections.
type StreamStats struct {
	Connections       StreamConnections `json:"connections"`
	Users             int               `json:"users" doc:"Users with a connection, each counted once; beyond 4,096 an estimate if there are several instances." example:"42"`
	Channels          int               `json:"channels" doc:"Channels with a reader, counted likewise." example:"57"`
	MessagesPerSecond float64           `json:"messages_per_second" doc:"Events delivered; the mean of the last 10 seconds." example:"12.5"`
}

// StreamConnections counts the open connections.
type StreamConnections struct {
	WebSocket int `json:"websocket" example:"40"`
	SSE       int `json:"sse" example:"9"`
}

const eventNote = "An event is `{type, at, data}`; the types are `device-update` (the device), `device-heartbeat` (the heartbeat's " +
	"answer), `device-log` (the log, or `{device_id, count}` for many), `device-deleted` (`{id}`), " +
	"`device-twin` (`{device_id, desired_version, reported_version, delta}`), `device-command` (the command), `alarm` (the alarm), `notification` (the notification) and " +
	"`export-progress` (the export). Channels are `user:{id}`, `org:{id}` and `device:{id}`."

func (a *API) registerRealtime() {
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "stream-events", Method: http.MethodGet, Path: "/realtime/sse", Tag: tagRealtime,
		Access: rest.ForAnyone, Key: hearth.KeyTelemetryRead, Stream: true,
		Codes: []hearth.Code{
			hearth.CodeUnauthenticated, hearth.CodeTokenExpired, hearth.CodeTokenRevoked, hearth.CodeForbidden, hearth.CodeNotFound,
		},
		Summary: "Receive events by SSE",
		Description: "One stream for several channels, each event once and in order. " + eventNote + " Without `channels` it is your own " +
			"channel: everything of your own devices, and what is addressed to you. With `channels` it is those, and what is addressed to " +
			"you. Come back with the last `id` and what you missed is replayed; where that is no longer possible an event `reset` comes " +
			"first: read anew what you show. A stream ends with its access token.",
	}, func(doc *huma.Operation) {
		doc.Security = append(slices.Insert(doc.Security, 0, map[string][]string{"user": {}}), map[string][]string{ticketParam: {}})
		a.Document().Components.SecuritySchemes[ticketParam] = &huma.SecurityScheme{
			Type: "apiKey", In: "query", Name: ticketParam, Description: "A one-use ticket of POST /realtime/ticket, where no header can be sent.",
		}
		doc.Parameters = append(doc.Parameters, &huma.Param{
			Name: "channels", In: "query", Description: "Channels, separated by commas; at most 100.", Explode: new(bool),
			Schema:  &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}},
			Example: []string{"device:0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"},
		}, &huma.Param{
			Name: "last_event_id", In: "query", Description: "As the header Last-Event-ID, which counts more.",
			Schema: &huma.Schema{Type: huma.TypeString}, Example: "AQEIa1b2c3",
		}, &huma.Param{
			Name: "Last-Event-ID", In: "header", Description: "The id of the last event that was seen.",
			Schema: &huma.Schema{Type: huma.TypeString}, Example: "AQEIa1b2c3",
		})
		doc.Responses["200"] = &huma.Response{Description: "The stream", Content: map[string]*huma.MediaType{
			"text/event-stream": {
				Schema: &huma.Schema{Type: huma.TypeString},
				Example: "id: AQEIa1b2c3\nevent: device-heartbeat\ndata: {\"type\":\"device-heartbeat\",\"at\":\"2026-03-01T12:00:00.000Z\"," +
					"\"data\":{\"device_id\":\"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b\",\"status\":\"active\",\"connection\":\"online\"," +
					"\"last_active_at\":\"2026-03-01T12:00:00.000Z\"}}\n\n",
			},
		}}
	}, a.live(Live.ServeSSE))
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "connect-websocket", Method: http.MethodGet, Path: "/realtime/ws", Tag: tagRealtime,
		Access: rest.ForAnyone, Key: hearth.KeyTelemetryRead, Stream: true,
		Status: http.StatusSwitchingProtocols, Codes: []hearth.Code{hearth.CodeForbidden, hearth.CodeMalformedBody},
		Summary: "Receive events by WebSocket",
		Description: "The centrifuge protocol, JSON: use one of its clients. The access token goes into the connect command, or into " +
			"`Authorization`. " + eventNote + " Your own channel is joined at connect; subscribe to others. A subscription that you may not " +
			"have answers 103. Clients recover what they missed by themselves and are notified where they cannot. A page of an origin that is not allowed is " +
			"`forbidden`.",
	}, func(doc *huma.Operation) {
		doc.Security = append(slices.Insert(doc.Security, 0, map[string][]string{"user": {}}), map[string][]string{}) // it may come later
		doc.Responses["101"] = &huma.Response{Description: "The connection is a WebSocket"}
	}, a.live(Live.ServeWebSocket))
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "connect-mqtt", Method: http.MethodGet, Path: "/mqtt", Tag: tagRealtime,
		Access: rest.ForAnyone, Key: hearth.KeyTelemetryWrite, Stream: true,
		Status: http.StatusSwitchingProtocols, Codes: []hearth.Code{hearth.CodeMalformedBody},
		Summary: "Speak MQTT over a WebSocket",
		Description: "MQTT 3.1.1 or 5 for devices, with the subprotocol `mqtt`. A device logs in with its token in CONNECT: see the guide to MQTT. " +
			"`Authorization` is not used.",
	}, func(doc *huma.Operation) {
		doc.Security = []map[string][]string{{}}
		doc.Responses["101"] = &huma.Response{Description: "The connection is a WebSocket"}
	}, func(w http.ResponseWriter, r *http.Request) error {
		if a.options.MQTT == nil {
			return hearth.Errorf(hearth.CodeNotFound, "this instance serves no MQTT")
		}
		return a.options.MQTT(w, r)
	})
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "create-stream-ticket", Method: http.MethodPost, Path: "/realtime/ticket", Tag: tagRealtime,
		Access: rest.ForUsers, Key: hearth.KeyTelemetryRead,
		Status: http.StatusCreated, Secret: true, Plain: true,
		Summary:     "Get a ticket for a stream",
		Description: "An `EventSource` cannot send a header, and an access token must not be in a URL. A ticket opens one stream, within 30 seconds.",
	}, func(doc *huma.Operation) {
		doc.Responses["201"] = jsonResponse("The ticket", rest.SchemaOf[Ticket](a.Router))
	}, a.live(a.createTicket))
	rest.Register(a.Router, rest.Operation{
		ID: "stream-stats", Method: http.MethodGet, Path: "/realtime/stats", Tag: tagRealtime, Access: rest.ForAdmins, Key: rest.ClosedToKeys,
		Summary: "Count the open streams", Description: "At all instances together. The figures of another instance are at most a second old.",
	}, func(ctx context.Context, _ *struct{}) (*rest.Body[StreamStats], error) {
		if a.options.StreamStats == nil {
			return nil, errNotLive()
		}
		return &rest.Body[StreamStats]{Body: a.options.StreamStats(ctx)}, nil
	})
}

// live hands a request to the realtime side.
func (a *API) live(serve func(Live, http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.options.Live == nil {
			return errNotLive()
		}
		if rest.CallerOf(r.Context()).IsDevice() {
			return hearth.Errorf(hearth.CodeForbidden, "a device may not watch")
		}
		return serve(a.options.Live, w, r)
	}
}

func errNotLive() error { return hearth.Errorf(hearth.CodeNotFound, "this instance serves no streams") }

func (a *API) createTicket(live Live, w http.ResponseWriter, r *http.Request) error {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	ticket, err := live.IssueTicket(r.Context(), token)
	if err != nil {
		return err
	}
	return writeCreated(w, Ticket{Ticket: ticket, ExpiresIn: ticketSeconds})
}

// LogSummary stands for logs that arrived too fast to be published one by one.
type LogSummary struct {
	DeviceID string                 `json:"device_id"`
	Count    int                    `json:"count"`
	Latest   map[string]LatestValue `json:"latest"`
}

func wireLogSummary(s hearth.LogSummary) LogSummary {
	wire := LogSummary{DeviceID: s.DeviceID, Count: s.Count, Latest: make(map[string]LatestValue, len(s.Latest))}
	for event, latest := range s.Latest {
		wire.Latest[event] = LatestValue{Value: Value(latest.Value), Timestamp: rest.Time(latest.At)}
	}
	return wire
}

// EncodeEvent returns the contract's JSON of an event's data; a json.RawMessage is that already.
func EncodeEvent(event hearth.Event) (json.RawMessage, error) {
	if event.Type == hearth.EventDeviceDeleted {
		return json.Marshal(map[string]string{"id": event.DeviceID})
	}
	var wire any
	switch data := event.Data.(type) {
	case json.RawMessage:
		return data, nil
	case hearth.Log:
		return wireLog(data).append(make([]byte, 0, 256))
	case hearth.LogSummary:
		wire = wireLogSummary(data)
	case hearth.Heartbeat:
		return appendHeartbeat(make([]byte, 0, 256), data), nil
	case hearth.TwinView:
		wire = struct {
			DeviceID        string          `json:"device_id"`
			DesiredVersion  int64           `json:"desired_version"`
			ReportedVersion int64           `json:"reported_version"`
			Delta           json.RawMessage `json:"delta"`
		}{data.DeviceID, data.DesiredVersion, data.ReportedVersion, data.Delta}
	case hearth.Device:
		wire = wireDeviceAt(data, event.At)
	case hearth.Notification:
		wire = people.WireNotification(data)
	case hearth.Export:
		wire = wireExport(data)
	case hearth.Alarm:
		wire = wireAlarm(data)
	case hearth.Command:
		wire = wireCommand(data)
	default:
		return nil, fmt.Errorf("api: an event %s carries a %T", event.Type, event.Data)
	}
	return json.Marshal(wire)
}
