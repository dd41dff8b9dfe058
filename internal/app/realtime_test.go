package app_test

import (
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
)

// until returns the first line with the prefix; "" if the stream ends before.
func until(t *testing.T, lines <-chan string, prefix string) string {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return ""
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-timeout:
			t.Fatalf("no line %q came", prefix)
		}
	}
}

func TestADeviceIsSeenToMove(t *testing.T) {
	t.Parallel()
	c := apitest.SignUp(t, apitest.Start(t, apitest.Config(t)), annsMail)
	id, _ := c.Call(t, "POST", "/devices", map[string]any{"name": "Lamp", "type": "light"})["id"].(string)
	lines := c.Stream(t, "&channels=device:"+id)

	c.Call(t, "POST", "/devices/"+id+"/heartbeat", map[string]any{"status": "error"})
	c.Call(t, "POST", "/devices/"+id+"/logs", map[string]any{"event": "power", "value": 3.5})
	c.Call(t, "PATCH", "/devices/"+id, map[string]any{"name": "Big lamp"})
	for _, want := range []struct{ kind, contains string }{
		{"device-heartbeat", `"data":{"device_id":"` + id + `","status":"error","connection":"online","last_active_at":`},
		{"device-log", `"event":"power","value":3.5`},
		{"device-update", `"name":"Big lamp"`},
	} {
		for {
			if event := until(t, lines, "event: "); event == "event: "+want.kind {
				break
			} else if event == "" {
				t.Fatalf("the stream ended before %s", want.kind)
			}
		}
		if data := until(t, lines, "data: "); !strings.Contains(data, want.contains) {
			t.Errorf("%s is %s, want it to contain %s", want.kind, data, want.contains)
		}
	}

	begun := time.Now()
	c.Call(t, "POST", "/auth/logout", nil)
	until(t, lines, "the end")
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stream of a person who logged out ended after %v", took)
	}
}

func TestAProgramThatStopsTellsItsStreams(t *testing.T) { //nolint:tparallel // the program stops when the inner test ends
	t.Parallel()
	var lines <-chan string
	var stopping time.Time
	t.Run("serving", func(t *testing.T) {
		all := apitest.SignUp(t, apitest.Start(t, apitest.Config(t)), annsMail).Stream(t, "")
		until(t, all, "id: ")
		lines, stopping = all, time.Now()
	})
	if hint := until(t, lines, "retry: "); hint == "" {
		t.Error("the stream ended without saying when to come back")
	}
	if took := time.Since(stopping); took > 5*time.Second {
		t.Errorf("stopping took %v with one stream open", took)
	}
}
