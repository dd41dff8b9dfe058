package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"hearth/internal/apitest"
	"hearth/internal/app"
)

func TestTheProgramStartsAnswersAndStops(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Config(t))
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
	cfg := apitest.Config(t)
	apitest.Start(t, cfg)
	if err := app.Run(t.Context(), app.Settings{Config: cfg}, nil); err == nil || !strings.Contains(err.Error(), "another hearth") {
		t.Errorf("got %v", err)
	}
}
