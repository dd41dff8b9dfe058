package thingsboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// translate does with a line of a golden file what the server does with that payload.
func translate(what, payload string, desired, reported json.RawMessage) (out string) {
	show := func(value any, err error) string {
		if err != nil {
			return "refused: " + err.Error()
		}
		return fmt.Sprintf("%s", value)
	}
	switch what {
	case "ask":
		ask, err := ReadAsk([]byte(payload))
		return show(ask.Answer(desired, reported), err)
	case "gateway ask":
		ask, err := ReadGatewayAsk([]byte(payload))
		return show(ask.Answer(desired, reported), err)
	case "parts":
		parts, err := ReadParts([]byte(payload))
		for _, part := range parts {
			out += fmt.Sprintf("[%s] %s ", part.Device, part.Data)
		}
		return cmp.Or(strings.TrimSpace(show(out, err)), "-")
	case "connect":
		device, kind, err := ReadConnect([]byte(payload))
		return show(device+"|"+kind, err)
	case "gateway answer":
		device, number, data, err := ReadGatewayAnswer([]byte(payload))
		return show(fmt.Sprintf("%s|%d|%s", device, number, data), err)
	case "call":
		answer, err := AnswerCall([]byte(payload), Limits{MaxPayloadSize: 10, MaxInflightMessages: 20, RateLimits: map[string]string{}})
		return show(answer, err)
	}
	return "unknown: " + what
}

// The golden file has payloads of the documentation, and wrong ones, with what they are translated to: three lines each.
func TestPayloadsAreTranslatedAsTheGoldenFileSays(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("testdata", "payloads.txt"))
	if err != nil {
		t.Fatal(err)
	}
	desired, reported := json.RawMessage(`{"level":3,"target":{"flow":2}}`), json.RawMessage(`{"fw":"1.0","net":{"rssi":-60}}`)
	n := 0
	for block := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n\n") {
		lines := strings.Split(block, "\n")
		if len(lines) != 3 {
			t.Fatalf("a block has %d lines: %s", len(lines), block)
		}
		if got := translate(lines[0], lines[1], desired, reported); got != lines[2] {
			t.Errorf("%s %s is translated to %s, want %s", lines[0], lines[1], got, lines[2])
		}
		n++
	}
	if n < 20 {
		t.Errorf("the file has %d payloads", n)
	}
}

func TestChangesNameWhatIsNewAndWhatIsGone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, after, device, want string }{
		{`{}`, `{}`, "", ``},
		{``, `{"a":1}`, "", `{"a":1}`},
		{`{"a":1,"b":2}`, `{"a":1,"b":3}`, "", `{"b":3}`},
		{`{"a":1,"b":{"c":1}}`, `{"a":1,"b":{"c":2}}`, "", `{"b":{"c":2}}`},
		{`{"z":1,"b":2,"c":3}`, `{"c":4}`, "", `{"c":4} {"deleted":["b","z"]}`},
		{`{"a":1}`, ``, "Device A", `{"data":{"deleted":["a"]},"device":"Device A"}`},
		{`{}`, `{"a":1}`, "Device A", `{"data":{"a":1},"device":"Device A"}`},
	} {
		var got []string
		for _, message := range Changes(json.RawMessage(c.before), json.RawMessage(c.after), c.device) {
			got = append(got, string(message))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("from %s to %s: %s, want %s", c.before, c.after, text, c.want)
		}
	}
}

func TestACommandIsACallOfTheServer(t *testing.T) {
	t.Parallel()
	for want, got := range map[string][]byte{
		`{"method":"set","params":{"a":1}}`:                               AppendCall(1, "set", json.RawMessage(`{"a":1}`), ""),
		`{"method":"set","params":{}}`:                                    AppendCall(1, "set", nil, ""),
		`{"data":{"id":4,"method":"set","params":null},"device":"Dev A"}`: AppendCall(4, "set", json.RawMessage(`null`), "Dev A"),
	} {
		if string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Whatever a payload is, it is translated to JSON or refused.
func FuzzPayloads(f *testing.F) {
	content, err := os.ReadFile(filepath.Join("testdata", "payloads.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for block := range strings.SplitSeq(string(content), "\n\n") {
		f.Add([]byte(strings.Split(block, "\n")[1]))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !json.Valid(payload) {
			return
		}
		for _, read := range []func([]byte) (Ask, error){ReadAsk, ReadGatewayAsk} {
			if ask, err := read(payload); err == nil && !json.Valid(ask.Answer(payload, payload)) {
				t.Errorf("%s is answered %s", payload, ask.Answer(payload, payload))
			}
		}
		for _, message := range Changes(payload, nil, "d") {
			if !json.Valid(message) {
				t.Errorf("%s changes to %s", payload, message)
			}
		}
		parts, err := ReadParts(payload)
		for _, part := range parts {
			if err == nil && !json.Valid(part.Data) {
				t.Errorf("%s has the part %s", payload, part.Data)
			}
		}
		_, _, _ = ReadConnect(payload)
		_, _, _, _ = ReadGatewayAnswer(payload)
		_, _ = AnswerCall(payload, Limits{})
	})
}
