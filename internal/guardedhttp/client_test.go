package guardedhttp

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/net/dns/dnsmessage"

	"hearth"
)

// local lets tests reach their own servers.
var local = Options{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Version: "1"} // never written to

const testID = "0195a1b2-ddd1-7e5f-8a9b-0c1d2e3f4a5b"

func sendTo(t *testing.T, c *Client, url string, secrets ...string) Outcome {
	t.Helper()
	var raw [][]byte
	for _, secret := range secrets {
		raw = append(raw, []byte(secret))
	}
	now, body := hearth.Clock(nil).Now(), []byte(`{"type":"webhook.test","data":"<ü>"}`)
	return c.Post(t.Context(), Request{URL: url, Body: body, Header: Sign(testID, now, body, raw...)}, now)
}

func receive(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

func TestThePublicLibraryVerifiesRequests(t *testing.T) {
	t.Parallel()
	first, second := strings.Repeat("a", 32), strings.Repeat("b", 32)
	verified := 0
	url := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		for _, secret := range []string{first, second} {
			verifier, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString([]byte(secret)))
			if err == nil {
				err = verifier.Verify(body, r.Header)
			}
			if err != nil {
				t.Errorf("by the secret %.1s…: %v", secret, err)
			}
			verified++
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.UserAgent() != "hearth/1" ||
			r.Header.Get("Webhook-Id") != testID {
			t.Errorf("the request is %s %v", r.Method, r.Header)
		}
	})
	if out := sendTo(t, New(local), url, first, second); !out.Succeeded() || out.Status != 200 || verified != 2 {
		t.Errorf("%+v, verified %d times", out, verified)
	}
}

func TestARedirectIsAFailureAndNotFollowed(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	target := receive(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := receive(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, status) })
		if out := sendTo(t, New(local), url, "s"); out.Succeeded() || out.Status != status || !strings.Contains(out.Error, "redirect") {
			t.Errorf("%d: %+v", status, out)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("the target was reached %d times", reached.Load())
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	url := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("bad\x00\xff\n\u202e" + strings.Repeat("ü", 10<<20))) // more than the sender reads
	})
	out := sendTo(t, New(local), url, "s")
	if len(out.Excerpt) > hearth.MaxAttemptText || !strings.HasPrefix(out.Excerpt, "bad? ü") || out.Error != "the receiver answered 500" {
		t.Errorf("%q %q", out.Error, out.Excerpt)
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "99999999": 24 * time.Hour, "Sun, 01 Mar 2026 12:01:00 GMT": time.Minute,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// names answers questions for addresses, a different one each time, as who rebinds a name does.
func names(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	var asked atomic.Int64
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(buffer[:n]) != nil || len(message.Questions) != 1 {
				continue
			}
			question := message.Questions[0]
			message.Response, message.Additionals = true, nil
			for _, text := range []string{addresses[int(asked.Load())%len(addresses)]} {
				addr := netip.MustParseAddr(text)
				header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class}
				switch {
				case question.Type == dnsmessage.TypeA && addr.Is4():
					message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
				case question.Type == dnsmessage.TypeAAAA && addr.Is6():
					message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
				}
			}
			if question.Type == dnsmessage.TypeAAAA {
				asked.Add(1)
			}
			if packed, err := message.Pack(); err == nil {
				_, _ = server.WriteTo(packed, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// Whatever a name led to when the webhook was made: the address that is dialed counts.
func TestANameThatLeadsInsideIsNotDialed(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	inside := receive(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(inside, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	url := "http://rebound.example:" + port + "/"
	for _, address := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"} {
		out := sendTo(t, New(Options{Resolver: names(t, address)}), url, "s")
		if out.Succeeded() || !strings.Contains(out.Error, "not public") || strings.Contains(out.Error, address) {
			t.Errorf("%s: %+v", address, out)
		}
	}
	if reached.Load() != 0 {
		t.Errorf("the server inside was reached %d times", reached.Load())
	}
	allowed := New(Options{Resolver: names(t, "127.0.0.1"), AllowHosts: []string{"rebound.example"}})
	if out := sendTo(t, allowed, url, "s"); !out.Succeeded() || reached.Load() != 1 {
		t.Errorf("an allowed host: %+v", out)
	}
}

func TestErrorsSayWhatIsWrongWithoutAddresses(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	closing := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	})
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	for url, want := range map[string]string{
		dead.URL: "the connection was refused", closing: "the connection was closed", secure.URL: "tls: failed to verify certificate",
	} {
		if out := sendTo(t, New(local), url, "s"); !strings.HasPrefix(out.Error, want) || strings.Contains(out.Error, "127.0.0.1") && url != secure.URL {
			t.Errorf("%s: %q", url, out.Error)
		}
	}
}
