package mqtt

import (
	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/mqtt/packet"
)

// Why something was refused, as the metrics name it.
const (
	refusedBusy        = "busy"
	refusedProtocol    = "protocol"
	refusedToken       = "token"
	refusedTopic       = "topic"
	refusedPayload     = "payload"
	refusedLimit       = "limit"
	refusedUnavailable = "unavailable"
	refusedDefect      = "defect"
)

type metrics struct {
	accepted, messages, commands prometheus.Counter
	refusals                     *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer, connections, wills func() int) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		accepted: counter("hearth_mqtt_logins_total", "Connections of devices that logged in."),
		messages: counter("hearth_mqtt_messages_total", "Messages that devices published."),
		commands: counter("hearth_mqtt_commands_sent_total", "Commands that were sent to devices."),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_mqtt_refused_total", Help: "Connections, subscriptions and messages that were refused or slowed down, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{
		refusedBusy, refusedProtocol, refusedToken, refusedTopic, refusedPayload, refusedLimit, refusedUnavailable, refusedDefect,
	} {
		m.refusals.WithLabelValues(reason)
	}
	if registry != nil {
		registry.MustRegister(m.accepted, m.messages, m.commands, m.refusals, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_mqtt_connections", Help: "Devices that are connected to this process.",
		}, func() float64 { return float64(connections()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "hearth_mqtt_wills_waiting", Help: "Wills of lost connections that wait for their delay.",
		}, func() float64 { return float64(wills()) }))
	}
	return m
}

func (m *metrics) refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// reasonOfLogin returns how the metrics name a refused login.
func reasonOfLogin(reason packet.Reason) string {
	switch reason { //nolint:exhaustive // the others break the protocol
	case packet.NotAuthorized:
		return refusedToken
	case packet.ServerUnavailable:
		return refusedUnavailable
	}
	return refusedProtocol
}

// reasonOf returns how the metrics name the end of a connection by its device's fault.
func reasonOf(reason packet.Reason) string {
	if reason == packet.NotAuthorized {
		return refusedTopic
	}
	return refusedProtocol
}
