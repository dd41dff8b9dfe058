package cli

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"hearth/internal/config"
)

// settings are the flags of a command that reads the configuration: one flag a setting, made from package config, so that
// no setting can be without its flag. Embed it in the command and fill it with newSettings.
type settings struct {
	File string `name:"config" placeholder:"FILE" help:"Settings file in TOML, under the environment and the flags ($HEARTH_CONFIG)."`
	kong.Plugins
}

func newSettings() settings {
	all := config.Settings()
	fields := make([]reflect.StructField, 0, len(all))
	for i, s := range all {
		field := reflect.StructField{Name: "Setting" + strconv.Itoa(i), Type: reflect.TypeFor[*string]()}
		tags := []string{
			"name", strings.TrimPrefix(s.Flag, "--"),
			"group", s.Group,
			"help", describe(s),
		}
		if s.Bool {
			field.Type = reflect.TypeFor[*bool]()
			tags = append(tags, "negatable", "")
		} else {
			tags = append(tags, "placeholder", "X")
		}
		field.Tag = tag(tags...)
		fields = append(fields, field)
	}
	return settings{Plugins: kong.Plugins{reflect.New(reflect.StructOf(fields)).Interface()}}
}

// load reads the configuration: the flags over the environment over the file over the defaults.
func (s *settings) load(p *Process) (*config.Config, error) {
	flags := map[string]string{}
	if s.File != "" {
		flags["config"] = s.File
	}
	given := reflect.ValueOf(s.Plugins[0]).Elem()
	for i, setting := range config.Settings() {
		switch value := given.Field(i).Interface().(type) {
		case *string:
			if value != nil {
				flags[setting.Key] = *value
			}
		case *bool:
			if value != nil {
				flags[setting.Key] = strconv.FormatBool(*value)
			}
		}
	}
	cfg, err := config.Load(config.Options{Environ: p.Environ, Flags: flags})
	if err != nil {
		return nil, usageError{err}
	}
	return cfg, nil
}

func describe(s config.Setting) string {
	text := s.Help
	if s.Default != "" {
		text += " Default: " + s.Default + "."
	}
	return fmt.Sprintf("%s ($%s)", text, s.Env)
}

// tag makes a struct tag of names and values.
func tag(pairs ...string) reflect.StructTag {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "%s:%s ", pairs[i], strconv.Quote(pairs[i+1]))
	}
	return reflect.StructTag(strings.TrimSpace(b.String()))
}
