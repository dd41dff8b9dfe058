package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

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

// start runs a program until the test ends, and returns its URL. What prepare does is done before.
func start(t *testing.T, cfg *config.Config, prepare ...func(*App) error) string {
	t.Helper()
	a, err := New(t.Context(), Options{Config: cfg, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range prepare {
		if err := f(a); err != nil {
			t.Fatal(errors.Join(err, a.Close(t.Context())))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ready := make(chan string, 1)
	go func() { ended <- a.Run(ctx, func(url string) { ready <- url }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the program stopped with %v", err)
		}
	})
	select {
	case url := <-ready:
		return url
	case err := <-ended:
		ended <- err
		t.Fatalf("the program ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the program did not start")
	}
	return ""
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
	second, err := New(t.Context(), Options{Config: cfg, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "another hearth") {
		t.Errorf("got %v", err)
	}
}
