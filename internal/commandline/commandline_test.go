package commandline_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"hearth/internal/commandline"
)

type Extra struct{ values map[string]string }

func (e *Extra) Flags() []*commandline.Flag {
	e.values = map[string]string{}
	return []*commandline.Flag{
		{Name: "addr", Placeholder: "X", Group: "Server", Set: func(v string) error { e.values["addr"] = v; return nil }},
		{Name: "worker", Bool: true, Negatable: true, Group: "Server", Set: func(v string) error { e.values["worker"] = v; return nil }},
	}
}

type serve struct {
	Extra
	Limit   int           `default:"50"`
	Timeout time.Duration `default:"5s"`
	Format  string        `default:"csv" enum:"csv,ndjson"`
	DryRun  bool
}

type jobs struct {
	Retry struct {
		Email string   `required:"" placeholder:"E"`
		ID    []string `arg:""`
	} `cmd:""`
	List struct {
		From string `arg:"" optional:""`
	} `cmd:""`
}

type grammar struct {
	Serve serve `cmd:"" help:"Serve."`
	Jobs  jobs  `cmd:"" help:"Jobs."`
}

func parse(line string) (any, error) {
	return commandline.Parse("hearth", "What it is.", &grammar{}, strings.Fields(line))
}

func TestFlagsAndArguments(t *testing.T) {
	t.Parallel()
	got, err := parse("serve --limit=7 --timeout 2m --format ndjson --dry-run --addr -1 --no-worker")
	want := &serve{
		Extra: Extra{map[string]string{"addr": "-1", "worker": "false"}}, Limit: 7, Timeout: 2 * time.Minute, Format: "ndjson", DryRun: true,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	got, err = parse("serve --worker=no --dry-run=1")
	want = &serve{Extra: Extra{map[string]string{"worker": "no"}}, Limit: 50, Timeout: 5 * time.Second, Format: "csv", DryRun: true}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	got, err = parse("jobs retry a --email=x@y b -- --c")
	if retry := reflect.Indirect(reflect.ValueOf(got)); err != nil || !reflect.DeepEqual(retry.Field(1).Interface(), []string{"a", "b", "--c"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err = parse("jobs list"); err != nil {
		t.Errorf("without an optional argument: %v", err)
	}
}

func TestTheLastOfRepeatedFlagsCounts(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]serve{
		"serve --limit=1 --limit 2 --addr=:1 --addr=:2": {Extra: Extra{map[string]string{"addr": ":2"}}, Limit: 2},
		"serve --limit=2 --worker --no-worker":          {Extra: Extra{map[string]string{"worker": "false"}}, Limit: 2},
		"serve --limit=2 --no-worker=false":             {Extra: Extra{map[string]string{"worker": "true"}}, Limit: 2},
		"serve --limit=2 --no-worker=yes":               {Extra: Extra{map[string]string{"worker": "false"}}, Limit: 2},
	} {
		want.Timeout, want.Format = 5*time.Second, "csv"
		if got, err := parse(line); err != nil || !reflect.DeepEqual(got, &want) {
			t.Errorf("%s: got %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                                 `expected one of "serve", "jobs"`,
		"jobs":                             `expected one of "retry", "list"`,
		"sevre":                            `unexpected argument sevre`,
		"serv":                             `unexpected argument serv, did you mean "serve"?`,
		"serve x":                          `unexpected argument x`,
		"serve --adr=1":                    `unknown flag --adr, did you mean "--addr"?`,
		"serve -a":                         `unknown flag -a`,
		"--addr=1 serve":                   `unknown flag --addr`,
		"serve --addr":                     `--addr: expected a value`,
		"serve --addr --dry-run":           `--addr: expected a value`,
		"serve --limit=x":                  `--limit: must be a whole number, not "x"`,
		"serve --timeout=soon":             `--timeout: must be a duration such as 5s, not "soon"`,
		"serve --format=xml":               `--format must be one of "csv","ndjson" but got "xml"`,
		"serve --dry-run=maybe":            `--dry-run: bool value must be true, 1, yes, false, 0 or no but got "maybe"`,
		"serve --no-worker=maybe":          `--no-worker: bool value must be true, 1, yes, false, 0 or no but got "maybe"`,
		"serve --no-dry-run":               `unknown flag --no-dry-run`,
		"jobs retry a":                     `missing flags: --email=E`,
		"jobs retry --email=x":             `expected "<id> ..."`,
		"jobs list a b":                    `unexpected argument b`,
		"serve --help=x":                   `unknown flag --help`,
		"jobs retry --email x@y -- -- -h ": "",
	} {
		_, err := parse(line)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestHelpIsOfTheCommand(t *testing.T) {
	t.Parallel()
	_, err := parse("serve --limit=1 -h")
	help, ok := errors.AsType[commandline.Help](err)
	if !ok {
		t.Fatal(err)
	}
	const want = `Usage: hearth serve [flags]

Serve.

Flags:
  -h, --help            Show context-sensitive help.

      --limit=50
      --timeout=5s
      --format="csv"
      --dry-run

Server
  --addr=X
  --[no-]worker
`
	if string(help) != want {
		t.Errorf("got\n%s\nwant\n%s", help, want)
	}
}
