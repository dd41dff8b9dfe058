package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// client calls a program as one person.
type client struct {
	url   string
	token string
}

func (c *client) call(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.url+"/api/v1"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		t.Fatalf("%s %s answers %d", method, path, answer.StatusCode)
	}
	var result map[string]any
	if answer.StatusCode != http.StatusNoContent {
		if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// stream opens a stream with a ticket, and returns its lines until it ends.
func (c *client) stream(t *testing.T, query string) <-chan string {
	t.Helper()
	ticket, _ := c.call(t, "POST", "/realtime/ticket", nil)["ticket"].(string)
	answer, err := http.Get(c.url + "/api/v1/realtime/sse?ticket=" + ticket + query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the stream answers %d", answer.StatusCode)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return lines
}

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
	c := &client{url: start(t, testConfig(t))}
	c.call(t, "POST", "/auth/signup", map[string]any{"name": "Ann", "email": "ann@example.com", "password": "a long sentence, really"})
	login := func() string {
		token, _ := c.call(t, "POST", "/auth/login", map[string]any{
			"email": "ann@example.com", "password": "a long sentence, really",
		})["access_token"].(string)
		return token
	}
	c.token = login()
	id, _ := c.call(t, "POST", "/devices", map[string]any{"name": "Lamp", "type": "light"})["id"].(string)
	lines := c.stream(t, "&channels=device:"+id)

	c.call(t, "POST", "/devices/"+id+"/heartbeat", map[string]any{"status": "error"})
	c.call(t, "POST", "/devices/"+id+"/logs", map[string]any{"event": "power", "value": 3.5})
	c.call(t, "PATCH", "/devices/"+id, map[string]any{"name": "Big lamp"})
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
	c.call(t, "POST", "/auth/logout", nil)
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
		c := &client{url: start(t, testConfig(t))}
		c.call(t, "POST", "/auth/signup", map[string]any{"name": "Ann", "email": "ann@example.com", "password": "a long sentence, really"})
		c.token, _ = c.call(t, "POST", "/auth/login", map[string]any{
			"email": "ann@example.com", "password": "a long sentence, really",
		})["access_token"].(string)
		ticket, _ := c.call(t, "POST", "/realtime/ticket", nil)["ticket"].(string)
		request, err := http.NewRequest(http.MethodGet, c.url+"/api/v1/realtime/sse?ticket="+ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		all := make(chan string, 100)
		go func() {
			defer close(all)
			defer answer.Body.Close()
			for scanner := bufio.NewScanner(answer.Body); scanner.Scan(); {
				all <- scanner.Text()
			}
		}()
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
