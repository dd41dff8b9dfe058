package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// jsonHandler writes each line as a JSON object, with its kind and request id next to the message. Otherwise it does what slog.JSONHandler does with half of the work, because every
// request pays for its line, and it encodes a line once for all of its sinks.
type jsonHandler struct {
	sinks []*sink
	least slog.Level // the lowest level of any sink
	// prefix holds the fields of With, encoded, each behind a comma.
	prefix []byte
	// open counts the groups whose brace is in prefix; pending are those behind them that have no field yet.
	open    int
	pending []string
	// kinded is set when prefix has the kind.
	kinded bool
	// traces is set when lines carry the ids of their span.
	traces bool
}

var _ slog.Handler = (*jsonHandler)(nil)

func newJSONHandler(traces bool, sinks ...*sink) *jsonHandler {
	h := &jsonHandler{sinks: sinks, least: sinks[0].level, traces: traces}
	for _, s := range sinks {
		h.least = min(h.least, s.level)
	}
	return h
}

// bufferPool keeps the buffers of lines; a buffer that a long line has grown is not put back.
var bufferPool = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

const maxPooledBuffer = 16 << 10

// Enabled reports whether any sink takes the level.
func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least }

// Handle writes the line to every sink that takes its level.
func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	pooled, _ := bufferPool.Get().(*[]byte)
	b := (*pooled)[:0]
	b = append(b, '{')
	if !r.Time.IsZero() {
		b = append(b, `"time":`...)
		b = appendTime(b, r.Time)
	}
	b = appendName(b, slog.LevelKey)
	b = appendString(b, r.Level.String())
	b = appendName(b, slog.MessageKey)
	b = appendString(b, r.Message)
	if kind := kindOf(r, h.kinded); kind != "" {
		b = appendName(b, kindKey)
		b = appendString(b, kind)
	}
	if id := RequestID(ctx); id != "" {
		b = appendName(b, requestIDField)
		b = appendString(b, id)
	}
	if h.traces {
		if traceID, spanID := traceIDs(ctx); traceID != "" {
			b = appendString(appendName(b, traceIDField), traceID)
			b = appendString(appendName(b, spanIDField), spanID)
		}
	}
	b = append(b, h.prefix...)

	open := h.open
	before := len(b)
	for _, name := range h.pending {
		b = append(appendName(b, name), '{')
		open++
	}
	opened := len(b)
	r.Attrs(func(attr slog.Attr) bool {
		b = appendAttr(b, attr)
		return true
	})
	if len(b) == opened { // nothing to put into the groups
		b, open = b[:before], h.open
	}
	for range open {
		b = append(b, '}')
	}
	b = append(b, '}', '\n')

	var errs []error
	for _, s := range h.sinks {
		if r.Level >= s.level {
			if err := s.write(b, r.Level); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if cap(b) <= maxPooledBuffer {
		*pooled = b
		bufferPool.Put(pooled)
	}
	return errors.Join(errs...)
}

// WithAttrs returns a handler whose lines have the fields too, encoded once and for all.
func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.kinded = h.kinded || hasKind(attrs)
	next.prefix = append([]byte(nil), h.prefix...)
	before := len(next.prefix)
	for _, name := range h.pending {
		next.prefix = append(appendName(next.prefix, name), '{')
	}
	opened := len(next.prefix)
	for _, attr := range attrs {
		next.prefix = appendAttr(next.prefix, attr)
	}
	if len(next.prefix) == opened {
		next.prefix = next.prefix[:before]
		return &next
	}
	next.open += len(h.pending)
	next.pending = nil
	return &next
}

// WithGroup returns a handler whose later fields stand in a group.
func (h *jsonHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.pending = append(append([]string(nil), h.pending...), name)
	return &next
}

// appendAttr appends a field and the comma before it, or nothing for an empty field or group.
func appendAttr(b []byte, attr slog.Attr) []byte {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		return appendGroup(b, attr.Key, value.Group())
	}
	if attr.Key == "" && value.Equal(slog.Value{}) {
		return b
	}
	return appendValue(appendName(b, attr.Key), value)
}

func appendGroup(b []byte, name string, members []slog.Attr) []byte {
	before := len(b)
	if name != "" {
		b = append(appendName(b, name), '{')
	}
	opened := len(b)
	for _, member := range members {
		b = appendAttr(b, member)
	}
	switch {
	case len(b) == opened:
		return b[:before]
	case name != "":
		b = append(b, '}')
	}
	return b
}

// appendName appends a field's name, its colon, and a comma where one is due.
func appendName(b []byte, name string) []byte {
	if len(b) == 0 || b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendString(b, name), ':')
}

func appendValue(b []byte, value slog.Value) []byte {
	switch value.Kind() {
	case slog.KindString:
		return appendString(b, value.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, value.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, value.Uint64(), 10)
	case slog.KindFloat64:
		return appendFloat(b, value.Float64())
	case slog.KindBool:
		return strconv.AppendBool(b, value.Bool())
	case slog.KindDuration:
		return strconv.AppendInt(b, int64(value.Duration()), 10) // nanoseconds, as slog.JSONHandler writes them
	case slog.KindTime:
		return appendTime(b, value.Time())
	case slog.KindAny, slog.KindGroup, slog.KindLogValuer: // the last two have been resolved
	}
	return appendAny(b, value.Any())
}

func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(strconv.AppendFloat(append(b, '"'), f, 'g', -1, 64), '"')
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(b, '"'), "2006-01-02T15:04:05.000Z"), '"')
}

// appendAny appends a value of any other type: an error by its message, the rest as package json does. A value that
// cannot be encoded is named in its place: a log line is never lost for one field.
func appendAny(b []byte, v any) (out []byte) {
	before := len(b)
	defer func() {
		if recover() != nil { // a method of a nil pointer, most likely
			out = appendString(b[:before], fmt.Sprintf("!PANIC of %T", v))
		}
	}()
	if err, ok := v.(error); ok {
		return appendString(b, err.Error())
	}
	text, err := json.Marshal(v)
	if err != nil {
		return appendString(b, fmt.Sprintf("!ERROR: %v", err))
	}
	return append(b, text...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD; control characters and the two line
// separators of JavaScript are escaped, so that a line stays a line wherever it is shown.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if c >= utf8.RuneSelf && (r != utf8.RuneError || size > 1) && !escaped(r) {
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', hexDigits[r>>12&0xf], hexDigits[r>>8&0xf], hexDigits[r>>4&0xf], hexDigits[r&0xf])
		}
		i += size
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// escaped reports which runes beyond ASCII are escaped: C1 controls, which terminals obey, and line separators.
func escaped(r rune) bool { return r < 0xa0 || r == '\u2028' || r == '\u2029' }
