package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/internal/cli"
	"hearth/internal/testserver"
)

// demo runs hearth demo on a data directory, hands its words to use, and stops it.
func demo(t *testing.T, dir string, use func(said string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		environ := []string{"HEARTH_ADDR=127.0.0.1:0", "HEARTH_ADMIN_ADDR=off", "HEARTH_DATA_DIR=" + dir, "HEARTH_BCRYPT_COST=4", "HEARTH_RATE_LIMITS=off",
			"HEARTH_MQTT_ADDR=" + testserver.FreeAddr(t)}
		done <- cli.Run(ctx, &cli.Process{Args: []string{"demo"}, Environ: environ, Stdin: strings.NewReader(""), Stdout: writer, Stderr: io.Discard})
		_ = writer.Close()
	}()
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "Data:"); {
		said.WriteString(lines.Text() + "\n")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	use(said.String())
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("the demo ended with %d", code)
	}
}

func word(t *testing.T, said, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("%s is nowhere in\n%s", pattern, said)
	}
	return found[1]
}

func TestTheDemoServesAnAccountWithLiveDevices(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var password, logs string
	demo(t, dir, func(said string) {
		url := word(t, said, `^URL: +(http://\S+)$`)
		email := word(t, said, `^e-mail: +(\S+)$`)
		password = word(t, said, `^password: +(\S+)$`)
		logs = word(t, said, `with (\d+) readings of 20 devices`)
		if strings.Count(said, "curl -s") != 5 || !strings.Contains(said, "mosquitto_pub -h 127.0.0.1 -p ") {
			t.Errorf("it does not say what to try:\n%s", said)
		}
		token := signIn(t, url, email, password)
		var dashboard struct {
			Summary struct {
				TotalDevices int64 `json:"total_devices"`
				Online       int64 `json:"online_devices"`
				TotalLogs    int64 `json:"total_logs"`
				Logs         int64 `json:"logs"`
			} `json:"summary"`
		}
		// The devices go on, those of the data and those that are simulated: soon all are online, and there are more logs than the data has.
		poll := time.NewTicker(50 * time.Millisecond)
		defer poll.Stop()
		for deadline := time.Now().Add(time.Minute); ; <-poll.C {
			get(t, url+"/api/v1/analytics/dashboard?range=24h", token, &dashboard)
			s := dashboard.Summary
			if s.TotalDevices == 30 && s.Online == 30 && fmt.Sprint(s.TotalLogs) > logs && s.Logs > 3000 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the demo is not alive: %+v, imported %s", s, logs)
			}
		}
	})
	demo(t, dir, func(said string) {
		if again := word(t, said, `^password: +(\S+)$`); again != password {
			t.Errorf("the second start says %s, the first said %s", again, password)
		}
		if again := word(t, said, `with (\d+) readings of 20 devices`); again != logs {
			t.Errorf("the second start has %s readings, the first had %s", again, logs)
		}
	})
}

func signIn(t *testing.T, url, email, password string) (token string) {
	t.Helper()
	body := fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
	response, err := http.Post(url+"/api/v1/auth/login", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var grant struct {
		AccessToken string `json:"access_token"`
	}
	decode(t, response, &grant)
	return grant.AccessToken
}

func get(t *testing.T, url, token string, into any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, response, into)
}

func decode(t *testing.T, response *http.Response, into any) {
	t.Helper()
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("%s: %s", response.Status, text)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
