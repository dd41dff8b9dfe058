package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/bus/membus"
	"hearth/internal/core/commands"
	"hearth/internal/core/devices"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// newCommandsAPI returns an API with devices of ann; the token of device 7 is hd_7.
func newCommandsAPI(tb testing.TB, count int) (*API, *commands.Service, func(n int) string) {
	tb.Helper()
	store, err := sqlite.Open(tb.Context(), sqlite.Options{Path: sqlitetest.File(tb, tb.TempDir())})
	if err != nil {
		tb.Fatal(err)
	}
	id := func(n int) string { return fmt.Sprintf("0199a1b2-c3d4-7000-8000-%012d", n) }
	of, batch := resttest.Tokens{}, make([]hearth.Device, count)
	for n := range batch {
		batch[n] = hearth.Device{ID: id(n), OwnerID: "ann", Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 60}
		of[fmt.Sprint("hd_", n)] = hearth.Caller{DeviceID: id(n)}
	}
	if _, err := store.CreateDevices(tb.Context(), batch, hearth.SideEffects{}); err != nil {
		tb.Fatal(err)
	}
	fleet, err := devices.New(devices.Options{Store: store})
	if err != nil {
		tb.Fatal(err)
	}
	end := (&membus.Network{}).Join()
	s, err := commands.New(commands.Options{Store: store, Devices: store, Directory: fleet, Bus: end})
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	tb.Cleanup(func() {
		s.Stop()
		end.Close()
		fleet.Stop()
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	a, err := New(Options{Serving: rest.Options{Users: resttest.Tokens{"ann": {UserID: "ann"}}, Devices: of}, Fleet: fleet, Commands: s})
	if err != nil {
		tb.Fatal(err)
	}
	return a, s, id
}

// discarded is a connection that keeps nothing, as one of net/http costs nothing here.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) WriteHeader(status int)      { d.status = status }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }

// TestAWaitingRequestCostsLittle: what a waiting request of a device holds, its stack included, beyond the connection of net/http.
// It is not parallel: others' memory would be counted.
func TestAWaitingRequestCostsLittle(t *testing.T) { //nolint:paralleltest // see above
	const count = 4000
	a, s, id := newCommandsAPI(t, count)
	measure := func() (heap, stack uint64) {
		stack = math.MaxUint64
		for steady := 0; steady < 4; steady++ { // each collection halves the stacks that a request has grown and needs no more
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.StackInuse < stack {
				steady = 0
			}
			heap, stack = m.HeapAlloc, min(stack, m.StackInuse)
		}
		return heap, stack
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	requests := make([]*http.Request, count)
	for n := range requests {
		requests[n] = httptest.NewRequestWithContext(ctx, http.MethodGet, rest.BasePath+"/devices/"+id(n)+"/commands/next?wait=30s", nil)
		requests[n].Header.Set("Authorization", fmt.Sprint("Bearer hd_", n))
	}
	heapBefore, stackBefore := measure()
	var wg sync.WaitGroup
	for n := range requests {
		wg.Go(func() { a.ServeHTTP(&discarded{header: http.Header{}}, requests[n]) })
		// A few begin at once: what more of them would grow for a moment leaves holes between the stacks that stay, on a busy machine most.
		for deadline := time.Now().Add(60 * time.Second); s.Waiting()+8 <= n || n == count-1 && s.Waiting() < count; time.Sleep(100 * time.Microsecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d wait", s.Waiting(), n+1)
			}
		}
	}
	heap, stack := measure()
	heap, stack = (heap-heapBefore)/count, (stack-stackBefore)/count
	t.Logf("a waiting request costs %d bytes, and a stack of %d", heap, stack)
	if heap+stack > mostWaiting {
		t.Errorf("a waiting request costs %d bytes and a stack of %d, want at most %d", heap, stack, mostWaiting)
	}
	leave()
	wg.Wait()
	if s.Waiting() != 0 {
		t.Errorf("%d wait", s.Waiting())
	}
}

// FuzzCommandBodies: no body of a command or of its answer is a fault of the server, and params come to the device by value.
func FuzzCommandBodies(f *testing.F) {
	for _, body := range []string{
		`{"name":"x"}`, `{"name":"x","params":{"a":[1.50,"\u00fc",null,1e3]},"expires_in":1}`, `{"name":"x","params":null,"expires_in":null}`,
		`{"name":"x","params":"\ud83d\ude00"}`, `{"ok":true,"result":[{}]}`, `{"ok":false,"error":"x"}`, `{"device_ids":[],"name":"x"}`,
		`{"name":"x","filter":{"type":"t","tag":null}}`, `{"name":"x","params":12345678901234567890.10}`, `[]`, ``, `{"name":"x","params":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
	} {
		f.Add([]byte(body))
	}
	a, _, id := newCommandsAPI(f, 1)
	call := func(method, path, token string, body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, rest.BasePath+path, bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if w := call("POST", "/commands", "ann", body); w.Code >= 500 {
			t.Errorf("many: %d %s", w.Code, w.Body)
		}
		w := call("POST", "/devices/"+id(0)+"/commands", "ann", body)
		if w.Code >= 500 {
			t.Fatalf("one: %d %s", w.Code, w.Body)
		}
		if w.Code != http.StatusAccepted {
			return
		}
		var given struct{ Params any }
		var made, got struct {
			ID     string
			Params any
		}
		w2 := call("GET", "/devices/"+id(0)+"/commands/next", "hd_0", nil)
		for _, one := range []struct {
			data []byte
			into any
		}{{body, &given}, {w.Body.Bytes(), &made}, {w2.Body.Bytes(), &got}} {
			if err := json.Unmarshal(one.data, one.into); err != nil {
				t.Fatalf("%v: %s", err, one.data)
			}
		}
		if got.ID != made.ID || fmt.Sprint(got.Params) != fmt.Sprint(given.Params) {
			t.Errorf("%v became %v of %s, not of %s", given.Params, got.Params, got.ID, made.ID)
		}
		path := "/devices/" + id(0) + "/commands/" + got.ID + "/result"
		if w := call("POST", path, "hd_0", body); w.Code >= 500 {
			t.Errorf("answer: %d %s", w.Code, w.Body)
		}
		if w := call("POST", path, "hd_0", []byte(`{"ok":true}`)); w.Code != http.StatusNoContent {
			t.Errorf("answer: %d %s", w.Code, w.Body)
		}
	})
}
