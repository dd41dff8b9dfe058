package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The states of a dependency.
const (
	StateOK       = "ok"
	StateDown     = "down"
	StateDisabled = "disabled" // not part of this configuration
)

// The states of the service.
const (
	StatusOK          = "ok"
	StatusDegraded    = "degraded"    // something is down that the service can do without: slower, but right
	StatusUnavailable = "unavailable" // something is down that it needs
	StatusDraining    = "draining"    // it is about to stop and takes nothing new
)

// Check asks one dependency how it is.
type Check struct {
	// Name is one of the contract's: database, redis, queue, storage, mail.
	Name string
	// Required marks a check without which the service is not ready.
	Required bool
	// Probe returns nil when the dependency works. It must end soon after its context does.
	Probe func(ctx context.Context) error
}

// HealthOptions are the frame of a Health.
type HealthOptions struct {
	Version string
	// Logger gets a line when a dependency goes down and when it is back; nil is slog.Default().
	Logger *slog.Logger
	// Timeout bounds a probe; 0 is 2 s.
	Timeout time.Duration
	// Fresh is how long a probe's result is used again, so that health requests cannot load a dependency; 0 is 1 s.
	Fresh time.Duration
}

// Health knows the dependencies and whether the service is ready. Its methods may be called from any goroutine.
type Health struct {
	opts     HealthOptions
	descs    healthDescs
	started  time.Time
	draining atomic.Bool

	mu     sync.Mutex
	checks []*check
	probes sync.WaitGroup
}

// Dependency is the state of one dependency.
type Dependency struct {
	State string `json:"state"`
	// LatencyMS is how long the last probe took, in milliseconds.
	LatencyMS float64 `json:"latency_ms"`
	Required  bool    `json:"required"`
}

// HealthReport is the answer of /health.
type HealthReport struct {
	Status        string                `json:"status"`
	Version       string                `json:"version"`
	UptimeSeconds int64                 `json:"uptime_seconds"`
	Dependencies  map[string]Dependency `json:"dependencies"`

	missing []string // what is required and down
}

// notReady reports whether the service should get no requests now.
func (r HealthReport) notReady() bool {
	return r.Status == StatusUnavailable || r.Status == StatusDraining
}

// check is a Check with its last result. A probe runs once at a time, however many ask.
type check struct {
	Check
	mu      sync.Mutex
	running chan struct{} // closed when the probe under way has ended; nil when none is
	at      time.Time     // when the last probe ended; zero before the first
	last    Dependency
}

// NewHealth makes a Health without dependencies: ready at once. Uptime counts from here.
func NewHealth(opts HealthOptions) *Health {
	opts.Logger = cmp.Or(opts.Logger, slog.Default())
	if opts.Timeout <= 0 {
		opts.Timeout = 2 * time.Second
	}
	if opts.Fresh <= 0 {
		opts.Fresh = time.Second
	}
	return &Health{opts: opts, descs: newHealthDescs(), started: time.Now()}
}

// Register adds a dependency.
func (h *Health) Register(c Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &check{Check: c})
}

// Drain makes the service not ready from now on, so that it gets no new requests. It cannot be undone.
func (h *Health) Drain() { h.draining.Store(true) }

// Close waits for the probes under way, at most their timeout. The Health must not be asked after it.
func (h *Health) Close() { h.probes.Wait() }

// Report asks every dependency, all at once, and returns the whole picture. It takes no longer than Timeout.
func (h *Health) Report(ctx context.Context) HealthReport {
	h.mu.Lock()
	checks := slices.Clip(h.checks)
	h.mu.Unlock()

	report := HealthReport{
		Status: StatusOK, Version: h.opts.Version, UptimeSeconds: int64(time.Since(h.started) / time.Second),
		Dependencies: map[string]Dependency{}, missing: []string{},
	}
	for _, name := range [...]string{"database", "redis", "queue", "storage", "mail"} {
		report.Dependencies[name] = Dependency{State: StateDisabled}
	}
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	results := make([]Dependency, len(checks))
	var group sync.WaitGroup
	for i, c := range checks {
		group.Go(func() { results[i] = h.ask(ctx, c) })
	}
	group.Wait()
	for i, c := range checks {
		report.Dependencies[c.Name] = results[i]
		switch {
		case results[i].State == StateOK:
		case c.Required:
			report.Status = StatusUnavailable
			report.missing = append(report.missing, c.Name)
		case report.Status == StatusOK:
			report.Status = StatusDegraded
		}
	}
	if h.draining.Load() {
		report.Status = StatusDraining
	}
	return report
}

// ask returns the state of c: the last one while it is fresh, else that of a probe. It waits for the probe until ctx ends;
// a probe that is stuck counts as down, and no second one is started meanwhile.
func (h *Health) ask(ctx context.Context, c *check) Dependency {
	c.mu.Lock()
	if c.running == nil && !c.at.IsZero() && time.Since(c.at) < h.opts.Fresh {
		defer c.mu.Unlock()
		return c.last
	}
	if c.running == nil {
		c.running = make(chan struct{})
		h.probes.Go(func() { h.probe(context.WithoutCancel(ctx), c) })
	}
	running := c.running
	c.mu.Unlock()

	select {
	case <-running:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.last
	case <-ctx.Done():
		return Dependency{State: StateDown, Required: c.Required, LatencyMS: milliseconds(h.opts.Timeout)}
	}
}

// probe runs c's probe once and keeps its result. It outlives the request that started it, so that one impatient caller
// does not make the answer of the others.
func (h *Health) probe(ctx context.Context, c *check) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	start := time.Now()
	err := protect(ctx, c.Probe)
	took := time.Since(start)

	c.mu.Lock()
	before := c.last.State
	c.last = Dependency{State: StateOK, Required: c.Required, LatencyMS: milliseconds(took)}
	if err != nil {
		c.last.State = StateDown
	}
	after := c.last.State
	c.at = time.Now()
	close(c.running)
	c.running = nil
	c.mu.Unlock()

	switch {
	case after == StateDown && before != StateDown:
		h.opts.Logger.LogAttrs(ctx, slog.LevelError, "a dependency is down", slog.String("dependency", c.Name), Err(err))
	case after == StateOK && before == StateDown:
		h.opts.Logger.LogAttrs(ctx, slog.LevelInfo, "a dependency is back", slog.String("dependency", c.Name))
	}
}

// protect turns a panic of a probe into an error: a health check must never take the service down.
func protect(ctx context.Context, probe func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the probe panicked: %v", v)
		}
	}()
	if probe == nil {
		return errors.New("the check has no probe")
	}
	return probe(ctx)
}

// Mount puts the three health routes on mux.
func (h *Health) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /health/live", h.ServeLive)
	mux.HandleFunc("GET /health/ready", h.ServeReady)
	mux.HandleFunc("GET /health", h.ServeReport)
}

// ServeLive answers 200 as long as the process can answer at all.
func (h *Health) ServeLive(w http.ResponseWriter, _ *http.Request) {
	writeHealth(w, http.StatusOK, map[string]string{"status": "live"})
}

// ServeReady answers 200 when the service takes requests, else 503 with what is missing.
func (h *Health) ServeReady(w http.ResponseWriter, r *http.Request) {
	if h.draining.Load() { // not worth a probe
		writeHealth(w, http.StatusServiceUnavailable, readiness{Status: StatusDraining, Missing: []string{}})
		return
	}
	report := h.Report(r.Context())
	if report.notReady() {
		writeHealth(w, http.StatusServiceUnavailable, readiness{Status: report.Status, Missing: report.missing})
		return
	}
	writeHealth(w, http.StatusOK, readiness{Status: "ready", Missing: report.missing})
}

// ServeReport answers with the HealthReport: 200, or 503 when the service is not ready.
func (h *Health) ServeReport(w http.ResponseWriter, r *http.Request) {
	report := h.Report(r.Context())
	status := http.StatusOK
	if report.notReady() {
		status = http.StatusServiceUnavailable
	}
	writeHealth(w, status, report)
}

// readiness is the answer of /health/ready.
type readiness struct {
	Status  string   `json:"status"`
	Missing []string `json:"missing"`
}

func writeHealth(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) //nolint:errchkjson // the bodies always encode; a write that fails has lost its reader
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
