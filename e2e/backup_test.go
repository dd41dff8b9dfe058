package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/testserver"
)

const (
	backupKills  = 8
	restoreKills = 8
	backupLogs   = 300_000
)

// command prepares a command of the program on a data directory.
func command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "HEARTH_DATA_DIR="+dir, "HEARTH_BCRYPT_COST=4", "HEARTH_ADDR=127.0.0.1:0", "HEARTH_ADMIN_ADDR=off")
	return cmd
}

func mustRun(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args[1:], err, out)
	}
	return string(out)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// killed starts a command and kills it after a while, unless it ends before; it reports whether it was killed.
func killed(t *testing.T, cmd *exec.Cmd, after time.Duration) bool {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The moment of a crash is any moment.
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait() != nil
}

// questions are all that the analytics answer, over a range that does not move.
func questions(devices []string, from, to time.Time) []string {
	span := "from=" + from.Format(time.RFC3339) + "&to=" + to.Format(time.RFC3339)
	all := []string{
		"/analytics/dashboard?" + span, "/analytics/events?" + span, "/analytics/comparison?device_ids=" + strings.Join(devices, ",") + "&" + span,
		"/devices?sort=name&limit=200&count=true",
	}
	for _, step := range []string{"minute", "hour", "day"} {
		all = append(all, "/analytics/trends?interval="+step+"&"+span, "/analytics/trends?event=power&interval="+step+"&"+span)
	}
	for _, id := range devices {
		all = append(all, "/devices/"+id+"/usage?interval=hour&"+span, "/devices/"+id+"/logs?limit=200&"+span)
	}
	// Ranges that cut hours and days.
	cut := "from=" + from.Add(7*time.Hour+13*time.Minute).Format(time.RFC3339) + "&to=" + to.Add(-5*time.Hour-41*time.Minute).Format(time.RFC3339)
	return append(all, "/analytics/dashboard?"+cut, "/analytics/events?"+cut)
}

// halfRestored reports whether a store says that it is half restored; one that does must not be used, and any other must be empty
// or whole.
func halfRestored(t *testing.T, dir string) bool {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "hearth.db")); err != nil {
		return false // not begun
	}
	out, err := command(dir, "audit", "verify").CombinedOutput()
	if err == nil {
		return false
	}
	if !bytes.Contains(out, []byte("half restored")) {
		t.Fatalf("a store whose restore was killed does not say so: %s", out)
	}
	if out, err := command(dir, "serve").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("half restored")) {
		t.Fatalf("a half restored store is served from: %v, %s", err, out)
	}
	return true
}

// A backup that is killed leaves no archive; a restore that is killed leaves a store that is not served from, and goes on when
// it is called again; what is restored answers every question as before.
func TestBackupsAndRestoresSurviveBeingKilled(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_ACCESS_TTL=12h")
	ann, _ := s.signup("ann@example.com")
	devices := []string{ann.device("one"), ann.device("two"), ann.device("three")}
	to := time.Now().UTC().Truncate(24 * time.Hour)
	from := to.Add(-40 * 24 * time.Hour)
	step := to.Sub(from) / backupLogs
	for n := 0; n < backupLogs; n += 10_000 {
		items := make([]map[string]any, 10_000)
		for i := range items {
			at := n + i
			items[i] = map[string]any{
				"device_id": devices[at%3], "event": []string{"power", "temperature"}[at/3%2],
				"value": float64((at*7919)%4000-2000) / 4, // quarters: their sums are exact in any order
				// Not in order of time.
				"timestamp": from.Add(time.Duration((at*104_729)%backupLogs) * step),
			}
		}
		ann.do("POST", "/logs", items, 201)
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	archive := filepath.Join(t.TempDir(), "whole.tar")
	began := time.Now()
	mustRun(t, command(s.dir, "backup", "create", archive))
	took := time.Since(began)
	mustRun(t, command(s.dir, "backup", "verify", archive))

	cut := 0
	for i := range backupKills {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.tar", i))
		if killed(t, command(s.dir, "backup", "create", path), time.Duration(rng.Int64N(int64(took)))) {
			cut++
		}
		if _, err := os.Stat(path); err == nil {
			mustRun(t, command(s.dir, "backup", "verify", path))
		}
	}
	if cut == 0 {
		t.Error("no backup was killed: the test tested nothing")
	}

	restore := func(to string) *exec.Cmd { return command(s.dir, "backup", "restore", archive, "--to", "sqlite:"+to) }
	began = time.Now()
	mustRun(t, restore(filepath.Join(t.TempDir(), "whole")))
	took = time.Since(began)
	restored, refused := "", 0
	for i := range restoreKills {
		dir := filepath.Join(t.TempDir(), "restored")
		// At moments all over a restore; every other time also in the restore that goes on with it.
		for range 1 + i%2 {
			killed(t, restore(dir), took*time.Duration(i+1)/(restoreKills+1))
		}
		if halfRestored(t, dir) {
			restored = dir
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("no restore was killed half-way: the test tested nothing")
	}
	t.Logf("%d backups were killed; %d of %d times a half restored store was refused", cut, refused, restoreKills)
	mustRun(t, restore(restored))

	second := &server{t: t, addr: testserver.FreeAddr(t), dir: restored}
	second.url = "http://" + second.addr
	second.start()
	t.Cleanup(second.stop)
	again, _ := second.login("ann@example.com", password)
	for _, question := range questions(devices, from, to) {
		want, got := ann.do("GET", question, nil, 200), again.do("GET", question, nil, 200)
		if !bytes.Equal(want.Body, got.Body) {
			t.Errorf("%s: the restored instance answers otherwise:\n%.600s\n%.600s", question, want.Body, got.Body)
		}
	}
}
