package e2e

import (
	"bufio"
	_ "embed"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/internal/testserver"
)

// notRun are the blocks of shell that TestEveryCommandOfTheDocumentationRuns does not run, by page and the beginning of the block, and
// the reason.
var notRun = []struct{ page, begins, reason string }{
	{"README.md", "make run ", "runs all tests"},
	{"CONTRIBUTING.md", "make ", "builds the program, and runs all tests"},
	{"docs/quickstart.md", "bin/hearth simulate", "asks for a password on a terminal; TestSimulateSaysHowItGoesUntilItIsStopped"},
	{"docs/guides/first-device.md", "", "TestTheScriptOfTheFirstDeviceRuns runs it"},
	{"docs/guides/alarms.md", "H=", "TestTheScriptOfTheGuideOfAlarmsRuns runs it"},
	{"docs/guides/alarms.md", "set -euo", "TestTheScriptOfTheGuideOfAlarmsRuns runs it"},
	{"docs/mqtt.md", "", "TestTheLinesOfThePageAboutMQTTRun runs them, with certificates"},
	{"docs/guides/webhooks.md", "go mod init", "loads a module; TestTheReceiverOfTheGuideRuns"},
	{"docs/guides/notifications.md", "curl -s -X POST $H/users/me/notification-channels/01a228fb-83b9-7439-b9c7-80f96a1d9611/rotate", "of a channel of the kind webhook"},
	{"docs/guides/clients.md", "go mod edit", "of another module; TestTheGoClient"},
	{"docs/guides/console.md", "make console ", "needs npm; make console-check"},
	{"docs/guides/operations.md", "echo HEARTH_BACKUP", "needs systemd; make deploy-check"},
	{"docs/guides/operations.md", "hearth doctor", "finds fault with the quick password hashes of tests"},
	{"docs/guides/operations.md", "$ hearth backup verify", "shows a session; TestBackupsAndRestoresSurviveBeingKilled"},
	{"docs/guides/fleet.md", "cd deploy", "needs Docker; make deploy-check"},
	{"docs/guides/fleet.md", "mkdir -p /etc/nginx", "needs root; the tests of nginx run its files"},
	{"docs/guides/fleet.md", "mkdir -p /var/lib/redis", "needs MongoDB; make test-fleet"},
	{"docs/guides/backup.md", "hearth migrate", "needs MongoDB; TestAStoreMovesIntoAnother"},
	{"docs/guides/backup.md", "export HEARTH_DATA_DIR", "needs Litestream; make litestream-check"},
	{"docs/guides/backup.md", "litestream restore", "needs Litestream; make litestream-check"},
	{"docs/guides/import.md", "hearth import hearth-logs", "names files of exports; TestEveryFactOfRealDataComesBack"},
	{"docs/guides/export.md", "curl -sOJ", "needs the end of an export; TestAFileIsHandedOutInPartsCountedAndGoneWithItsExport"},
	{"docs/guides/grafana.md", "grafana-cli", "needs Grafana"},
	{"docs/guides/grafana.md", "HEARTH_URL", "an environment of Grafana"},
	{"docs/performance.md", "make compare", "measures for ten minutes"},
	{"docs/reference/api.md", "npx ", "needs npm; make openapi-generate"},
	{"docs/reference/api.md", "go run ", "loads a generator; make openapi-generate"},
	{"docs/reference/mongodb.md", "HEARTH_STORE_URL", "names a replica set; make test-fleet"},
}

// preludes are what a page takes for granted before its first block.
var preludes = map[string]string{
	"docs/guides/security.md": `printf 'another battery' >password.txt
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -keyout "$WORK/etc/hearth/key.pem" -out "$WORK/etc/hearth/cert.pem" 2>/dev/null
chmod 600 "$WORK/etc/hearth/key.pem"`,
	"docs/scaling.md": `mkdir "$WORK/etc/mosquitto"`,
}

// docsShell has the commands of a reader, who runs servers in another terminal and ends streams.
//
//go:embed testdata/docs.sh
var docsShell string

// docsPage is what a page has readers do.
type docsPage struct {
	name   string
	blocks []docsBlock
	// files are those that it says to save, by name.
	files map[string]string
}

// docsBlock is a block of shell, and what the page says that it prints.
type docsBlock struct{ begins, script, language, prints string }

var (
	docsFence = regexp.MustCompile("(?ms)^( *)```([a-z]*)\n(.*?)\n *```$")
	docsSave  = regexp.MustCompile("Save this as `([a-z.]+)`")
)

func readDocsPage(t *testing.T, name string) docsPage {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	page, text, end, afterShell := docsPage{name: name, files: map[string]string{}}, string(content), 0, false
	for _, at := range docsFence.FindAllStringSubmatchIndex(text, -1) {
		language, body, between := text[at[4]:at[5]], text[at[6]:at[7]]+"\n", text[end:at[0]]
		body = strings.ReplaceAll("\n"+body, "\n"+text[at[2]:at[3]], "\n")[1:]
		isShell := language == "sh" || language == "bash" || language == "console"
		switch saved := docsSave.FindStringSubmatch(between); {
		case isShell:
			begins, _, _ := strings.Cut(body, "\n")
			page.blocks = append(page.blocks, docsBlock{begins: begins, script: body})
		case saved != nil:
			page.files[saved[1]] = body
		case afterShell && strings.TrimSpace(between) == "" && (language == "json" || language == "text"):
			last := &page.blocks[len(page.blocks)-1]
			last.language, last.prints = language, body
		}
		end, afterShell = at[1], isShell
	}
	return page
}

// Every block of shell in README.md and docs/ runs, in the order of its page, and prints what the page says; or notRun says why not.
func TestEveryCommandOfTheDocumentationRuns(t *testing.T) {
	t.Parallel()
	pages := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md"}
	err := fs.WalkDir(os.DirFS(".."), "docs", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			pages = append(pages, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ran, excused := 0, map[int]bool{}
	for _, name := range pages {
		page := readDocsPage(t, name)
		page.blocks = slices.DeleteFunc(page.blocks, func(block docsBlock) bool {
			for i, n := range notRun {
				if n.page == name && strings.HasPrefix(block.begins, n.begins) {
					excused[i] = true
					return true
				}
			}
			return false
		})
		if ran += len(page.blocks); len(page.blocks) > 0 {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				page.run(t)
			})
		}
	}
	for i, n := range notRun {
		if !excused[i] {
			t.Errorf("%s has no block that begins with %q", n.page, n.begins)
		}
	}
	if ran < 80 {
		t.Errorf("only %d blocks: the test lost its targets", ran)
	}
}

// run runs the blocks in one shell and one folder, and compares what they print.
func (p docsPage) run(t *testing.T) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	api, admin := testserver.FreeAddr(t), testserver.FreeAddr(t)
	env := append(os.Environ(), "PROGRAM="+program, "ROOT="+root, "WORK="+work, "HEARTH_BCRYPT_COST=4", "HEARTH_RATE_LIMITS=off", "HEARTH_ADMIN_ADDR="+admin)
	if p.name != "README.md" && p.name != "docs/quickstart.md" { // these start their own
		s := serve(t, "HEARTH_ADMIN_ADDR="+admin, "HEARTH_WEBHOOK_ALLOW=127.0.0.1", "HEARTH_ACCESS_TTL=12h")
		api = s.addr
		create := command(s.dir, "user", "create", "--email", "ann@example.com", "--name", "Ann", "--role", "admin", "--password-stdin")
		create.Stdin = strings.NewReader("correct horse battery")
		mustRun(t, create)
		ann, l := s.login("ann@example.com", "correct horse battery")
		env = append(env, "HEARTH_ADDR="+s.addr, "HEARTH_DATA_DIR="+s.dir, "H="+s.url+"/api/v1", "J=Content-Type: application/json",
			"A=Authorization: Bearer "+l.AccessToken, "TOKEN="+l.AccessToken, "DEVICE="+ann.device("kitchen"))
	}
	port := func(addr string) string { _, port, _ := net.SplitHostPort(addr); return port }
	place := []string{
		"127.0.0.1:8080", api, "127.0.0.1:9090", admin, "9998", port(testserver.FreeAddr(t)),
		" /etc/", " " + work + "/etc/", "=/etc/", "=" + work + "/etc/", "/var/lib/", work + "/var/lib/",
	}
	switch p.name {
	case "docs/guides/integrations.md":
		mosquitto := testserver.StartMosquitto(t).Addr()
		place = append([]string{"127.0.0.1:1883", mosquitto, "-h localhost", "-h 127.0.0.1 -p " + port(mosquitto)}, place...)
	case "docs/guides/fleet.md":
		place = append([]string{
			"mongodb://127.0.0.1:27017/hearth?replicaSet=rs0", testserver.MongoDB(t), "redis://127.0.0.1:6379/0", testserver.StartRedis(t).URL(),
		}, place...)
	}
	for name, content := range p.files {
		write(t, work, name, strings.NewReplacer(place...).Replace(content))
	}
	shell := startDocsShell(t, work, env)
	shell.run(docsShell + preludes[p.name])
	for _, block := range p.blocks {
		script := strings.NewReplacer(place...).Replace(block.script)
		if strings.HasPrefix(block.prints, "hearth: ") {
			script = "(\nset +e\n" + script + "true\n)\n" // it is refused, as the page says
		}
		printed := shell.run(script)
		// What a job or another process does meanwhile is asked for again until it is done.
		for deadline := time.Now().Add(30 * time.Second); block.lacks(printed) != "" && block.mayRepeat() && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
			printed = shell.run(script)
		}
		if lack := block.lacks(printed); lack != "" {
			t.Errorf("%s: %s\nlacks %q; it prints\n%s", p.name, block.script, lack, printed)
		}
		if refusal := "urn:hearth:error:"; strings.Contains(printed, refusal) && !strings.Contains(block.prints, refusal) {
			t.Errorf("%s: %s\nis refused:\n%s", p.name, block.script, printed)
		}
		place = append(place, block.copied(printed)...)
	}
}

// docsSession is a shell that runs one script after the other.
type docsSession struct {
	t    *testing.T
	work string
	in   *os.File
	out  *bufio.Reader
	runs int
}

func startDocsShell(t *testing.T, work string, env []string) *docsSession {
	t.Helper()
	reader, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("bash")
	shell.Dir, shell.Env, shell.Stdin, shell.Stdout, shell.Stderr = work, env, reader, writer, writer
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = reader.Close(), writer.Close()
	t.Cleanup(func() {
		_ = in.Close() // the shell ends, and what it started
		_ = shell.Wait()
		_ = out.Close()
	})
	return &docsSession{t: t, work: work, in: in, out: bufio.NewReader(out)}
}

// run runs a script and returns what it prints. A command that fails ends the test.
func (s *docsSession) run(script string) string {
	s.t.Helper()
	s.runs++
	name, mark := ".block"+strconv.Itoa(s.runs), "<<< "+strconv.Itoa(s.runs)+"\n"
	write(s.t, s.work, name, script)
	if _, err := s.in.WriteString(". ./" + name + " </dev/null; echo; echo '" + mark[:len(mark)-1] + "'\n"); err != nil {
		s.t.Fatal(err)
	}
	var printed strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if line == mark {
			return printed.String()
		}
		printed.WriteString(line)
		if err != nil {
			s.t.Fatalf("%s\nfails:\n%s", script, printed.String())
		}
	}
}

var (
	docsPair    = regexp.MustCompile(`"[a-z_][a-z_0-9]*":("[a-z][a-z_]*"|true|false|null)?`)
	docsCopied  = regexp.MustCompile(`"([a-z_]+)":"([^"]*)"`)
	docsVarying = regexp.MustCompile(`[\w-]*\d[\w-]{12,}|\d+(\.\d+)?([mµ]?s\b)?`)
	docsSpace   = regexp.MustCompile(`[ \t]+`)
)

// mayRepeat reports whether a block changes nothing, or sends a test.
func (b docsBlock) mayRepeat() bool {
	changes := strings.Contains(b.script, " -d ") || strings.Contains(b.script, " -X ") && !strings.Contains(b.script, "/test -H")
	return strings.HasPrefix(b.script, "curl ") && !changes
}

// copied returns pairs of identifiers and tokens that a page shows and that were printed in their place: readers copy them.
func (b docsBlock) copied(printed string) (pairs []string) {
	if b.language != "json" {
		return nil
	}
	for _, shown := range docsCopied.FindAllStringSubmatch(b.prints, -1) {
		if len(shown[2]) < 16 || strings.ContainsAny(shown[2], " …") {
			continue
		}
		if got := regexp.MustCompile(`"` + shown[1] + `":"([^"]*)"`).FindStringSubmatch(printed); got != nil {
			pairs = append(pairs, shown[2], got[1])
		}
	}
	return pairs
}

// lacks returns what the page says that a block prints and that it does not print: a key of JSON, with its value if that is a word,
// or a line of text, in which numbers, times and identifiers may differ. What stands for … may be anything.
func (b docsBlock) lacks(printed string) string {
	if b.language == "json" {
		for _, pair := range docsPair.FindAllString(b.prints, -1) {
			if !strings.Contains(printed, pair) {
				return pair
			}
		}
		return ""
	}
	usual := func(text string) string {
		return docsSpace.ReplaceAllString(docsVarying.ReplaceAllString(text, "0"), " ")
	}
	printed = usual(printed)
	for line := range strings.Lines(b.prints) {
		for part := range strings.SplitSeq(strings.TrimSpace(usual(line)), "…") {
			if !strings.Contains(printed, strings.TrimSpace(part)) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}
