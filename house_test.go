package hearth_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The rules of the house: who may import whom, and what every file and package keeps. docs/architecture.md tells why.
const (
	modulePath = "hearth"

	maxFileLines = 600
	maxMainLines = 40
)

// The packages by their part in the house. A new package goes into one of these lists.
var (
	capabilities = []string{
		"internal/core/account", "internal/core/archive", "internal/core/orgs", "internal/core/devices", "internal/core/telemetry",
		"internal/core/analytics", "internal/core/exports", "internal/core/notify", "internal/core/audit", "internal/core/commands", "internal/core/twins",
		"internal/core/provision", "internal/core/webhooks", "internal/core/alarms", "internal/core/integrations",
	}
	ports = []string{"internal/kv", "internal/queue", "internal/blob", "internal/mail", "internal/bus"}
	// homes are the folders whose subfolders are the adapters of one port. The port of internal/store is the root.
	homes = append([]string{"internal/store"}, ports...)
	// logEngine is the engine whose backends the adapters of the store are.
	logEngine = "internal/tsdb"
	// storeRecords are the aggregates, over a backend that each store is.
	storeRecords = "internal/store/record"
	// storeArchive is the form in which the content of a store leaves it and comes back.
	storeArchive = "internal/store/archive"
	// throughput is the counting that capabilities share; keyFile the files of keys, of account, sealer and app.
	throughput = "internal/throughput"
	keyFile    = "internal/keyfile"
	// auditedChanges change what is stored, sealedFields encrypt parts of it, for capabilities.
	auditedChanges = "internal/audited"
	sealedFields   = "internal/sealed"
	// guardedHTTP makes requests to URLs that users give, for webhooks and notify.
	guardedHTTP = "internal/guardedhttp"
	// redisConn is the connection that the adapters to Redis share; busPort is the one way between processes, over Redis redisBus.
	redisConn = "internal/redisconn"
	busPort   = "internal/bus"
	redisBus  = "internal/bus/redisbus"
	// machines are the small tools that every package below internal/ may use.
	machines = []string{"internal/boundedcache", "internal/groupcommit", "internal/jsonobject", "internal/keymutex", "internal/newid", "internal/timetext", "internal/cause", "internal/editdistance"}
	// badNames say nothing of what a package does.
	badNames = []string{"utils", "util", "common", "helpers", "helper", "types", "misc", "base", "shared"}
)

// mayImport returns the packages of this module that dir may import, each as a folder relative to the root ("." is the
// root). A name that ends in "/..." stands for itself and everything below.
func mayImport(dir string) []string {
	const root = "."
	switch {
	case dir == root:
		return nil
	case strings.HasPrefix(dir, "cmd/"):
		return []string{"internal/cli"}
	case dir == "internal/app", dir == "internal/apitest":
		return []string{root, "internal/..."}
	case dir == "internal/cli":
		return []string{root, "internal/app", "internal/commandline", "internal/config", "internal/observe", "internal/importer", "internal/backup", "internal/jobadmin",
			"internal/demo", "internal/simulate", "internal/core/account"}
	case dir == "internal/judge":
		return []string{root, "internal/calendar"}
	case dir == "internal/core/integrations":
		return []string{root, "internal/dialect", auditedChanges, sealedFields}
	case dir == sealedFields:
		return []string{root, auditedChanges}
	case dir == "internal/core/alarms":
		return append([]string{root, "internal/judge", "internal/calendar"}, ports...)
	case slices.Contains(capabilities, dir):
		return append([]string{root, throughput, keyFile, "internal/calendar", guardedHTTP, auditedChanges, sealedFields}, ports...)
	case dir == "internal/api/rest":
		return []string{root, "internal/observe"}
	case dir == "internal/api/people", dir == "internal/api/admin", dir == "internal/api/timerange":
		return append([]string{root, "internal/observe", "internal/api/rest", "internal/api/timerange"}, capabilities...)
	case dir == "internal/api", dir == "internal/realtime":
		return append([]string{root, "internal/observe", "internal/calendar", busPort, dir + "/..."}, capabilities...)
	case dir == "internal/mqtt/thingsboard":
		return nil
	case dir == "internal/mqtt", dir == "internal/mqtt/mqtttest":
		return append([]string{root, busPort, "internal/mqtt/..."}, capabilities...)
	case dir == "internal/bridge":
		return append([]string{root, "internal/dialect", "internal/mqtt/packet"}, capabilities...)
	case dir == "internal/store/mongodb/steps":
		return []string{root}
	case dir == "internal/store/sqlite/sqlitetest":
		return []string{"internal/store/sqlite", "internal/testfile"}
	case dir == "internal/sealer":
		return []string{root, keyFile}
	case dir == "internal/realtime/redisbroker":
		return []string{root, redisConn, redisBus, busPort}
	case dir == "internal/figures":
		return []string{root, "internal/config", "internal/api", "internal/api/admin", "internal/realtime", "internal/observe", "internal/core/analytics", "internal/kv", busPort}
	case dir == "internal/invalidate":
		return []string{root, busPort}
	case dir == "internal/keyshare":
		return []string{root, keyFile, "internal/sealer", "internal/filelock"}
	case dir == "internal/leader":
		return []string{root, "internal/kv"}
	case dir == "internal/lifecycle":
		return []string{root}
	case dir == "internal/cleanup":
		return []string{root, "internal/queue"}
	case dir == "internal/quotas":
		return []string{root, "internal/kv"}
	case dir == "internal/meters":
		return append([]string{root}, ports...)
	case dir == "internal/mailer":
		return append([]string{root, "internal/core/..."}, ports...)
	case dir == "internal/jobadmin":
		return []string{root, "internal/api/admin", "internal/api/rest", "internal/backup", "internal/queue"}
	case dir == "internal/simulate":
		return []string{"client/go"}
	case dir == "internal/demo":
		return []string{root, "internal/importer", "internal/simulate", "internal/core/..."}
	case dir == "internal/importer":
		return []string{root, "internal/blob", "internal/filelock", "internal/core/..."}
	case dir == "internal/doctor":
		return []string{root, "internal/config", "internal/blob", "internal/backup", redisConn}
	case strings.HasPrefix(dir, logEngine):
		return []string{root, logEngine + "/..."}
	case dir == "internal/console":
		return []string{dir + "/..."}
	case dir == "internal/backup":
		return []string{root, "internal/config", "internal/filelock", "internal/blob", "internal/queue", storeRecords, storeArchive}
	case dir == "internal/store/storetest":
		return []string{root, "internal/realdata", storeArchive}
	case strings.HasPrefix(dir, "e2e"):
		return []string{root}
	}
	for _, home := range homes {
		switch {
		case home == "internal/store" && strings.HasPrefix(dir, home+"/"):
			return []string{root, home, dir + "/...", logEngine, logEngine + "/codec", storeRecords, storeArchive}
		case strings.HasPrefix(dir, home+"/redis"):
			return []string{root, home, dir + "/...", redisConn, busPort, redisBus}
		case strings.HasPrefix(dir, home+"/"):
			return []string{root, home, dir + "/...", busPort}
		}
	}
	if slices.Contains(homes, dir) {
		return []string{root}
	}
	return []string{root, dir + "/..."} // config, observe, sealer, console, or a package that no rule knows yet
}

// outside are the packages of others that the root may import beside the standard library.
var outside = map[string][]string{".": {"github.com/google/uuid", "golang.org/x/net/idna", "golang.org/x/text/unicode/norm"}}

// heavy are packages that look up methods by name: the linker then keeps every exported method of every type, 17 MB of the program.
var heavy = []string{"text/template", "html/template", "github.com/alecthomas/kong", "github.com/expr-lang/expr"}

// TestTheHouse holds the whole tree against the rules.
func TestTheHouse(t *testing.T) {
	t.Parallel()
	problems, packages, err := inspect(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
	for _, want := range []string{".", "cmd/hearth", "internal/config", "internal/observe", "internal/cli"} {
		if !slices.Contains(packages, want) {
			t.Errorf("the inspection did not see %s", want)
		}
	}
}

// inspect returns what breaks a rule in tree, one sentence each, and the packages it saw.
func inspect(tree fs.FS) (problems, packages []string, err error) {
	documented := map[string]bool{}
	err = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return descend(tree, name, entry.Name())
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		problems = append(problems, checkSize(name, source, file)...)
		if strings.HasSuffix(name, "_test.go") {
			return nil // tests may import what they like
		}
		problems = append(problems, checkImports(dir, name, file)...)
		problems = append(problems, checkInit(name, file)...)
		if slices.Contains(badNames, file.Name.Name) {
			problems = append(problems, fmt.Sprintf("%s: package %s is not named for what it does", name, file.Name.Name))
		}
		documented[dir] = documented[dir] || file.Doc != nil
		return nil
	})
	for dir, ok := range documented {
		packages = append(packages, dir)
		if !ok {
			problems = append(problems, dir+": the package has no doc comment")
		}
	}
	slices.Sort(problems)
	return problems, packages, err
}

// descend skips folders that are not this module's source.
func descend(tree fs.FS, name, base string) error {
	if name == "." {
		return nil
	}
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "node_modules" || base == "testdata" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tree, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir // a module of its own
	}
	return nil
}

func checkSize(name string, source []byte, file *ast.File) []string {
	lines := strings.Count(string(source), "\n")
	switch {
	case ast.IsGenerated(file):
	case strings.HasPrefix(name, "cmd/") && lines >= maxMainLines && !strings.HasSuffix(name, "_test.go"):
		return []string{fmt.Sprintf("%s: has %d lines; a main stays under %d", name, lines, maxMainLines)}
	case lines > maxFileLines:
		return []string{fmt.Sprintf("%s: has %d lines; a file has %d at most", name, lines, maxFileLines)}
	}
	return nil
}

func checkImports(dir, name string, file *ast.File) []string {
	var problems []string
	allowed := mayImport(dir)
	if strings.HasPrefix(dir, "internal/") && !slices.Contains(machines, dir) {
		allowed = append(allowed, machines...)
	}
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler tells
		}
		switch inner, ours := ourPackage(target); {
		case target == "unsafe":
			problems = append(problems, name+": memory is not to be read around the language")
		case slices.Contains(heavy, target):
			problems = append(problems, fmt.Sprintf("%s: %s makes the program heavy", name, target))
		case ours && !covered(allowed, inner):
			problems = append(problems, fmt.Sprintf("%s: %s may not import %s", name, dir, target))
		case !ours && outside[dir] != nil && strings.Contains(target, ".") && !slices.Contains(outside[dir], target):
			problems = append(problems, fmt.Sprintf("%s: %s may not import %s", name, dir, target))
		}
	}
	return problems
}

func checkInit(name string, file *ast.File) []string {
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			return []string{name + ": has an init function"}
		}
	}
	return nil
}

// ourPackage returns the folder of an import path of this module.
func ourPackage(target string) (dir string, ours bool) {
	if target == modulePath {
		return ".", true
	}
	return strings.CutPrefix(target, modulePath+"/")
}

func covered(allowed []string, dir string) bool {
	for _, one := range allowed {
		below, all := strings.CutSuffix(one, "/...")
		if dir == one || all && (dir == below || strings.HasPrefix(dir, below+"/")) {
			return true
		}
	}
	return false
}

// The inspection finds what it is there for: each tree has one fault, or none.
func TestTheInspectionFindsViolations(t *testing.T) {
	t.Parallel()
	imports := func(pkg string, targets ...string) string {
		source := "// Package x is documented.\npackage " + pkg + "\n"
		for _, target := range targets {
			source += "import _ " + strconv.Quote(target) + "\n"
		}
		return source
	}
	tests := map[string]struct{ file, source, want string }{
		"the root imports ours":          {"a.go", imports("hearth", "hearth/internal/config"), "may not import hearth/internal/config"},
		"the root imports others'":       {"a.go", imports("hearth", "golang.org/x/sync/errgroup"), "may not import golang.org/x/sync"},
		"the root imports uuid":          {"a.go", imports("hearth", "github.com/google/uuid", "net/netip"), ""},
		"capability to capability":       {"internal/core/devices/a.go", imports("fleet", "hearth/internal/core/account"), "internal/core/devices may not import"},
		"capability to adapter":          {"internal/core/exports/a.go", imports("exports", "hearth/internal/blob/s3blob"), "may not import hearth/internal/blob/s3blob"},
		"capability to store":            {"internal/core/devices/a.go", imports("fleet", "hearth/internal/store/sqlite"), "may not import hearth/internal/store/sqlite"},
		"capability to api":              {"internal/core/devices/a.go", imports("fleet", "hearth/internal/api"), "may not import hearth/internal/api"},
		"capability to port":             {"internal/core/exports/a.go", imports("exports", "hearth", "hearth/internal/blob", "hearth/internal/queue"), ""},
		"adapter to another's port":      {"internal/kv/rediskv/a.go", imports("rediskv", "hearth/internal/queue"), "may not import hearth/internal/queue"},
		"adapter to adapter":             {"internal/kv/rediskv/a.go", imports("rediskv", "hearth/internal/kv/memkv"), "may not import hearth/internal/kv/memkv"},
		"adapter to its port":            {"internal/kv/rediskv/a.go", imports("rediskv", "hearth", "hearth/internal/kv", "github.com/redis/rueidis"), ""},
		"store to capability":            {"internal/store/sqlite/a.go", imports("sqlite", "hearth/internal/core/telemetry"), "may not import"},
		"store to a small tool":          {"internal/store/sqlite/a.go", imports("sqlite", "hearth/internal/groupcommit"), ""},
		"tool to tool":                   {"internal/keymutex/a.go", imports("keymutex", "hearth/internal/newid"), "may not import"},
		"store to the log engine":        {"internal/store/sqlite/a.go", imports("sqlite", "hearth/internal/tsdb"), ""},
		"store to store":                 {"internal/store/mongodb/a.go", imports("mongodb", "hearth/internal/store/sqlite"), "may not import"},
		"adapter to Redis to its client": {"internal/kv/rediskv/a.go", imports("rediskv", "hearth/internal/kv", "hearth/internal/redisconn"), ""},
		"another adapter to that client": {"internal/kv/memkv/a.go", imports("memkv", "hearth/internal/redisconn"), "may not import"},
		"port to its adapter":            {"internal/kv/a.go", imports("kv", "hearth/internal/kv/memkv"), "may not import"},
		"api to adapter":                 {"internal/api/a.go", imports("api", "hearth/internal/store/sqlite"), "may not import"},
		"api to capabilities":            {"internal/api/a.go", imports("api", "hearth", "hearth/internal/core/devices", "hearth/internal/observe"), ""},
		"realtime to api":                {"internal/realtime/a.go", imports("realtime", "hearth/internal/api"), "may not import"},
		"api to its own part":            {"internal/api/a.go", imports("api", "hearth/internal/api/logjson"), ""},
		"rest to a capability":           {"internal/api/rest/a.go", imports("rest", "hearth/internal/core/devices"), "may not import"},
		"client to internal":             {"client/a.go", imports("client", "hearth/internal/api"), "may not import"},
		"cli to adapter":                 {"internal/cli/a.go", imports("cli", "hearth/internal/store/sqlite"), "may not import"},
		"main to app":                    {"cmd/hearth/a.go", imports("main", "hearth/internal/app"), "may not import"},
		"app to everything":              {"internal/app/a.go", imports("app", "hearth/internal/store/sqlite", "hearth/internal/api"), ""},
		"an unknown package":             {"internal/novel/a.go", imports("novel", "hearth/internal/kv"), "may not import"},
		"a test may":                     {"internal/core/devices/a_test.go", imports("fleet_test", "hearth/internal/store/sqlite"), ""},
		"no doc comment":                 {"internal/core/devices/a.go", "package fleet\n", "internal/core/devices: the package has no doc comment"},
		"an init function":               {"internal/core/devices/a.go", imports("fleet") + "func init() {}\n", "has an init function"},
		"a method of that name":          {"internal/core/devices/a.go", imports("fleet") + "type T int\nfunc (T) init() {}\n", ""},
		"a name that says nothing":       {"internal/utils/a.go", imports("utils"), "is not named for what it does"},
		"templates":                      {"internal/mail/a.go", imports("mail", "html/template"), "makes the program heavy"},
		"unsafe":                         {"internal/core/devices/a.go", imports("fleet", "unsafe"), "around the language"},
		"a long file":                    {"internal/core/devices/a.go", imports("fleet") + strings.Repeat("//\n", 600), "a file has 600 at most"},
		"a long test":                    {"internal/core/devices/a_test.go", imports("fleet") + strings.Repeat("//\n", 600), "a file has 600 at most"},
		"a long generated file":          {"client/a.go", "// Code generated by x. DO NOT EDIT.\n\n" + imports("client") + strings.Repeat("//\n", 600), ""},
		"a long main":                    {"cmd/hearth/main.go", imports("main") + strings.Repeat("//\n", 40), "a main stays under 40"},
		"a hidden folder is not ours":    {".cache/x/a.go", "package utils\n", ""},
		"an installed module is not":     {"tools/node_modules/x/a.go", "package utils\n", ""},
		"test data is not":               {"internal/core/devices/testdata/a.go", "package utils\n", ""},
		"a file that is no Go is passed": {"internal/core/devices/a.txt", "init", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems, _, err := inspect(fstest.MapFS{tt.file: {Data: []byte(tt.source)}})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.want == "" && len(problems) > 0:
				t.Errorf("found %q in a good file", problems)
			case tt.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], tt.want)):
				t.Errorf("found %q; want %q alone", problems, tt.want)
			}
		})
	}
	other := fstest.MapFS{"bench/go.mod": {Data: []byte("module bench\n")}, "bench/a.go": {Data: []byte("package utils\n")}}
	if problems, _, err := inspect(other); err != nil || len(problems) > 0 {
		t.Errorf("found %q, %v in a module of its own", problems, err)
	}
}
