// Package observe is the program's logs, metrics, traces and health.
package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"
)

// The forms of a log.
const (
	FormatAuto = "auto" // text on a terminal, otherwise JSON
	FormatText = "text"
	FormatJSON = "json"
)

// Bounds of the rotating files.
const (
	fileMegabytes = 50
	fileBackups   = 5
	fileDays      = 30
)

// LogOptions say where log lines go.
type LogOptions struct {
	// Writer takes the lines; nil is standard error.
	Writer io.Writer
	// Level is the least level that is written.
	Level slog.Level
	// Format is FormatAuto (also when empty), FormatText or FormatJSON.
	Format string
	// Dir, unless empty, is a folder that also gets every line in combined.log and the errors in error.log, both as
	// JSON. Each is rotated at 50 MB; 5 old ones are kept, compressed, for 30 days. The folder is made if it is missing.
	Dir string
	// Delay is how long lines of FormatJSON and of the files may wait for others, to be written together: those up to slog.LevelInfo. A program that is
	// killed loses what waits. 0: none waits.
	Delay time.Duration
	// Traces adds trace_id and span_id to the lines of what is traced.
	Traces bool
}

// NewLogger makes the program's logger. Each line has its kind, and the request id of its context if there is one. Lines
// may be logged from any goroutine. The closer writes what waits and closes the files; the logger must not be used after it.
func NewLogger(opts LogOptions) (*slog.Logger, io.Closer, error) {
	w := opts.Writer
	if w == nil {
		w = os.Stderr
	}
	var (
		handlers []slog.Handler
		sinks    []*sink
		files    closers
	)
	switch format := resolveFormat(opts.Format, w); format {
	case FormatText:
		handlers = append(handlers, &lineHandler{next: slog.NewTextHandler(w, &slog.HandlerOptions{Level: opts.Level}), traces: opts.Traces})
	case FormatJSON:
		sinks = append(sinks, &sink{w: w, level: opts.Level, delay: opts.Delay})
	default:
		return nil, nil, fmt.Errorf("observe: no log format is called %q", format)
	}
	if opts.Dir != "" {
		if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
			return nil, nil, fmt.Errorf("make the folder of the logs: %w", err)
		}
		combined := rotating(filepath.Join(opts.Dir, "combined.log"))
		failures := rotating(filepath.Join(opts.Dir, "error.log"))
		files = closers{combined, failures}
		// lumberjack opens a file at its first line. Opened here, a folder that cannot be written stops the start.
		for _, file := range []io.Writer{combined, failures} {
			if _, err := file.Write(nil); err != nil {
				return nil, nil, errors.Join(fmt.Errorf("open the log files: %w", err), files.Close())
			}
		}
		sinks = append(sinks, &sink{w: combined, level: opts.Level, delay: opts.Delay}, &sink{w: failures, level: max(opts.Level, slog.LevelError)})
	}
	if len(sinks) > 0 {
		handlers = append(handlers, newJSONHandler(opts.Traces, sinks...))
	}
	var all closers
	for _, s := range sinks {
		all = append(all, s)
	}
	next := handlers[0]
	if len(handlers) > 1 {
		next = slog.NewMultiHandler(handlers...)
	}
	return slog.New(next), append(all, files...), nil
}

func resolveFormat(format string, w io.Writer) string {
	if format != "" && format != FormatAuto {
		return format
	}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return FormatText
	}
	return FormatJSON
}

// rotating opens a file that is rotated. Lumberjack's Close leaves the goroutine that removes old files waiting for ever
// (natefinch/lumberjack#56); there are two of them in a process, from its start to its end.
func rotating(path string) *lumberjack.Logger {
	return &lumberjack.Logger{Filename: path, MaxSize: fileMegabytes, MaxBackups: fileBackups, MaxAge: fileDays, Compress: true}
}

// closers closes all of its members.
type closers []io.Closer

// Close closes every member and joins their errors.
func (c closers) Close() error {
	errs := make([]error, 0, len(c))
	for _, closer := range c {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}

// kindKey is the field that marks what a line is about.
const kindKey = "kind"

// The kinds of lines that name none.
const (
	kindApp   = "app"
	kindError = "error"
)

// Err is the field of a cause: under the same name everywhere.
func Err(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.String("error", err.Error())
}

// RequestIDKey is the key of a context's value that is the id of the request that it serves, a *string.
type RequestIDKey struct{}

// RequestID returns the id of the request that ctx serves, or "".
func RequestID(ctx context.Context) string {
	if id, ok := ctx.Value(RequestIDKey{}).(*string); ok {
		return *id
	}
	return ""
}

// The fields of the request id and of the span.
const (
	requestIDField = "request_id"
	traceIDField   = "trace_id"
	spanIDField    = "span_id"
)

// lineHandler adds to each line its kind and its request id, before a handler that cannot itself.
type lineHandler struct {
	next slog.Handler
	// kinded is set when the logger's own fields have the kind already.
	kinded bool
	traces bool
}

var _ slog.Handler = (*lineHandler)(nil)

// Enabled reports whether a line of this level is written anywhere.
func (h *lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle writes the line.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	if kind := kindOf(r, h.kinded); kind != "" {
		r.AddAttrs(slog.String(kindKey, kind))
	}
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String(requestIDField, id))
	}
	if h.traces {
		if traceID, spanID := traceIDs(ctx); traceID != "" {
			r.AddAttrs(slog.String(traceIDField, traceID), slog.String(spanIDField, spanID))
		}
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs returns a handler whose lines have the fields too.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineHandler{next: h.next.WithAttrs(attrs), kinded: h.kinded || hasKind(attrs), traces: h.traces}
}

// WithGroup returns a handler whose later fields stand in a group; the kind and the request id stand in it too.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{next: h.next.WithGroup(name), kinded: h.kinded, traces: h.traces}
}

// kindOf returns the kind that a line lacks: "" where the logger (kinded) or the line has one.
func kindOf(r slog.Record, kinded bool) string {
	if kinded {
		return ""
	}
	found := false
	r.Attrs(func(attr slog.Attr) bool {
		found = attr.Key == kindKey
		return !found
	})
	switch {
	case found:
		return ""
	case r.Level >= slog.LevelError:
		return kindError
	}
	return kindApp
}

func hasKind(attrs []slog.Attr) bool {
	return slices.ContainsFunc(attrs, func(attr slog.Attr) bool { return attr.Key == kindKey })
}
