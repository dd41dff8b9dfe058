package webhooks

import "testing"

func TestPausesGrowAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	for i, want := range retries {
		for range 20 {
			if got := pauseAfter(i + 1); got < want || got > want+want/10 {
				t.Errorf("after %d attempts: %s", i+1, got)
			}
		}
	}
}
