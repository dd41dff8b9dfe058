package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// scripts returns the blocks of a language in a page of the documentation.
func scripts(t *testing.T, page, language string) (blocks []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	// Blocks of lists are indented.
	for _, found := range regexp.MustCompile("(?ms)^ *```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(string(content), -1) {
		blocks = append(blocks, found[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return blocks
}

// runScript runs a script of the documentation against a server, and returns what it prints.
func runScript(t *testing.T, s *server, script string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), append(env, "H="+s.url+"/api/v1")...)
	if s.trusts != "" {
		cmd.Env = append(cmd.Env, "CURL_CA_BUNDLE="+s.trusts)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the script ends with %v:\n%s", err, out)
	}
	return string(out)
}

// From the provisioning key to the answered command, as the documentation says, on one machine and through nginx to two instances.
func TestTheScriptOfTheFirstDeviceRuns(t *testing.T) {
	t.Parallel()
	script := scripts(t, "guides/first-device.md", "bash")[0]
	inBothModes(t, func(t *testing.T, s *server) {
		of := s
		if len(s.members) > 0 {
			of = s.members[0]
		}
		cmd := command(of.dir, "user", "create", "--email", "maker@example.com", "--name", "Maker", "--role", "admin", "--password-stdin")
		cmd.Env, cmd.Stdin = append(cmd.Env, of.env...), strings.NewReader(password)
		mustRun(t, cmd)
		lines := strings.Split(strings.TrimSpace(runScript(t, s, script, "EMAIL=maker@example.com", "PASSWORD="+password)), "\n")
		for i, want := range []string{
			`"state":"succeeded","result":{"blinks":3}`, `"action":"twin.update"`, `"action":"command.create"`,
			`"desired_version":1,"reported_version":0,"delta":{"level":3}`, `"state":"succeeded"`,
		} {
			if len(lines) != 5 || !strings.Contains(lines[i], want) {
				t.Errorf("line %d lacks %s:\n%s", i+1, want, strings.Join(lines, "\n"))
			}
		}
	})
}
