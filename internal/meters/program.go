package meters

import (
	"github.com/prometheus/client_golang/prometheus"

	"hearth"
)

// Program is what this process has done since it started, and is doing.
type Program struct {
	LogsStored, Heartbeats, ConnectionsRefused, Provisioned, Claimed, CommandsCreated, Judged, Raised, Cleared func() uint64

	CommandsEnded   func(hearth.CommandState) uint64
	WebhookAttempts func(hearth.DeliveryState) uint64
	CommandsWaiting func() int
	// DatabaseBytes returns the size of the database on the disk; nil where it is elsewhere.
	DatabaseBytes func() int64
}

// Register adds the counters of the process.
func (p Program) Register(registry prometheus.Registerer) {
	counter := func(name, help string, value func() uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	counter("hearth_logs_stored_total", "Logs that this process stored.", p.LogsStored)
	counter("hearth_heartbeats_total", "Heartbeats that this process received.", p.Heartbeats)
	counter("hearth_connections_refused_total", "Connections, and requests by a proxy, that this process refused because their address had too many.", p.ConnectionsRefused)
	counter("hearth_devices_provisioned_total", "Devices that made themselves in this process by a provisioning key.", p.Provisioned)
	counter("hearth_devices_claimed_total", "Devices that changed hands in this process by a claim code.", p.Claimed)
	counter("hearth_commands_created_total", "Commands that this process stored.", p.CommandsCreated)
	counter("hearth_readings_judged_total", "Batches of readings that this process judged by rules.", p.Judged)
	counter("hearth_alarms_raised_total", "Alarms that this process raised.", p.Raised)
	counter("hearth_alarms_cleared_total", "Alarms that this process cleared.", p.Cleared)
	for _, state := range hearth.CommandStates() {
		if state.Ended() {
			registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "hearth_commands_ended_total", Help: "Commands that this process ended, by state.", ConstLabels: prometheus.Labels{"state": string(state)},
			}, func() float64 { return float64(p.CommandsEnded(state)) }))
		}
	}
	for _, state := range []hearth.DeliveryState{hearth.DeliveryPending, hearth.DeliverySucceeded, hearth.DeliveryFailed} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hearth_webhook_attempts_total", ConstLabels: prometheus.Labels{"state": string(state)},
			Help: "Requests to webhooks that this process made, by what they left their delivery in: pending is attempted again.",
		}, func() float64 { return float64(p.WebhookAttempts(state)) }))
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hearth_commands_waiting", Help: "Requests that wait for a command or for its end in this process.",
	}, func() float64 { return float64(p.CommandsWaiting()) }))
	if p.DatabaseBytes != nil {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_database_bytes", Help: "Size of the database on the disk, its write-ahead log included.",
		}, func() float64 { return float64(p.DatabaseBytes()) }))
	}
}
