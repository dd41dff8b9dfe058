package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/config"
	"hearth/internal/core/account"
	"hearth/internal/core/analytics"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/importer"
	"hearth/internal/lifecycle"
	"hearth/internal/observe"
	"hearth/internal/queue"
	"hearth/internal/store/sqlite/sqlitetest"
)

// Program is the program built, for tests that look at its parts.
type Program struct{ p *parts }

// NewProgram builds the program; change may change its settings. It is closed at the end of the test.
func NewProgram(t *testing.T, cfg *config.Config, change ...func(*Settings)) *Program {
	t.Helper()
	s := Settings{Config: cfg, Version: "test", Logger: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&s)
	}
	newDatabase(t, cfg)
	stack := lifecycle.NewStack(s.Logger)
	built, err := build(t.Context(), s, stack)
	if err != nil {
		t.Fatal(errors.Join(err, stack.Stop(context.Background())))
	}
	p := &Program{built}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Close stops what was built and started. It may be called twice.
func (p *Program) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), p.p.Config.ShutdownTimeout)
	defer cancel()
	return p.p.stack.Stop(ctx)
}

// Run is app.Run, and RunWorker app.RunWorker, of what is built.
func (p *Program) Run(ctx context.Context, ready func(url string)) error {
	return errors.Join(p.p.serve(ctx, func(s Serving) { ready(s.URL) }), p.Close())
}

func (p *Program) RunWorker(ctx context.Context, ready func()) error {
	return errors.Join(p.p.work(ctx, ready), p.Close())
}

// CreateUser makes an account.
func (p *Program) CreateUser(t *testing.T, n account.NewUser) hearth.User {
	t.Helper()
	user, err := p.p.accounts.CreateUser(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

func (p *Program) Config() *config.Config                    { return p.p.Config }
func (p *Program) Queue() queue.Backend                      { return p.p.queue }
func (p *Program) Store() store                              { return p.p.store }
func (p *Program) Files() blob.Store                         { return p.p.files }
func (p *Program) Health() *observe.Health                   { return p.p.health }
func (p *Program) Admin() http.Handler                       { return observe.AdminHandler(p.p.metrics, p.p.health) }
func (p *Program) Devices() *devices.Service                 { return p.p.devices }
func (p *Program) Telemetry() *telemetry.Service             { return p.p.telemetry }
func (p *Program) Analytics() *analytics.Service             { return p.p.analytics }
func (p *Program) Importer() *importer.Importer              { return p.p.importer() }
func (p *Program) FollowWrites() func(context.Context) error { return p.p.followWrites() }

// Cleanups returns the names of the periodic jobs that clean up.
func (p *Program) Cleanups() (names []string) {
	for _, c := range p.p.cleanups() {
		names = append(names, c.Name)
	}
	return names
}

// CleanUp runs each of them once.
func (p *Program) CleanUp(ctx context.Context) error {
	for _, kind := range p.p.cleaning() {
		if err := kind.Handler(ctx, &queue.Task{}); err != nil {
			return fmt.Errorf("%s: %w", kind.Name, err)
		}
	}
	return nil
}

// CreateUser makes an account as the command line does.
func CreateUser(t *testing.T, s Settings, n account.NewUser) {
	t.Helper()
	newDatabase(t, s.Config)
	err := Accounts(t.Context(), s, func(accounts *account.Service) error {
		_, err := accounts.CreateUser(t.Context(), n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newDatabase puts a database with nothing in it into the data directory, unless the program has one.
func newDatabase(t *testing.T, cfg *config.Config) {
	t.Helper()
	if cfg.StoreURL == "" {
		sqlitetest.File(t, cfg.DataDir)
	}
}
