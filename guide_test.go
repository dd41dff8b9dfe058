package hearth_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// proofs are what a guide may name as a proof: the tests of this module and the targets of its Makefile.
func proofs(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	tests := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(name)
		for _, found := range tests.FindAllSubmatch(source, -1) {
			all[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllSubmatch(makefile, -1) {
		all["make "+string(found[1])] = true
	}
	return all
}

// The tables of docs/reference/security.md say where each thing that is met stands, and which test shows it; both are there.
func TestEveryClaimOfTheSecurityGuideNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("docs/reference/security.md")
	if err != nil {
		t.Fatal(err)
	}
	known := proofs(t)
	quoted := regexp.MustCompile("`([^`]+)`")
	isProof := regexp.MustCompile(`^((Test|Fuzz|Benchmark)[A-Z]\w*|make [a-z-]+)$`)
	isPath := regexp.MustCompile(`^((internal|docs|e2e|scripts|deploy|cmd|client|bench)/[\w./-]+|[\w./-]+\.go|Makefile)$`)
	// names counts the paths and the proofs that a text names, and fails the test for one that is not there.
	names := func(text string) (paths, shown int) {
		for _, found := range quoted.FindAllStringSubmatch(text, -1) {
			switch name := found[1]; {
			case isProof.MatchString(name):
				if shown++; !known[name] {
					t.Errorf("docs/reference/security.md names %s, which is not there", name)
				}
			case isPath.MatchString(name):
				paths++
				if _, err := os.Stat(path.Clean(name)); err != nil {
					t.Errorf("docs/reference/security.md names %s: %v", name, err)
				}
			}
		}
		return paths, shown
	}
	names(string(guide))
	rows := 0
	for _, title := range []string{"\n## OWASP ASVS", "\n## OWASP API"} {
		_, section, found := strings.Cut(string(guide), title)
		if !found {
			t.Fatalf("there is no section %q", title)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for line := range strings.Lines(section) {
			cells := strings.Split(strings.Trim(line, "|\n "), "|")
			if len(cells) < 3 || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| section") || strings.HasPrefix(line, "| risk") {
				continue
			}
			verdict := strings.TrimSpace(cells[1])
			if title == "\n## OWASP ASVS" && (verdict == "n/a" || strings.HasPrefix(verdict, "**not met**") && !strings.HasSuffix(verdict, "in part")) {
				continue
			}
			rows++
			if paths, shown := names(line); paths == 0 || shown == 0 {
				t.Errorf("the row %q names %d files and %d tests", strings.TrimSpace(cells[0]), paths, shown)
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows: the test lost its targets", rows)
	}
}
