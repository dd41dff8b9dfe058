package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"hearth/internal/apitest"
	"hearth/internal/app"
	"hearth/internal/config"
)

// hooked is what a receiver was sent.
type hooked struct {
	id, event string
	data      map[string]any
	at        time.Time
	header    http.Header
	body      []byte
}

// receiver is a receiver of webhooks. answer may be nil: then it accepts everything.
type receiver struct {
	url    string
	answer func(w http.ResponseWriter, r *http.Request, got hooked)

	mu  sync.Mutex
	all []hooked
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, got hooked)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		got := hooked{id: request.Header.Get("Webhook-Id"), at: time.Now(), header: request.Header}
		var err error
		if got.body, err = io.ReadAll(request.Body); err != nil {
			return // it went away
		}
		var body struct {
			Type string
			Data map[string]any
		}
		if err := json.Unmarshal(got.body, &body); err != nil {
			t.Errorf("the body is %s: %v", got.body, err)
		}
		got.event, got.data = body.Type, body.Data
		r.mu.Lock()
		r.all = append(r.all, got)
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(w, request, got)
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *receiver) got() []hooked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// await waits until so many requests came.
func (r *receiver) await(t *testing.T, n int) []hooked {
	t.Helper()
	hold(t, fmt.Sprintf("%d requests", n), func() bool { return len(r.got()) >= n })
	return r.got()
}

// hold waits until a condition holds.
func hold(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-tick.C {
		if is() {
			return
		}
	}
	t.Fatalf("%s did not come about", what)
}

// hookWorld is one program or several whose webhooks may reach this machine, and a user.
type hookWorld struct {
	*instances
	user string
	// ahead is how far the programs' clocks are ahead.
	ahead atomic.Int64
}

func newHookWorld(t *testing.T, m apitest.Mode) *hookWorld {
	t.Helper()
	w := &hookWorld{instances: &instances{}}
	for range m.Instances {
		cfg := m.Config(t)
		cfg.RateLimits, cfg.WebhookAllow = nil, config.Allow{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
		w.urls = append(w.urls, apitest.Start(t, cfg, func(s *app.Settings) {
			s.Clock = func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
		}))
	}
	w.signUp(t, "ann@example.com")
	w.login(t)
	return w
}

func (w *hookWorld) login(t *testing.T) {
	t.Helper()
	w.user = w.instances.login(t, "ann@example.com").text("access_token")
}

// advance moves the programs' clocks, beyond the life of the access token too.
func (w *hookWorld) advance(t *testing.T, by time.Duration) {
	t.Helper()
	w.ahead.Add(int64(by))
	w.login(t)
}

func (w *hookWorld) hook(t *testing.T, url string, events ...string) (id, secret string) {
	t.Helper()
	made := w.want(t, w.call(t, 0, "POST", "/webhooks", w.user, apitest.Object{"name": "test", "url": url, "events": append([]string{}, events...)}), 201, "")
	return made.text("id"), made.text("secret")
}

func (w *hookWorld) device(t *testing.T, instance int, name string) string {
	t.Helper()
	return w.want(t, w.call(t, instance, "POST", "/devices", w.user, apitest.Object{"name": name, "type": "lamp"}), 201, "").text("id")
}

// delivery is a delivery as the API lists it.
type delivery struct {
	ID, Event, State string
	Attempts         []struct {
		Status int
		Error  string
	}
	NextAttemptAt time.Time `json:"next_attempt_at"`
	CreatedAt     time.Time `json:"created_at"`
}

func (w *hookWorld) deliveries(t *testing.T, hook, query string) (all []delivery) {
	t.Helper()
	var list struct{ Items []delivery }
	r := w.want(t, w.call(t, 0, "GET", "/webhooks/"+hook+"/deliveries?limit=200"+query, w.user, nil), 200, "")
	if err := json.Unmarshal([]byte(r.raw), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestWebhooksAreSentWhatHappens(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		r := newReceiver(t, nil)
		w := newHookWorld(t, m)
		hook, secret := w.hook(t, r.url, "device.created", "device.deleted", "device.online", "command.ended", "export.completed")
		w.hook(t, r.url+"/other", "alarm.raised")
		device := w.device(t, 0, "lamp <ü>")
		token := w.want(t, w.call(t, 1, "POST", "/devices/"+device+"/tokens", w.user, nil), 201, "").text("token")
		r.await(t, 1)
		w.want(t, w.call(t, 1, "POST", "/devices/"+device+"/heartbeat", token, nil), 200, "")
		r.await(t, 2)
		command := w.want(t, w.call(t, 0, "POST", "/devices/"+device+"/commands", w.user, apitest.Object{"name": "on"}), 202, "").text("id")
		w.want(t, w.call(t, 1, "POST", "/devices/"+device+"/commands/"+command+"/ack", token, nil), 204, "")
		w.want(t, w.call(t, 1, "POST", "/devices/"+device+"/commands/"+command+"/result", token, apitest.Object{"ok": true, "result": 7}), 204, "")
		expired := w.want(t, w.call(t, 0, "POST", "/devices/"+device+"/commands", w.user, apitest.Object{"name": "off", "expires_in": 1}), 202, "").text("id")
		r.await(t, 4)
		w.want(t, w.call(t, 1, "DELETE", "/devices/"+device, w.user, nil), 204, "")
		r.await(t, 5)
		export := w.want(t, w.call(t, 0, "POST", "/exports", w.user, apitest.Object{"type": "logs", "format": "csv"}), 202, "").text("id")
		got := r.await(t, 6)
		want := []struct{ event, field, value string }{
			{"device.created", "id", device}, {"device.online", "connection", "online"}, {"command.ended", "id", command},
			{"command.ended", "id", expired}, {"device.deleted", "name", "lamp <ü>"}, {"export.completed", "id", export},
		}
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for i, want := range want {
			if got[i].event != want.event || apitest.Text(got[i].data, want.field) != want.value {
				t.Errorf("request %d is %s %v, want %v", i, got[i].event, got[i].data, want)
			}
			if err := verifier.Verify(got[i].body, got[i].header); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			ids[got[i].id] = true
		}
		hold(t, "the log of deliveries", func() bool { return len(w.deliveries(t, hook, "&state=succeeded")) == len(want) })
		for _, d := range w.deliveries(t, hook, "") {
			if !ids[d.ID] || len(d.Attempts) != 1 || d.Attempts[0].Status != 200 {
				t.Errorf("a delivery is %+v", d)
			}
		}
		if all := r.got(); len(all) != len(want) || len(ids) != len(want) {
			t.Errorf("%d requests came, of %d deliveries", len(all), len(ids))
		}
	})
}

// The first delivery of a device fails: those behind it wait until it has failed three times, those of another device do not.
func TestDeliveriesOfADeviceGoOutInOrder(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		var broken atomic.Bool
		broken.Store(true)
		r := newReceiver(t, func(rw http.ResponseWriter, _ *http.Request, got hooked) {
			if broken.Load() && got.event == "device.created" && apitest.Text(got.data, "name") == "bad" {
				rw.Header().Set("Retry-After", "60")
				rw.WriteHeader(http.StatusServiceUnavailable)
				_, _ = rw.Write([]byte("not\nnow"))
			}
		})
		w := newHookWorld(t, m)
		hook, _ := w.hook(t, r.url, "device.created", "device.deleted")
		bad := w.device(t, 0, "bad")
		r.await(t, 1)
		w.want(t, w.call(t, 1, "DELETE", "/devices/"+bad, w.user, nil), 204, "")
		good := w.device(t, 1, "good")
		w.want(t, w.call(t, 0, "DELETE", "/devices/"+good, w.user, nil), 204, "")
		r.await(t, 3)
		hold(t, "the end of those of the other", func() bool { return len(w.deliveries(t, hook, "&state=succeeded")) == 2 })
		pending := w.deliveries(t, hook, "&state=pending")
		if len(pending) != 2 || len(pending[0].Attempts) != 0 || len(pending[1].Attempts) != 1 || pending[1].Attempts[0].Status != 503 ||
			pending[1].Attempts[0].Error != "the receiver answered 503" || pending[1].NextAttemptAt.Sub(pending[1].CreatedAt) < time.Minute {
			t.Errorf("pending are %+v", pending)
		}
		w.advance(t, 2*time.Minute) // beyond Retry-After
		r.await(t, 4)
		hold(t, "the end of the attempt", func() bool { return len(w.deliveries(t, hook, "&state=pending")[1].Attempts) == 2 })
		w.advance(t, 10*time.Minute)
		got := r.await(t, 6) // the third attempt, and then the next of the device
		var events []string
		for _, g := range got[3:] {
			events = append(events, g.event+" "+apitest.Text(g.data, "id"))
		}
		if want := []string{"device.created " + bad, "device.created " + bad, "device.deleted " + bad}; !slices.Equal(events, want) {
			t.Errorf("the requests are %v", events)
		}
		for _, g := range []hooked{got[3], got[4]} {
			if g.id != got[0].id || g.header.Get("Webhook-Timestamp") == got[0].header.Get("Webhook-Timestamp") {
				t.Errorf("an attempt is %v, the first was %v", g.header, got[0].header)
			}
		}
		broken.Store(false)
		retried := w.want(t, w.call(t, 1, "POST", "/webhooks/"+hook+"/deliveries/"+got[0].id+"/retry", w.user, nil), 200, "")
		if retried.text("state") != "pending" {
			t.Errorf("retried: %s", retried.raw)
		}
		if again := r.await(t, 7)[6]; again.id != got[0].id {
			t.Errorf("by hand came %s %s", again.event, again.id)
		}
		hold(t, "the end of all deliveries", func() bool { return len(w.deliveries(t, hook, "&state=succeeded")) == 4 })
	})
}

func TestADeliveryIsRetriedWhereTheClockWasAhead(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		var broken atomic.Bool
		broken.Store(true)
		r := newReceiver(t, func(rw http.ResponseWriter, _ *http.Request, _ hooked) {
			if broken.Load() {
				rw.Header().Set("Retry-After", "600")
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		w := newHookWorld(t, m)
		w.advance(t, 2*time.Hour)
		hook, _ := w.hook(t, r.url, "device.created")
		w.device(t, 0, "a")
		r.await(t, 1)
		hold(t, "the end of the attempt", func() bool { return len(w.deliveries(t, hook, "")[0].Attempts) == 1 })
		broken.Store(false)
		w.advance(t, -2*time.Hour)
		r.await(t, 2)
		hold(t, "the end of the delivery", func() bool { return len(w.deliveries(t, hook, "&state=succeeded")) == 1 })
	})
}

// What goes wrong for ever ends: after ten attempts the delivery, after 410 and after a week the webhook.
func TestWhatFailsForEverEnds(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		r := newReceiver(t, func(rw http.ResponseWriter, request *http.Request, _ hooked) {
			status := http.StatusInternalServerError
			if request.URL.Path == "/gone" {
				status = http.StatusGone
			}
			rw.WriteHeader(status)
		})
		w := newHookWorld(t, m)
		hook, _ := w.hook(t, r.url, "device.created")
		w.device(t, 0, "a")
		pauses := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
		for i, pause := range pauses {
			r.await(t, i+1)
			hold(t, "the end of the attempt", func() bool { return len(w.deliveries(t, hook, "")[0].Attempts) == i+1 })
			w.advance(t, pause+pause/10+time.Second)
		}
		hold(t, "the end of the delivery", func() bool { return w.deliveries(t, hook, "")[0].State == "failed" })
		notices := func() int {
			list := w.want(t, w.call(t, 0, "GET", "/notifications", w.user, nil), 200, "")
			return strings.Count(list.raw, `"type":"webhook_disabled"`)
		}
		if n := len(w.deliveries(t, hook, "")[0].Attempts); n != 10 {
			t.Errorf("%d attempts are kept", n)
		}
		look := func() apitest.Object {
			return w.want(t, w.call(t, 1, "GET", "/webhooks/"+hook, w.user, nil), 200, "").body
		}
		if got := look(); got["enabled"] != true || got["failing_since"] == nil {
			t.Errorf("the webhook is %v", got)
		}
		w.advance(t, 4*24*time.Hour)
		w.device(t, 0, "b")
		hold(t, "the end of the webhook", func() bool { got := look(); return got["enabled"] == false && got["disabled_reason"] == "failing" })
		hold(t, "a notification", func() bool { return notices() == 1 })
		before := len(r.got())
		w.device(t, 0, "c") // not for it
		w.want(t, w.call(t, 0, "PATCH", "/webhooks/"+hook, w.user, apitest.Object{"enabled": true, "url": r.url + "/gone"}), 200, "")
		if got := look(); got["enabled"] != true || got["disabled_reason"] != nil || got["failing_since"] != nil {
			t.Errorf("enabled, the webhook is %v", got)
		}
		w.device(t, 0, "d")
		hold(t, "the end of the webhook", func() bool { return look()["disabled_reason"] == "gone" })
		if got := r.got()[before:]; len(got) != 1 || apitest.Text(got[0].data, "name") != "d" {
			t.Errorf("%d requests came, the first of %v", len(got), got[0].data)
		}
		w.want(t, w.call(t, 0, "POST", "/webhooks/"+hook+"/deliveries/"+r.got()[before].id+"/retry", w.user, nil), 409, "conflict")
	})
}

// A receiver that does not answer has thousands of deliveries waiting: another one's leave at once.
func TestASlowReceiverDelaysNoOther(t *testing.T) {
	t.Parallel()
	apitest.InBothModes(t, func(t *testing.T, m apitest.Mode) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		var underWay, most atomic.Int64
		slow := newReceiver(t, func(_ http.ResponseWriter, request *http.Request, _ hooked) {
			now := underWay.Add(1)
			defer underWay.Add(-1)
			for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
			}
			select {
			case <-release:
			case <-request.Context().Done():
			}
		})
		quick := newReceiver(t, nil)
		w := newHookWorld(t, m)
		hook, _ := w.hook(t, slow.url, "device.created")
		batches := 10
		if m.Instances > 1 {
			batches = 1
		}
		items := make([]apitest.Object, 1000)
		for i := range items {
			items[i] = apitest.Object{"name": "x", "type": "t"}
		}
		for range batches {
			w.want(t, w.call(t, 0, "POST", "/devices/batch", w.user, apitest.Object{"items": items}), 201, "")
		}
		hold(t, "a queue", func() bool {
			list := w.want(t, w.call(t, 0, "GET", "/webhooks/"+hook+"/deliveries?limit=1&count=true&state=pending", w.user, nil), 200, "")
			return list.body["total"] == float64(1000*batches)
		})
		if n := most.Load(); n == 0 || n > int64(8*m.Instances) {
			t.Errorf("%d requests were under way at once", n)
		}
		other, _ := w.hook(t, quick.url, "device.deleted")
		for i := range 20 {
			device := w.device(t, i, "y")
			begin := time.Now()
			w.want(t, w.call(t, i, "DELETE", "/devices/"+device, w.user, nil), 204, "")
			took := quick.await(t, i+1)[i].at.Sub(begin)
			if took > 5*time.Second {
				t.Errorf("delivery %d of the quick receiver took %s", i, took)
			}
			t.Logf("%s", took)
		}
		_ = other
	})
}

// Several instances share the deliveries: each comes once.
func TestInstancesShareDeliveriesWithoutDoubling(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	w := newHookWorld(t, apitest.Distributed(t))
	w.hook(t, r.url, "device.created")
	const n = 120
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for range n / 4 {
				w.call(t, part, "POST", "/devices", w.user, apitest.Object{"name": "x", "type": "t"})
			}
		})
	}
	wg.Wait()
	ids := map[string]int{}
	for _, got := range r.await(t, n) {
		ids[got.id]++
	}
	if len(ids) != n || len(r.got()) != n {
		t.Errorf("%d requests came for %d deliveries, want %d", len(r.got()), len(ids), n)
	}
}
