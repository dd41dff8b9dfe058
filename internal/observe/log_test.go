package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/observe"
)

func TestEveryLineHasAKind(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		log  func(*slog.Logger)
		want string
	}{
		"a plain line":                      {func(l *slog.Logger) { l.Info("m") }, "app"},
		"an error line":                     {func(l *slog.Logger) { l.Error("m") }, "error"},
		"a marked line":                     {func(l *slog.Logger) { l.LogAttrs(t.Context(), slog.LevelWarn, "m", slog.String("kind", "security")) }, "security"},
		"a marked error line":               {func(l *slog.Logger) { l.LogAttrs(t.Context(), slog.LevelError, "m", slog.String("kind", "audit")) }, "audit"},
		"a line of a marked logger":         {func(l *slog.Logger) { l.With("kind", "performance").Info("m") }, "performance"},
		"an error line of a marked logger":  {func(l *slog.Logger) { l.With("kind", "performance").Error("m") }, "performance"},
		"a line of a logger with any field": {func(l *slog.Logger) { l.With("device", "d").Info("m") }, "app"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			tt.log(newLogger(t, observe.LogOptions{Writer: &out}))
			if got := decode(t, out.String())["kind"]; got != tt.want {
				t.Errorf("kind is %v; want %s, in %s", got, tt.want, out.String())
			}
			if n := strings.Count(out.String(), `"kind"`); n != 1 {
				t.Errorf("the line has %d kinds: %s", n, out.String())
			}
		})
	}
}

func TestALineHasTheRequestIDOfItsContext(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := newLogger(t, observe.LogOptions{Writer: &out})
	ctx := context.WithValue(t.Context(), observe.RequestIDKey{}, new("req-1"))
	logger.With("a", 1).InfoContext(ctx, "m")
	if got := decode(t, out.String())["request_id"]; got != "req-1" {
		t.Errorf("request_id is %v in %s", got, out.String())
	}
	out.Reset()
	logger.InfoContext(t.Context(), "m")
	if strings.Contains(out.String(), "request_id") {
		t.Errorf("a line outside of a request has an id: %s", out.String())
	}
	if got := observe.RequestID(t.Context()); got != "" {
		t.Errorf("RequestID of a bare context is %q", got)
	}
}

func TestALineBreakForgesNoLine(t *testing.T) {
	t.Parallel()
	for _, format := range []string{observe.FormatText, observe.FormatJSON} {
		var out bytes.Buffer
		newLogger(t, observe.LogOptions{Writer: &out, Format: format}).Info("a\nlevel=ERROR msg=forged", "name", "x\r\ny", "k\ney", 1)
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%s: one line became %d: %q", format, n, out.String())
		}
	}
}

func TestTheFormFollowsTheWriter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	newLogger(t, observe.LogOptions{Writer: &out, Format: observe.FormatAuto}).Info("m")
	if !json.Valid(out.Bytes()) {
		t.Errorf("what is no terminal gets %q; want JSON", out.String())
	}
	if _, _, err := observe.NewLogger(observe.LogOptions{Writer: io.Discard, Format: "xml"}); err == nil {
		t.Error("an unknown form is taken")
	}
}

func TestTheLevelIsALeast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out bytes.Buffer
	logger := newLogger(t, observe.LogOptions{Writer: &out, Level: slog.LevelWarn, Dir: dir})
	logger.Info("quiet")
	logger.Warn("loud")
	for where, text := range map[string]string{"the writer": out.String(), "combined.log": read(t, dir, "combined.log")} {
		if strings.Contains(text, "quiet") || !strings.Contains(text, "loud") {
			t.Errorf("%s holds %q; want the warning alone", where, text)
		}
	}
}

func TestFilesGetEveryLineAndErrorsTwice(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "logs")
	var out bytes.Buffer
	logger, closer, err := observe.NewLogger(observe.LogOptions{Writer: &out, Format: observe.FormatText, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), observe.RequestIDKey{}, new("req-2"))
	logger.InfoContext(ctx, "fine")
	logger.ErrorContext(ctx, "broken", observe.Err(errors.New("why")))
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}

	combined, failures := read(t, dir, "combined.log"), read(t, dir, "error.log")
	if strings.Count(combined, "\n") != 2 || strings.Count(failures, "\n") != 1 || strings.Count(out.String(), "\n") != 2 {
		t.Fatalf("combined.log %q, error.log %q, writer %q; want 2, 1 and 2 lines", combined, failures, out.String())
	}
	line := decode(t, failures)
	if line["msg"] != "broken" || line["kind"] != "error" || line["request_id"] != "req-2" || line["error"] != "why" {
		t.Errorf("error.log has %v", line)
	}
	if info, err := os.Stat(filepath.Join(dir, "combined.log")); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the log file's mode is %v, %v; others must not read it", info.Mode(), err)
	}
}

func TestAFolderThatCannotBeWrittenStopsTheStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := observe.NewLogger(observe.LogOptions{Writer: io.Discard, Dir: filepath.Join(path, "logs")}); err == nil {
		t.Error("no error for a folder below a file")
	}
}

// BenchmarkRequest is the cost of what every request pays: its log line and its metrics, without the write itself.
func BenchmarkRequest(b *testing.B) {
	logger, _, err := observe.NewLogger(observe.LogOptions{Writer: discard{}, Format: observe.FormatJSON})
	if err != nil {
		b.Fatal(err)
	}
	metrics := observe.NewMetrics(observe.MetricsOptions{}).HTTP
	ctx := context.WithValue(context.Background(), observe.RequestIDKey{}, new("0199aa00-0000-7000-8000-000000000000"))
	exchange := observe.Exchange{Route: "/api/v1/devices/{id}/heartbeat", Method: "POST", Status: 200, Duration: 180e3, RequestBytes: 2, ResponseBytes: 150}
	line := func() {
		logger.LogAttrs(ctx, slog.LevelInfo, "request",
			slog.String("method", exchange.Method), slog.String("route", exchange.Route), slog.Int("status", exchange.Status),
			slog.Duration("duration", exchange.Duration), slog.Int64("bytes", exchange.ResponseBytes),
			slog.String("caller", "device:0199aa00-0000-7000-8000-000000000000"), slog.String("ip", "192.0.2.1"))
	}
	count := func() {
		metrics.Begin()
		metrics.End(exchange)
	}
	b.Run("log", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			line()
		}
	})
	b.Run("metrics", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			count()
		}
	})
	b.Run("both", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			line()
			count()
		}
	})
	b.Run("both in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				line()
				count()
			}
		})
	})
}

// discard is no io.Discard, which slog knows and skips all work for.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func newLogger(t *testing.T, opts observe.LogOptions) *slog.Logger {
	t.Helper()
	logger, closer, err := observe.NewLogger(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return logger
}

func decode(t *testing.T, line string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	return fields
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
