package hearth_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdFence   = regexp.MustCompile("(?ms)^```.*?\n```")
	mdHeading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	notSlug   = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// anchors returns the anchors of a page's headings.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, found := range mdHeading.FindAllStringSubmatch(mdFence.ReplaceAllString(page, ""), -1) {
		slug := notSlug.ReplaceAllString(strings.ToLower(found[1]), "")
		all[strings.ReplaceAll(slug, " ", "-")] = true
	}
	return all
}

func TestEveryLinkOfTheDocumentationLeadsSomewhere(t *testing.T) {
	t.Parallel()
	pages := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	err := fs.WalkDir(os.DirFS("."), "docs", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".md" {
			pages = append(pages, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return string(content)
	}
	links := 0
	for _, page := range pages {
		for _, found := range mdLink.FindAllStringSubmatch(mdFence.ReplaceAllString(read(page), ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			to := page
			if target != "" {
				to = filepath.Join(path.Dir(page), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, found[1])
				continue
			}
			if strings.HasPrefix(page, "docs/") && !strings.HasPrefix(to, "docs/") {
				t.Errorf("%s links to %s, which the static site does not hold", page, found[1])
			}
			if anchor != "" && !anchors(read(to))[anchor] {
				t.Errorf("%s links to %s, a heading that does not exist", page, found[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links: the test lost its targets", links)
	}
}

// The reference pages list what the program has: every error code, and every metric.
func TestTheReferenceOfTheDocumentationIsComplete(t *testing.T) {
	t.Parallel()
	listed := func(page string) map[string]bool {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{}
		for _, found := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllSubmatch(content, -1) {
			all[string(found[1])] = true
		}
		return all
	}
	metrics, codes := listed("docs/reference/metrics.md"), listed("docs/reference/errors.md")
	used := map[string]bool{}
	err := fs.WalkDir(os.DirFS("."), "internal", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := os.ReadFile(name)
		for _, found := range regexp.MustCompile(`"hearth_([a-z_]+[a-z])"`).FindAllSubmatch(source, -1) {
			used[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(used, "centrifuge") // the prefix of another library's metrics
	for name := range used {
		if !metrics[name] {
			t.Errorf("docs/reference/metrics.md does not list %s", name)
		}
	}
	source, err := os.ReadFile("error.go")
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`Code\s+= "([a-z_]+)"`).FindAllSubmatch(source, -1)
	for _, found := range known {
		if !codes[string(found[1])] {
			t.Errorf("docs/reference/errors.md does not list %s", found[1])
		}
	}
	if len(used) < 40 || len(known) < 20 {
		t.Errorf("only %d metrics and %d codes: the test lost its targets", len(used), len(known))
	}
}

// Every collection of MongoDB is listed: those of records, and those that the store names itself, but collOld… of earlier schemas.
func TestTheReferenceOfTheDocumentationListsEveryCollection(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/reference/mongodb.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_`, ]+)").FindAllSubmatch(page, -1) {
		for _, name := range regexp.MustCompile("[a-z_]+").FindAll(row[1], -1) {
			listed[string(name)] = true
		}
	}
	names := map[string]bool{}
	for folder, pattern := range map[string]string{
		"internal/store/record": `Name: "([a-z_]+)", Noun: `, "internal/store/mongodb": `\bcoll[A-NP-Z]\w*\s*= "([a-z_]+)"`,
	} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range regexp.MustCompile(pattern).FindAllSubmatch(source, -1) {
				names[string(found[1])] = true
			}
		}
	}
	delete(names, "idempotency") // records in commits
	delete(names, "things")      // the example of a comment
	for name := range names {
		if !listed[name] {
			t.Errorf("docs/reference/mongodb.md does not list %s", name)
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d collections: the test lost its targets", len(names))
	}
}

// Every page can be reached: from the overview, or from the list of decisions; and it is in the side bar of the static site.
func TestEveryPageOfTheDocumentationIsListed(t *testing.T) {
	t.Parallel()
	lists := map[string]string{}
	for _, list := range []string{"docs/overview.md", "docs/decisions.md", "scripts/docs-site/config.mjs"} {
		content, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		lists[list] = string(content)
	}
	err := fs.WalkDir(os.DirFS("docs"), ".", func(name string, _ fs.DirEntry, err error) error {
		page, isPage := strings.CutSuffix(name, ".md")
		switch {
		case !isPage || page == "overview":
		case strings.HasPrefix(page, "adr/"):
			if !strings.Contains(lists["docs/decisions.md"], "("+name+")") {
				t.Errorf("docs/decisions.md does not link to %s", name)
			}
		default:
			if !strings.Contains(lists["docs/overview.md"], "("+name+")") {
				t.Errorf("docs/overview.md does not link to %s", name)
			}
			if !strings.Contains(lists["scripts/docs-site/config.mjs"], "'/"+page+"'") {
				t.Errorf("the side bar of the site does not list %s", name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every test that a page names is there, and each row of a table with a column of tests names one.
func TestWhatTheDocumentationNamesAsAProofIsThere(t *testing.T) {
	t.Parallel()
	known := proofs(t)
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*|make [a-z-]+)[ `]")
	rows := 0
	err := fs.WalkDir(os.DirFS("docs"), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".md" {
			return err
		}
		page, err := os.ReadFile(filepath.Join("docs", name))
		heading, tested := "", false
		for line := range strings.Lines(string(page)) {
			for _, proof := range named.FindAllStringSubmatch(line, -1) {
				if !known[proof[1]] {
					t.Errorf("docs/%s names %s, which is not there", name, proof[1])
				}
			}
			switch {
			case strings.HasPrefix(line, "## "):
				heading = line
			case strings.HasSuffix(line, "| test |\n"):
				tested = !strings.HasPrefix(heading, "## OWASP") // their rows may say n/a; see the test of the security model
			case !strings.HasPrefix(line, "| "):
				tested = false
			case tested && !strings.HasPrefix(line, "| ---"):
				if rows++; !named.MatchString(line) {
					t.Errorf("docs/%s: a row names no test: %s", name, line)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if rows < 80 {
		t.Errorf("only %d rows: the test lost its targets", rows)
	}
}
