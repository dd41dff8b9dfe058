package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// EnvPrefix begins the name of every variable that is read. Any other variable with it stops the start: it is a typo.
const EnvPrefix = "HEARTH_"

// fileKey names the settings file itself: --config and HEARTH_CONFIG.
const fileKey = "config"

// delim separates the parts of a nested key. Settings are flat, so that a table in the file is an unknown setting.
const delim = "."

// Options are the layers that Load reads over the defaults.
type Options struct {
	// Environ is the environment as os.Environ returns it. Names that do not begin with EnvPrefix are passed over.
	Environ []string
	// Flags are the flags that were given, by key ("data_dir" for --data-dir); "config" names a TOML file, which goes
	// before HEARTH_CONFIG.
	Flags map[string]string
}

// value is what one layer said of a setting.
type value struct {
	text string
	name string // as the user wrote it: HEARTH_ADDR, --addr, or addr in hearth.toml; "" for a default
}

// Load reads the settings: defaults < file < environment < flags. Every problem is in the error, one a line, each named
// as the user wrote it; then the Config is nil.
func Load(opts Options) (*Config, error) {
	var (
		merged  = koanf.New(delim)
		origins = map[string]string{}
		errs    []error
	)
	apply := func(layer *koanf.Koanf, nameOf func(key string) string) {
		for _, key := range layer.Keys() {
			if _, ok := lookup(key); ok || key == fileKey {
				origins[key] = nameOf(key)
				continue
			}
			errs = append(errs, unknown(nameOf, key))
			layer.Delete(key)
		}
		if err := merged.Merge(layer); err != nil {
			errs = append(errs, err)
		}
	}

	environ, envErrs := readEnviron(opts.Environ)
	errs = append(errs, envErrs...)
	flags, err := readMap(opts.Flags)
	if err != nil {
		return nil, err
	}

	path := flags.String(fileKey)
	if path == "" {
		path = environ.String(fileKey)
	}
	if path != "" {
		layer, err := readFile(path)
		if err != nil {
			return nil, err
		}
		apply(layer, func(key string) string { return key + " in " + filepath.Base(path) })
	}
	apply(environ, envName)
	apply(flags, flagName)

	cfg := &Config{raw: map[string]value{}}
	for _, s := range settings() {
		v := value{text: s.Default}
		if merged.Exists(s.Key) {
			text, err := textOf(merged.Get(s.Key))
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s %w", origins[s.Key], err))
				continue
			case text != "":
				v = value{text: text, name: origins[s.Key]}
			}
		}
		cfg.raw[s.Key] = v
		if err := s.set(cfg, v.text); err != nil {
			errs = append(errs, fmt.Errorf("%s %w", cfg.name(s.Key), err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, cfg.Validate())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return cfg, nil
}

// readEnviron reads the variables that begin with EnvPrefix. HEARTH_X_FILE names a file that holds the value of a
// secret setting X, as container platforms hand secrets over.
func readEnviron(environ []string) (*koanf.Koanf, []error) {
	var errs []error
	layer := koanf.New(delim)
	err := layer.Load(env.Provider(delim, env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			key := strings.ToLower(strings.TrimPrefix(name, EnvPrefix))
			if name != envName(key) { // Hearth_addr and hEARTH_ADDR are typos, not settings
				errs = append(errs, fmt.Errorf("unknown setting %s: variables are written in capitals", name))
				return "", nil
			}
			if key == "" {
				errs = append(errs, fmt.Errorf("unknown setting %s", name))
			}
			base, isFile := strings.CutSuffix(key, "_file")
			if s, ok := lookup(base); isFile && ok && s.Secret != "" {
				content, err := os.ReadFile(text)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", name, err))
					return "", nil
				}
				return base, strings.TrimSpace(string(content))
			}
			return key, text
		},
	}), nil)
	if err != nil {
		errs = append(errs, fmt.Errorf("read the environment: %w", err))
	}
	return layer, errs
}

// readMap makes a layer of key and text.
func readMap(flags map[string]string) (*koanf.Koanf, error) {
	values := make(map[string]any, len(flags))
	for key, text := range flags {
		values[key] = text
	}
	layer := koanf.New(delim)
	if err := layer.Load(confmap.Provider(values, delim), nil); err != nil {
		return nil, fmt.Errorf("read the flags: %w", err)
	}
	return layer, nil
}

// readFile reads a TOML file.
func readFile(path string) (*koanf.Koanf, error) {
	layer := koanf.New(delim)
	if err := layer.Load(file.Provider(path), toml.Parser()); err != nil {
		return nil, fmt.Errorf("read the settings file %s: %w", path, err)
	}
	if layer.Exists(fileKey) {
		return nil, fmt.Errorf("unknown setting %s in %s: a settings file cannot name another", fileKey, filepath.Base(path))
	}
	return layer, nil
}

// textOf returns a file's value as the other layers would write it. Lists are joined by commas.
func textOf(raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return v, nil
	case bool, int64, int:
		return fmt.Sprint(v), nil
	case []any:
		parts := make([]string, 0, len(v))
		for _, item := range v {
			text, ok := item.(string)
			if !ok || strings.Contains(text, ",") {
				return "", errors.New("must be a list of texts")
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("must be a text, a whole number, true, false or a list of texts")
}

// unknown is the error about a key that no setting has, with the nearest one that exists.
func unknown(nameOf func(string) string, key string) error {
	names := []string{fileKey}
	for _, s := range settings() {
		names = append(names, s.Key)
	}
	if near := nearest(key, names); near != "" {
		return fmt.Errorf("unknown setting %s: did you mean %s?", nameOf(key), strings.Fields(nameOf(near))[0])
	}
	return fmt.Errorf("unknown setting %s", nameOf(key))
}

// nearest returns the name with the fewest edits from key, or "" where even that one is too far to be meant.
func nearest(key string, names []string) string {
	best, least := "", len(key)/3+1
	for _, name := range slices.Sorted(slices.Values(names)) {
		if d := distance(key, name); d < least || d == least && best == "" {
			best, least = name, d
		}
	}
	return best
}

// distance counts the bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func envName(key string) string { return EnvPrefix + strings.ToUpper(key) }

func flagName(key string) string { return "--" + strings.ReplaceAll(key, "_", "-") }
