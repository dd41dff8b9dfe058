// Package brokerauth answers external brokers that ask whether a device may connect, and which topics it has. A device logs in with its token, and
// has the topics d/{device id}/… alone.
package brokerauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hearth"
)

const (
	// maxBody bounds a question, maxFields the fields of its form and the topics of a subscription.
	maxBody   = 64 << 10
	maxFields = 100
	// patience bounds the wait for the store.
	patience = 5 * time.Second
	// sessionLife is how long EMQX lets a device stay connected before it asks again: a token that is deleted ends then at the latest.
	sessionLife = 24 * time.Hour
)

// Devices knows the tokens of devices.
type Devices interface {
	// Authenticate returns the device that a token speaks for; CodeUnauthenticated, CodeUnavailable.
	Authenticate(ctx context.Context, token string) (hearth.Caller, error)
}

// Handler answers below /internal/mqtt/auth. It asks for no password: it belongs on a listener that only brokers reach.
func Handler(devices Devices, clock hearth.Clock) http.Handler {
	h := handler{devices, clock}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /internal/mqtt/auth", h.emqx)
	mux.HandleFunc("POST /internal/mqtt/auth/vernemq", h.verneMQ)
	mux.HandleFunc("POST /internal/mqtt/auth/nanomq", h.nanoMQ)
	mux.HandleFunc("POST /internal/mqtt/auth/nanomq/acl", h.nanoACL)
	mux.HandleFunc("POST /internal/mqtt/auth/rabbitmq/{what}", h.rabbitMQ)
	return mux
}

type handler struct {
	devices Devices
	clock   hearth.Clock
}

// device returns the device that logs in: the token is the password, or the user name where there is no password.
func (h handler) device(r *http.Request, username, password string) (id string, err error) {
	token := password
	token = cmp.Or(token, username)
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	caller, err := h.devices.Authenticate(ctx, token)
	return caller.DeviceID, err
}

// within reports whether a topic or a filter is one of a device's.
func within(device, topic string) bool {
	rest, ok := strings.CutPrefix(topic, "d/"+device+"/")
	return ok && device != "" && rest != ""
}

// unshared returns the filter of a shared subscription.
func unshared(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	return filter
}

// decode reads a question in JSON and reports whether it could.
func decode(w http.ResponseWriter, r *http.Request, to any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil || json.Unmarshal(body, to) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	return true
}

// form reads a question in a form, or in JSON, and reports whether it could.
func form(w http.ResponseWriter, r *http.Request) (url.Values, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var q struct { // NanoMQ's
			Username string `json:"username"`
			Password string `json:"password"`
			ClientID string `json:"clientid"`
			Topic    string `json:"topic"`
		}
		if err = json.Unmarshal(body, &q); err == nil {
			return url.Values{"username": {q.Username}, "password": {q.Password}, "clientid": {q.ClientID}, "topic": {q.Topic}}, true
		}
	}
	if bytes.Count(body, []byte("&")) >= maxFields {
		w.WriteHeader(http.StatusBadRequest)
		return nil, false
	}
	values, parsed := url.ParseQuery(string(body))
	if err != nil || parsed != nil {
		w.WriteHeader(http.StatusBadRequest)
		return nil, false
	}
	return values, true
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(value) //nolint:errchkjson // it is of texts; a broker that is gone asks again
}

// rule is an entry of EMQX's access list.
type rule struct {
	Permission string `json:"permission"`
	Action     string `json:"action"`
	Topic      string `json:"topic"`
}

// emqx answers EMQX 5. A failure is an answer too: EMQX would let the next authenticator decide.
func (h handler) emqx(w http.ResponseWriter, r *http.Request) {
	var q struct{ Username, Password string }
	if !decode(w, r, &q) {
		return
	}
	device, err := h.device(r, q.Username, q.Password)
	if err != nil {
		answer(w, map[string]any{"result": "deny"})
		return
	}
	answer(w, map[string]any{
		"result": "allow", "is_superuser": false, "expire_at": h.clock.Now().Add(sessionLife).Unix(),
		"acl": []rule{{"allow", "all", "d/" + device + "/#"}, {"deny", "all", "#"}},
	})
}

// verneMQ answers the hooks of VerneMQ's webhooks. It names a client by its identifier, which must be the device's.
func (h handler) verneMQ(w http.ResponseWriter, r *http.Request) {
	var q struct {
		ClientID string `json:"client_id"`
		Username string
		Password string
		Topic    string
		Topics   json.RawMessage
	}
	if !decode(w, r, &q) {
		return
	}
	ok := false
	switch strings.TrimSuffix(r.Header.Get("Vernemq-Hook"), "_m5") {
	case "auth_on_register":
		device, err := h.device(r, q.Username, q.Password)
		ok = err == nil && device == q.ClientID
	case "auth_on_publish":
		ok = within(q.ClientID, q.Topic)
	case "auth_on_subscribe":
		var topics []struct {
			Topic string `json:"topic"`
		}
		ok = json.Unmarshal(q.Topics, &topics) == nil && len(topics) > 0 && len(topics) <= maxFields
		for _, t := range topics {
			ok = ok && within(q.ClientID, unshared(t.Topic))
		}
	}
	if !ok {
		answer(w, map[string]any{"result": map[string]string{"error": "not_allowed"}})
		return
	}
	answer(w, map[string]any{"result": "ok"})
}

// nanoMQ answers a login by its status. The client identifier must be the device's.
func (h handler) nanoMQ(w http.ResponseWriter, r *http.Request) {
	values, ok := form(w, r)
	if !ok {
		return
	}
	device, err := h.device(r, values.Get("username"), values.Get("password"))
	switch {
	case err != nil && hearth.ErrorCode(err) != hearth.CodeUnauthenticated:
		w.WriteHeader(http.StatusServiceUnavailable)
	case err != nil || device != values.Get("clientid"):
		w.WriteHeader(http.StatusForbidden)
	}
}

// nanoACL answers by its status whether a client may use a topic.
func (handler) nanoACL(w http.ResponseWriter, r *http.Request) {
	values, ok := form(w, r)
	if ok && !within(values.Get("clientid"), unshared(values.Get("topic"))) {
		w.WriteHeader(http.StatusForbidden)
	}
}

// rabbitMQ answers the paths of RabbitMQ's HTTP backend. It names a client by its user name, which must be the device's id.
func (h handler) rabbitMQ(w http.ResponseWriter, r *http.Request) {
	values, ok := form(w, r)
	if !ok {
		return
	}
	username := values.Get("username")
	var allowed bool
	switch r.PathValue("what") {
	case "user":
		device, err := h.device(r, username, values.Get("password"))
		allowed = err == nil && device == username
	case "vhost":
		allowed = true
	case "resource": // the exchange of MQTT's topics, and the device's own queue, which its client identifier names
		name := values.Get("name")
		allowed = values.Get("resource") == "exchange" && name == "amq.topic" && values.Get("permission") != "configure" ||
			values.Get("resource") == "queue" && username != "" && strings.HasPrefix(name, "mqtt-subscription-"+username+"qos")
	case "topic": // a routing key has dots where the topic has slashes
		allowed = within(username, strings.ReplaceAll(values.Get("routing_key"), ".", "/"))
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if allowed {
		_, _ = io.WriteString(w, "allow")
	} else {
		_, _ = io.WriteString(w, "deny")
	}
}
