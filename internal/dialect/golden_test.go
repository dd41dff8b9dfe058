package dialect

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"hearth"
)

var update = flag.Bool("update", false, "write the golden files")

// arrival is when the messages of the golden files come.
func arrival() time.Time { return time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC) }

// TestGoldenFiles reads payloads as devices send them, and writes what devices are sent. In a file, < is a message that comes, > a desired state, ! a
// command; birth and data are messages of Sparkplug B, with metrics name#alias:datatype=value.
func TestGoldenFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.in")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(text))
			golden := strings.TrimSuffix(file, ".in") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

func replay(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	o := Options{Alone: true}
	var translator *Translator
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "dialects":
			o.Dialects = strings.Fields(rest)
			continue
		case "topics":
			o.Topics = strings.Fields(rest)
			continue
		case "zone":
			zone, err := time.LoadLocation(rest)
			if err != nil {
				t.Fatal(err)
			}
			o.Zone = zone
			continue
		}
		if translator == nil {
			var err error
			if translator, err = New(o); err != nil {
				t.Fatal(err)
			}
			for _, filter := range translator.Filters() {
				fmt.Fprintf(&out, "filter %s all=%t\n", filter.Topic, filter.All)
			}
		}
		fmt.Fprintln(&out, line)
		switch word {
		case "<", "birth", "data":
			show(&out, translator.Read(message(t, word, rest), arrival()))
		case ">":
			device, delta := cutJSON(rest)
			for _, m := range translator.Desired(o.Dialects[0], device, json.RawMessage(delta)) {
				showMessage(&out, m)
			}
		case "!":
			words, params := cutJSON(rest)
			at := strings.LastIndexByte(words, ' ')
			c := hearth.Command{ID: "0195a1b2", Name: words[at+1:], Params: hearth.CanonicalJSON(json.RawMessage(params))}
			messages, err := translator.Command(o.Dialects[0], words[:at], c)
			if err != nil {
				fmt.Fprintf(&out, "\terror %v\n", err)
			}
			for _, m := range messages {
				showMessage(&out, m)
			}
		}
	}
	return out.Bytes()
}

// cutJSON cuts a line before its JSON.
func cutJSON(line string) (before, text string) {
	at := strings.IndexAny(line, `{"`)
	if at < 0 {
		if words, last, ok := strings.Cut(line, " true"); ok && last == "" {
			return words, "true"
		}
		return line, ""
	}
	return strings.TrimSpace(line[:at]), line[at:]
}

func message(t *testing.T, word, rest string) Message {
	t.Helper()
	topic, payload := rest, ""
	if word == "<" {
		if at := strings.IndexAny(rest, `{[`); at > 0 {
			topic, payload = strings.TrimSpace(rest[:at]), rest[at:]
		} else if at := strings.LastIndexByte(rest, ' '); at > 0 {
			topic, payload = rest[:at], rest[at+1:]
		}
		if digits, ok := strings.CutPrefix(payload, "hex:"); ok {
			decoded, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatal(err)
			}
			return Message{Topic: topic, Payload: decoded}
		}
		return Message{Topic: topic, Payload: []byte(payload)}
	}
	topic, rest, _ = strings.Cut(rest, " ")
	seq, metrics, _ := strings.Cut(rest, " ")
	return Message{Topic: topic, Payload: spark(t, seq, metrics)}
}

// spark returns a payload with a time, a sequence number and metrics.
func spark(t *testing.T, seq, metrics string) []byte {
	t.Helper()
	n, err := strconv.ParseUint(seq, 10, 8)
	if err != nil {
		t.Fatal(err)
	}
	out := protowire.AppendTag(nil, 1, protowire.VarintType)
	out = protowire.AppendVarint(out, 1764392400123)
	for one := range strings.SplitSeq(strings.ReplaceAll(metrics, "Node Control/Rebirth", "Node_Control/Rebirth"), " ") {
		place, value, _ := strings.Cut(one, "=")
		place, datatype, _ := strings.Cut(place, ":")
		name, alias, hasAlias := strings.Cut(place, "#")
		kind, err := strconv.ParseUint(datatype, 10, 8)
		if err != nil {
			t.Fatal(one, err)
		}
		var inner []byte
		if name != "" {
			inner = protowire.AppendString(protowire.AppendTag(inner, 1, protowire.BytesType), strings.ReplaceAll(name, "Node_", "Node "))
		}
		if hasAlias {
			id, _ := strconv.ParseUint(alias, 10, 8)
			inner = protowire.AppendVarint(protowire.AppendTag(inner, 2, protowire.VarintType), id)
		}
		inner = protowire.AppendVarint(protowire.AppendTag(inner, 4, protowire.VarintType), kind)
		metric := sparkValue{datatype: kind, value: value}
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			metric.value = number
		} else if value == "true" || value == "false" {
			metric.value = value == "true"
		}
		out = protowire.AppendBytes(protowire.AppendTag(out, 2, protowire.BytesType), metric.appendValue(inner))
	}
	return protowire.AppendVarint(protowire.AppendTag(out, 3, protowire.VarintType), n)
}

func show(out *bytes.Buffer, result Result) {
	for _, r := range result.Reports {
		fmt.Fprintf(out, "\t%s %q", r.Dialect, r.Device)
		if r.Known {
			out.WriteString(" known")
		}
		if r.Presence != Unknown {
			out.WriteString([]string{"", " online", " offline"}[r.Presence])
		}
		if r.About != nil {
			fmt.Fprintf(out, " about %+v", *r.About)
		}
		if len(r.State) > 0 {
			fmt.Fprintf(out, " state %s", encode(r.State))
		}
		if r.Answer != nil {
			fmt.Fprintf(out, " answer %q ok=%t %s%s", r.Answer.CommandID, r.Answer.OK, r.Answer.Result, r.Answer.Error)
		}
		out.WriteByte('\n')
		for _, e := range r.Readings {
			at := "now"
			if e.At != 0 {
				at = time.UnixMilli(e.At).UTC().Format(time.RFC3339Nano)
			}
			fmt.Fprintf(out, "\t\t%s = %s %s at %s\n", e.Event, e.Value.Kind(), e.Value, at)
		}
	}
	for _, filter := range result.Subscribe {
		fmt.Fprintf(out, "\tsubscribe %s all=%t\n", filter.Topic, filter.All)
	}
	for _, m := range result.Publish {
		showMessage(out, m)
	}
	if result.Problem != "" {
		fmt.Fprintf(out, "\tproblem: %s\n", result.Problem)
	}
}

func showMessage(out *bytes.Buffer, m Message) {
	payload := string(m.Payload)
	if strings.HasPrefix(m.Topic, "spBv1.0/") {
		payload = "hex:" + hex.EncodeToString(m.Payload)
	}
	fmt.Fprintf(out, "\tsend %s %s\n", m.Topic, payload)
}
