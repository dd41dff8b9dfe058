package app_test

import (
	"net/http"
	"slices"
	"testing"

	"hearth/internal/apitest"
)

// A HEAD of a stream would never end, and behind nginx take the connection of somebody's next request with it; one of a device's next
// command would have it sent to no one.
func TestHEADIsRefusedWhereGETStreamsOrClaims(t *testing.T) {
	t.Parallel()
	w := newFixture(t, apitest.Embedded)
	refused := []string{"stream-events", "connect-websocket", "connect-mqtt", "next-command"}
	tried := 0
	for _, op := range w.operations() {
		if op.method != http.MethodGet {
			continue
		}
		caller := "owner"
		if op.OperationID == "next-command" {
			caller = "device"
			w.must(t, "owner", "POST", "/api/v1/devices/"+w.device+"/commands", `{"name":"x"}`)
		}
		request := w.request(t, op, caller)
		op.method = http.MethodHead
		tried++
		if got := w.send(t, op, caller, request); (got.status == http.StatusMethodNotAllowed) != slices.Contains(refused, op.OperationID) || got.status >= 500 {
			t.Errorf("HEAD of %s: %d", op.OperationID, got.status)
		}
	}
	if tried < 30 {
		t.Errorf("only %d operations were tried", tried)
	}
	if list := w.get(t, "owner", "/api/v1/devices/"+w.device+"/commands?state=queued"); len(list["items"].([]any)) == 0 {
		t.Error("the command is not queued any more")
	}
}
