package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/testserver"
)

// From the rule to the alarm that ends by itself, as the guide of alarms says: the list, the stream, the e-mails and the deliveries, which
// the receiver has verified.
func TestTheScriptOfTheGuideOfAlarmsRuns(t *testing.T) {
	t.Parallel()
	receiver := receiverOfTheGuide(t)
	script := scripts(t, "guides/alarms.md", "bash")[0]
	s := serve(t, "HEARTH_WEBHOOK_ALLOW=127.0.0.0/8")
	s.signup("ann@example.com")
	_, port, err := net.SplitHostPort(testserver.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	out := runScript(t, s, script, "EMAIL=ann@example.com", "PASSWORD="+password, "MAIL="+filepath.Join(s.dir, "mail"), "RECEIVER="+receiver, "PORT="+port)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 8 {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	for i, wants := range [][]string{
		{`"state":"cleared"`, `"acknowledged":true`, `"value":-12.5`, `"count":1`},
		{`data: `, `"state":"active"`, `"acknowledged":false`}, {`data: `, `"state":"active"`, `"acknowledged":true`}, {`data: `, `"state":"cleared"`},
		{`Subject: `}, {`Subject: `},
		{`"type":"alarm.raised"`, `"state":"active"`}, {`"type":"alarm.cleared"`, `"state":"cleared"`},
	} {
		for _, want := range wants {
			if !strings.Contains(lines[i], want) {
				t.Errorf("line %d lacks %s:\n%s", i+1, want, lines[i])
			}
		}
	}
}
