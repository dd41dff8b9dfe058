package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"hearth/internal/bridge"
	"hearth/internal/core/devices"
	"hearth/internal/httpserver"
	"hearth/internal/kv"
	"hearth/internal/mqtt"
)

// openMQTT builds the server for devices that speak MQTT.
func (p *parts) openMQTT() (*mqtt.Server, error) {
	options := mqtt.Options{
		Devices: p.devices, Telemetry: p.telemetry, Twins: p.twins, Commands: p.commands, Sessions: p.store, Limiter: messageLimiter{p.limits}, Clock: p.Clock,
		Logger: p.Logger, Registry: p.metrics.Registry,
	}
	if p.shared != nil {
		options.Bus = p.shared
	}
	return mqtt.New(options)
}

// openBridge builds what keeps connections to external brokers.
func (p *parts) openBridge() (*bridge.Bridge, error) {
	options := bridge.Options{
		Store: p.store, Password: p.integrations.Password, Devices: p.devices, Telemetry: p.telemetry, Twins: p.twins, Commands: p.commands,
		Clock: p.Clock, Logger: p.Logger, Registry: p.metrics.Registry,
	}
	if p.redis != nil {
		options.Leads = p.leader.Leads
	}
	return bridge.New(options)
}

// remoteDevices hear of what other instances have changed.
type remoteDevices struct {
	*devices.Service
	bridge *bridge.Bridge
}

// DesiredChanged notes a new version of a device's desired state.
func (d remoteDevices) DesiredChanged(deviceID string, version int64) {
	d.Service.DesiredChanged(deviceID, version)
	d.bridge.DesiredChanged(deviceID)
}

// messageLimiter returns the port's decisions as the MQTT server's.
type messageLimiter struct{ kv.Limiter }

// Take implements mqtt.Limiter.
func (l messageLimiter) Take(ctx context.Context, class, key string, n int) (wait time.Duration, limit int, err error) {
	d, err := l.Allow(ctx, class, key, n)
	return d.RetryAfter, d.Limit, err
}

// serveMQTT accepts devices where the settings say so. Over WebSocket, the API does.
func (p *parts) serveMQTT(ctx context.Context, certificate *tls.Config, failed chan<- error) error {
	stop := p.mqtt.Start()
	p.stack.Add("mqtt peers", func(context.Context) error { stop(); return nil })
	listen := func(name, addr string, certificate *tls.Config) error {
		if addr == "" {
			return nil
		}
		listener, err := httpserver.Listen(ctx, addr)
		if err != nil {
			return fmt.Errorf("listen on %s for devices: %w", addr, err)
		}
		p.Logger.InfoContext(ctx, "serving devices", "protocol", name, "addr", listener.Addr().String())
		if certificate != nil {
			listener = tls.NewListener(listener, certificate)
		}
		stop := p.mqtt.Serve(listener, func(err error) { failed <- fmt.Errorf("%s listener: %w", name, err) })
		p.stack.Add(name+" listener", func(context.Context) error { return stop() })
		return nil
	}
	p.stack.Add("mqtt", p.mqtt.Drain)
	if err := listen("mqtt", p.Config.MQTTAddr, nil); err != nil {
		return err
	}
	return listen("mqtts", p.Config.MQTTSAddr, certificate)
}
