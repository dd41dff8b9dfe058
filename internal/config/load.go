package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"hearth/internal/editdistance"
)

// EnvPrefix begins the name of every variable that is read. Any other variable with it stops the start: it is a typo.
const EnvPrefix = "HEARTH_"

// fileKey names the settings file itself: --config and HEARTH_CONFIG.
const fileKey = "config"

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

// layer is what one source says, by key: a string, or what a TOML file holds.
type layer map[string]any

// Load reads the settings: defaults < file < environment < flags. Every problem is in the error, one a line, each named
// as the user wrote it; then the Config is nil.
func Load(opts Options) (*Config, error) {
	var (
		merged  = layer{}
		origins = map[string]string{}
		errs    []error
	)
	apply := func(from layer, nameOf func(key string) string) {
		for _, key := range slices.Sorted(maps.Keys(from)) {
			if _, ok := lookup(key); !ok && key != fileKey {
				errs = append(errs, unknown(nameOf, key))
				continue
			}
			origins[key], merged[key] = nameOf(key), from[key]
		}
	}

	environ, envErrs := readEnviron(opts.Environ)
	errs = append(errs, envErrs...)
	path := opts.Flags[fileKey]
	if path == "" {
		path, _ = environ[fileKey].(string)
	}
	if path != "" {
		file, err := readFile(path)
		if err != nil {
			return nil, err
		}
		apply(file, func(key string) string { return key + " in " + filepath.Base(path) })
	}
	apply(environ, envName)
	flags := layer{}
	for key, text := range opts.Flags {
		flags[key] = text
	}
	apply(flags, flagName)

	cfg := &Config{raw: map[string]value{}}
	for _, s := range settings() {
		v := value{text: s.Default}
		if raw, ok := merged[s.Key]; ok {
			text, err := textOf(raw)
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
func readEnviron(environ []string) (layer, []error) {
	var errs []error
	out, files := layer{}, layer{}
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		key, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours {
			continue
		}
		key = strings.ToLower(key)
		base, isFile := strings.CutSuffix(key, "_file")
		secret, isSetting := lookup(base)
		switch {
		case name != envName(key): // HEARTH_addr is a typo, not a setting
			errs = append(errs, fmt.Errorf("unknown setting %s: variables are written in capitals", name))
		case key == "":
			errs = append(errs, fmt.Errorf("unknown setting %s", name))
		case isFile && isSetting && secret.Secret != "":
			content, err := os.ReadFile(text)
			files[base] = strings.TrimSpace(string(content))
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			} else if files[base] == "" {
				errs = append(errs, fmt.Errorf("%s: the file %s is empty", name, text))
			}
		default:
			out[key] = text
		}
	}
	for key, text := range files {
		if given, _ := out[key].(string); given != "" {
			errs = append(errs, fmt.Errorf("%s is set, and so is %s_FILE: only one of them can count", envName(key), envName(key)))
		}
		out[key] = text
	}
	return out, errs
}

// readFile reads a TOML file. Settings are flat: a key of a table is table.key, which no setting has.
func readFile(path string) (layer, error) {
	content, err := os.ReadFile(path)
	var tables map[string]any
	if err == nil {
		err = toml.Unmarshal(content, &tables)
	}
	if broken, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := broken.Position()
		return nil, fmt.Errorf("read the settings file %s: line %d, column %d: %w", path, line, column, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings file %s: %w", path, err)
	}
	out := layer{}
	out.flatten("", tables)
	if _, ok := out[fileKey]; ok {
		return nil, fmt.Errorf("unknown setting %s in %s: a settings file cannot name another", fileKey, filepath.Base(path))
	}
	return out, nil
}

func (l layer) flatten(prefix string, tables map[string]any) {
	for key, value := range tables {
		if table, ok := value.(map[string]any); ok && len(table) > 0 {
			l.flatten(prefix+key+".", table)
		} else {
			l[prefix+key] = value
		}
	}
}

// textOf returns a file's value as the other layers would write it. Lists are joined by commas.
func textOf(raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return v, nil
	case bool, int64, int, float64:
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
	return "", errors.New("must be a text, a number, true, false or a list of texts")
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
		if d := editdistance.Of(key, name); d < least || d == least && best == "" {
			best, least = name, d
		}
	}
	return best
}

func envName(key string) string { return EnvPrefix + strings.ToUpper(key) }

func flagName(key string) string { return "--" + strings.ReplaceAll(key, "_", "-") }
