package membus_test

import (
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/bus"
	"hearth/internal/bus/bustest"
	"hearth/internal/bus/membus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(testing.TB) bustest.Service {
		network := &membus.Network{}
		return bustest.Service{
			Join: func(t testing.TB) bus.Bus {
				end := network.Join()
				t.Cleanup(end.Close)
				return end
			},
			Cut: network.Cut, Mend: network.Mend,
		}
	})
}
