package bus_test

import (
	"slices"
	"testing"

	"hearth/internal/bus"
)

func TestAProcessThatIsAloneAsksNobody(t *testing.T) {
	t.Parallel()
	alone := bus.NewQuestion(nil, "who", func(argument int) int { return argument + 1 })
	if got := alone.Ask(t.Context(), 1); !slices.Equal(got, []int{2}) {
		t.Errorf("got %v", got)
	}
	if _, err := bus.NewAsker(bus.AskerOptions{}); err == nil {
		t.Error("an asker without a bus was made")
	}
}
