//go:build clients

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTypeScriptClient(t *testing.T) {
	t.Parallel()
	s := clientsServer(t)
	out := s.runClient("ts", "node", "--test", "tests/")
	if !strings.Contains(out, "# skipped 0") {
		t.Errorf("tests were skipped:\n%s", out)
	}
	if out := s.runClient("ts", "node", "examples/kitchen.mjs"); out != kitchenSays {
		t.Errorf("the example prints %q", out)
	}
	// As a program of somebody who installed the package.
	folder := t.TempDir()
	client, err := filepath.Abs("../client/ts")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(folder, "node_modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(client, filepath.Join(folder, "node_modules", "hearth-client")); err != nil {
		t.Fatal(err)
	}
	if out := s.runClient("ts", "node", write(t, folder, "guide.mjs", guideBlock(t, "ts"))); out != guideSays {
		t.Errorf("the guide's example prints %q", out)
	}
}

// A page of another origin, which the server allows, signs in, writes, and follows events.
func TestTheTypeScriptClientRunsInABrowser(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	pages := httptest.NewServer(mux)
	t.Cleanup(pages.Close)
	s := serve(t, "HEARTH_ALLOWED_ORIGINS="+pages.URL)
	s.signup("ann@example.com")
	mux.Handle("GET /dist/", http.StripPrefix("/dist/", http.FileServer(http.Dir("../client/ts/dist"))))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><body><script type="module">
import { Client, Refused } from '/dist/index.js'
const client = new Client(%q, { email: 'ann@example.com', password: %q })
try {
  const device = await client.createDevice({ name: 'Browser lamp', type: 'lamp' })
  const write = async () => {
    const writer = client.writer()
    await writer.write({ device_id: device.id, event: 'switch', value: true })
    await writer.close()
  }
  for await (const event of client.follow({ channels: ['device:' + device.id], onOpen: write })) {
    if (event.type === 'device-log') {
      document.body.append('saw ' + event.data.event + ' ' + event.data.value + '. ')
      break
    }
  }
  await client.getDevice('0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b').catch((error) => {
    document.body.append(error instanceof Refused && error.requestID ? error.code : String(error))
  })
} catch (error) {
  document.body.append(String(error))
}
</script>`, s.url, password)
	})
	b := newTab(t)
	b.open(pages.URL)
	b.reads("saw switch true. not_found")
}
