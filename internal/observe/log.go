// Package observe is what the program tells of itself: logs, metrics and health.
package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"
)

// The forms of a log.
const (
	FormatAuto = "auto" // text on a terminal, JSON elsewhere
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
}

// NewLogger makes the program's logger. Each line has its kind, and the request id of its context if there is one. Lines
// may be logged from any goroutine. The closer closes the files; the logger must not be used after it.
func NewLogger(opts LogOptions) (*slog.Logger, io.Closer, error) {
	w := opts.Writer
	if w == nil {
		w = os.Stderr
	}
	level := &slog.HandlerOptions{Level: opts.Level}
	handlers := make([]slog.Handler, 0, 3)
	switch format := resolveFormat(opts.Format, w); format {
	case FormatText:
		handlers = append(handlers, slog.NewTextHandler(w, level))
	case FormatJSON:
		handlers = append(handlers, slog.NewJSONHandler(w, level))
	default:
		return nil, nil, fmt.Errorf("observe: no log format is called %q", format)
	}

	var files closers
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
		handlers = append(handlers,
			slog.NewJSONHandler(combined, level),
			slog.NewJSONHandler(failures, &slog.HandlerOptions{Level: max(opts.Level, slog.LevelError)}),
		)
	}

	next := handlers[0]
	if len(handlers) > 1 {
		next = slog.NewMultiHandler(handlers...)
	}
	return slog.New(newLineHandler(next)), files, nil
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

// The kinds of log lines.
const (
	KindApp         = "app"         // the program's own doings: the kind of a line that says nothing else
	KindSecurity    = "security"    // logins, refusals, revocations, tokens
	KindAudit       = "audit"       // who did what to which object
	KindPerformance = "performance" // slow requests and queries
	KindError       = "error"       // the kind of an error line that says nothing else
)

// Security marks a line as one about logins, refusals and tokens.
func Security() slog.Attr { return slog.String(kindKey, KindSecurity) }

// Audit marks a line as one about who did what to which object.
func Audit() slog.Attr { return slog.String(kindKey, KindAudit) }

// Performance marks a line as one about something slow.
func Performance() slog.Attr { return slog.String(kindKey, KindPerformance) }

// Err is the field of a cause: under the same name everywhere.
func Err(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.String("error", err.Error())
}

type requestIDKey struct{}

// WithRequestID gives a context that carries the id of the request that it serves.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID gives the id that WithRequestID put into ctx, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// lineHandler adds to each line its kind and its request id. The kind of a line that has none is written beforehand, so
// that it costs a line nothing.
type lineHandler struct {
	bare slog.Handler // for lines that have their kind
	app  slog.Handler // adds KindApp
	fail slog.Handler // adds KindError
	// kinded tells that the logger's own fields have the kind already.
	kinded bool
}

var _ slog.Handler = (*lineHandler)(nil)

func newLineHandler(next slog.Handler) *lineHandler {
	return &lineHandler{
		bare: next,
		app:  next.WithAttrs([]slog.Attr{slog.String(kindKey, KindApp)}),
		fail: next.WithAttrs([]slog.Attr{slog.String(kindKey, KindError)}),
	}
}

// Enabled tells whether a line of this level is written anywhere.
func (h *lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.bare.Enabled(ctx, level)
}

// Handle writes the line.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	next := h.bare
	if !h.kinded && !hasKind(r) {
		next = h.app
		if r.Level >= slog.LevelError {
			next = h.fail
		}
	}
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	return next.Handle(ctx, r)
}

// WithAttrs gives a handler whose lines have the fields too.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	kinded := h.kinded
	for _, attr := range attrs {
		kinded = kinded || attr.Key == kindKey
	}
	return &lineHandler{bare: h.bare.WithAttrs(attrs), app: h.app.WithAttrs(attrs), fail: h.fail.WithAttrs(attrs), kinded: kinded}
}

// WithGroup gives a handler whose later fields stand in a group; the request id stands in it too.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{bare: h.bare.WithGroup(name), app: h.app.WithGroup(name), fail: h.fail.WithGroup(name), kinded: h.kinded}
}

func hasKind(r slog.Record) bool {
	found := false
	r.Attrs(func(attr slog.Attr) bool {
		found = attr.Key == kindKey
		return !found
	})
	return found
}
