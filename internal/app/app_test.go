package app

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"hearth/internal/config"
)

func testConfig(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{Flags: map[string]string{
		"addr": "127.0.0.1:0", "admin_addr": "127.0.0.1:0", "data_dir": t.TempDir(), "bcrypt_cost": "4",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs a program until the test ends, and returns its URL.
func start(t *testing.T, cfg *config.Config) (url string) {
	t.Helper()
	serveUntil(t, func(ctx context.Context, ready func()) error {
		return Run(ctx, Settings{Config: cfg, Version: "test"}, func(s Serving) { url = s.URL; ready() })
	})
	return url
}

func TestTheProgramStartsAnswersAndStops(t *testing.T) {
	t.Parallel()
	url := start(t, testConfig(t))
	resp, err := http.Get(url + "/health/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
}

func TestASecondServerOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	start(t, cfg)
	if err := Run(t.Context(), Settings{Config: cfg}, nil); err == nil || !strings.Contains(err.Error(), "another hearth") {
		t.Errorf("got %v", err)
	}
}
