package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/testserver"
)

// front is a real nginx with the configuration of deploy/nginx before some upstreams.
type front struct {
	t    *testing.T
	dir  string
	addr string
	url  string
	// plain is the address that sends people on to HTTPS.
	plain string
	tls   *tls.Config
	log   *lockedBuffer
	cmd   *exec.Cmd
	ended chan struct{}
}

// edit is one change to the files of the configuration, as an operator makes it; what it replaces must be there.
type edit struct{ file, from, to string }

// newFront starts nginx before the upstreams (host:port each) and stops it at the end of the test.
func newFront(t *testing.T, upstreams []string, edits ...edit) *front {
	t.Helper()
	f := &front{t: t, dir: t.TempDir(), addr: testserver.FreeAddr(t), plain: testserver.FreeAddr(t), log: &lockedBuffer{}}
	f.url = "https://" + f.addr
	if err := os.CopyFS(f.dir, os.DirFS("../deploy/nginx")); err != nil {
		t.Fatal(err)
	}
	f.tls = certify(t, f.dir)
	var servers strings.Builder
	for _, addr := range upstreams {
		fmt.Fprintf(&servers, "server %s max_fails=2 fail_timeout=2s;\n", addr)
	}
	f.edit("nginx.conf", "user www-data;", "")
	f.edit("nginx.conf", "worker_processes auto;", "worker_processes 2;")
	f.edit("nginx.conf", "worker_rlimit_nofile 131072;", "")
	f.edit("nginx.conf", "worker_connections 32768;", "worker_connections 4096;")
	f.edit("site/upstream.conf", "    server 127.0.0.1:8080 max_fails=2 fail_timeout=2s;\n", servers.String())
	f.edit("site/upstream.conf", "    server 127.0.0.1:8081 max_fails=2 fail_timeout=2s;\n", "")
	f.edit("site/server.conf", "listen 443 ", "listen "+f.addr+" ")
	f.edit("site/server.conf", "listen [::]:443 ssl http2 default_server;\n", "")
	f.edit("site/server.conf", "/etc/nginx/tls/", f.dir+"/")
	f.edit("site/server.conf", "/var/log/nginx/", f.dir+"/")
	f.edit("site/redirect.conf", "listen 80 ", "listen "+f.plain+" ")
	f.edit("site/redirect.conf", "    listen [::]:80 default_server;\n", "")
	for _, e := range edits {
		f.edit(e.file, e.from, e.to)
	}
	f.start()
	return f
}

func (f *front) edit(name, from, to string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), from) {
		f.t.Fatalf("%s does not say %q: %v", name, from, err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), from, to)), fs.FileMode(0o600)); err != nil {
		f.t.Fatal(err)
	}
}

// serveDevices has nginx serve devices at the address, as an operator removes the signs of comments.
func serveDevices(addr, first, second string) []edit {
	const file = "site/devices.conf"
	return []edit{
		{file, "#load_module modules/", "load_module /usr/lib/nginx/modules/"},
		{file, "\n#stream", "\nstream"},
		{file, "\n#    ", "\n    "},
		{file, "\n#}", "\n}"},
		{file, "listen 8883 ", "listen " + addr + " "},
		{file, "127.0.0.1:1883", first},
		{file, "127.0.0.1:1884", second},
		{file, "/etc/nginx/tls/", ""}, // next to nginx.conf
	}
}

// certify writes a certificate for the loopback into a folder (tls.crt, tls.key), and returns a client's settings that trust it.
func certify(t *testing.T, dir string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hearth"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	pool.AppendCertsFromPEM(certPEM)
	for name, data := range map[string][]byte{
		"tls.crt": certPEM, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &tls.Config{RootCAs: pool}
}

// start runs nginx in the foreground, so that it is one process to wait for, with everything that it writes in the test's folder.
func (f *front) start() {
	f.t.Helper()
	directives := []string{"daemon off", "pid " + f.dir + "/nginx.pid"}
	if os.Geteuid() == 0 {
		directives = append(directives, "user root") // the folders of tests are their owner's alone
	}
	paths := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += kind + "_temp_path " + f.dir + "/tmp-" + kind + ";\n"
	}
	f.edit("nginx.conf", "server_tokens off;", "server_tokens off;\n"+paths)
	f.cmd = exec.Command(nginxPath(), "-p", f.dir, "-c", filepath.Join(f.dir, "nginx.conf"), "-g", strings.Join(directives, "; ")+";")
	f.cmd.Stdout, f.cmd.Stderr = f.log, f.log
	if err := f.cmd.Start(); err != nil {
		f.t.Fatalf("nginx does not start (scripts/services.sh test installs it): %v", err)
	}
	f.ended = make(chan struct{})
	go func() {
		_ = f.cmd.Wait()
		close(f.ended)
	}()
	f.t.Cleanup(func() {
		_ = f.cmd.Process.Signal(syscall.SIGTERM)
		<-f.ended
		if f.t.Failed() {
			f.t.Logf("the end of nginx's log:\n%s", tail(f.log.String(), 1500))
		}
	})
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := tls.Dial("tcp", f.addr, f.tls)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-f.ended:
			f.t.Fatalf("nginx ended:\n%s", f.log)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("nginx does not answer: %v\n%s", err, f.log)
		}
	}
}

// nginxPath finds the program: Debian has it where only root's PATH looks.
func nginxPath() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx"
}

// transport makes connections to nginx: HTTP/1.1, with as many kept as a test has clients.
func (f *front) transport() *http.Transport {
	t := &http.Transport{TLSClientConfig: f.tls, MaxIdleConnsPerHost: 64}
	f.t.Cleanup(t.CloseIdleConnections)
	return t
}

// before returns the server as it is reached through nginx.
func (f *front) before(t *testing.T) *server {
	return &server{t: t, url: f.url, addr: f.addr, log: f.log, transport: f.transport(), trusts: filepath.Join(f.dir, "tls.crt")}
}

// behind starts a program that trusts a proxy on the loopback, and nginx before it. direct is the program, s the same through
// nginx.
func behind(t *testing.T, env ...string) (f *front, s, direct *server) {
	t.Helper()
	direct = serve(t, append([]string{"HEARTH_TRUSTED_PROXIES=127.0.0.1"}, env...)...)
	f = newFront(t, []string{direct.addr})
	return f, f.before(t), direct
}

// raw sends bytes and returns everything that comes back until the other side closes or the time is over.
func raw(ctx context.Context, addr string, config *tls.Config, request string) (string, error) {
	var conn net.Conn
	var err error
	if config == nil {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	} else {
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return "", err
	}
	var got strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			return got.String(), nil
		}
	}
}

// counter counts what a fake upstream saw, by method.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
}

func (c *counter) add(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[method]++
}

func (c *counter) of(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[method]
}
