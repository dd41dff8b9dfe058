package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

func TestTheHandlerKeepsTheRulesOfSlog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return newJSONHandler(false, &sink{w: &out})
	}, func(t *testing.T) map[string]any {
		t.Helper()
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%v in %q", err, out.String())
		}
		return line
	})
}

// What the handler writes reads back as what slog's own handler writes.
func TestTheHandlerWritesWhatSlogWrites(t *testing.T) {
	t.Parallel()
	var nobody *time.Location // its String method survives nil, MarshalText of a nil *url.URL would not
	attrs := []slog.Attr{
		slog.String("s", "plain"), slog.String("esc", "a\"b\\c\n\r\t\x00\x1f<&>"), slog.String("k\ney", "v"), slog.String("utf", "Hütte 火 \u2028"),
		slog.Int("i", -7), slog.Uint64("u", math.MaxUint64), slog.Bool("b", true), slog.Duration("d", time.Second),
		slog.Float64("f", 0.1), slog.Float64("big", 1e300), slog.Float64("small", -1e-9), slog.Float64("zero", 0),
		slog.Any("err", errors.New("why \"not\"")), slog.Any("map", map[string]int{"a": 1}), slog.Any("nil", nil), slog.Any("nobody", nobody),
		slog.Group("g", slog.Int("x", 1), slog.Group("inner", slog.String("y", "z")), slog.Group("empty")),
		slog.Group("", slog.Int("inlined", 1)), slog.Any("bytes", []byte("ab")),
	}
	var ours, theirs bytes.Buffer
	for _, handler := range []slog.Handler{newJSONHandler(false, &sink{w: &ours}), slog.NewJSONHandler(&theirs, nil)} {
		logger := slog.New(handler).With("with", 1).WithGroup("group").With("in", 2).WithGroup("deep")
		record := slog.NewRecord(time.Time{}, slog.LevelWarn, "the \"message\"", 0)
		record.AddAttrs(attrs...)
		if err := logger.Handler().Handle(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	var got, want map[string]any
	if err := json.Unmarshal(ours.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, ours.String())
	}
	if err := json.Unmarshal(theirs.Bytes(), &want); err != nil {
		t.Fatal(err)
	}
	delete(got, "kind") // slog knows none
	gotText, _ := json.MarshalIndent(got, "", " ")
	wantText, _ := json.MarshalIndent(want, "", " ")
	if !bytes.Equal(gotText, wantText) {
		t.Errorf("got %s\nwant %s", gotText, wantText)
	}
}

func TestAFieldThatCannotBeEncodedCostsNoLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var missing *brokenError
	slog.New(newJSONHandler(false, &sink{w: &out})).Info("m", "f", math.NaN(), "inf", math.Inf(-1), "ch", make(chan int), "panic", missing, "last", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if line["f"] != "NaN" || line["inf"] != "-Inf" || line["last"] != 1.0 || !strings.HasPrefix(line["panic"].(string), "!PANIC") || !strings.HasPrefix(line["ch"].(string), "!ERROR") {
		t.Errorf("got %v", line)
	}
}

type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"", "plain", "a\"\\\n\x00\x7f", "\xff\xfe", "Hütte", "\u2028\u0085", "\xed\xa0\x80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := appendString(nil, s)
		for _, c := range string(encoded) {
			if c < 0x20 || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' {
				t.Fatalf("%q has a control character: %q", s, encoded)
			}
		}
		var back string
		if err := json.Unmarshal(encoded, &back); err != nil {
			t.Fatalf("%q is %s: %v", s, encoded, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); back != want && strings.ReplaceAll(back, "\uFFFD", "") != strings.ReplaceAll(want, "\uFFFD", "") {
			t.Fatalf("%q reads back as %q", s, back)
		}
	})
}
