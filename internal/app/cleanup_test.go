package app_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/apitest"
	"hearth/internal/app"
)

func TestAClockThatIsFarAheadRemovesNothingOld(t *testing.T) {
	t.Parallel()
	cfg := apitest.Config(t)
	cfg.Retention = 30 * 24 * time.Hour
	var ahead atomic.Int64
	h := newServer(t, cfg, func(s *app.Settings) {
		s.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	clean := func() {
		t.Helper()
		if err := h.app.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	token := h.logIn(apitest.Password)
	var device map[string]any
	h.call(http.MethodPost, "/devices", token, `{"name":"meter","type":"t"}`, &device)
	logs := "/devices/" + apitest.Text(device, "id") + "/logs"
	if status := h.call(http.MethodPost, logs, token, `{"event":"watts","value":7}`, nil); status != http.StatusCreated {
		t.Fatalf("a log is %d", status)
	}
	stored := func() int {
		t.Helper()
		var list struct{ Items []any }
		if status := h.call(http.MethodGet, logs, h.logIn(apitest.Password), "", &list); status != http.StatusOK {
			t.Fatalf("the logs are %d", status)
		}
		return len(list.Items)
	}
	clean()
	const year = 365 * 24 * time.Hour
	ahead.Store(int64(year))
	clean()
	ahead.Store(0)
	clean()
	if n := stored(); n != 1 {
		t.Errorf("%d logs are left by a clock that was a year ahead, want 1", n)
	}
	if status := h.call(http.MethodGet, "/users/me", token, "", nil); status != http.StatusOK {
		t.Errorf("the session from before is %d", status)
	}
	// One that stays there is believed a day later.
	ahead.Store(int64(year))
	clean()
	if n := stored(); n != 1 {
		t.Errorf("%d logs are left before the clock is confirmed, want 1", n)
	}
	ahead.Store(int64(year + 24*time.Hour))
	clean()
	if n := stored(); n != 0 {
		t.Errorf("%d logs are left a year later, want none", n)
	}
}
