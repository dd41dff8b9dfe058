package cli

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"hearth/internal/commandline"
	"hearth/internal/config"
)

// Settings are the flags of a command that reads the configuration: one flag a setting, made from package config, so that
// no setting can be without its flag. Embed it in the command.
type Settings struct {
	File string `name:"config" placeholder:"FILE" help:"Settings file in TOML; the environment and flags override it ($HEARTH_CONFIG)."`
	// given are the settings by their key.
	given map[string]string
}

// Flags implements commandline.Flagger.
func (s *Settings) Flags() []*commandline.Flag {
	all := config.Settings()
	s.given = map[string]string{}
	flags := make([]*commandline.Flag, len(all))
	for i, setting := range all {
		flags[i] = &commandline.Flag{
			Name: strings.TrimPrefix(setting.Flag, "--"), Group: setting.Group, Help: describe(setting), Placeholder: "X",
			Bool: setting.Bool, Negatable: setting.Bool,
			Set: func(value string) error {
				if setting.Bool {
					on, err := commandline.ParseBool(value)
					if err != nil {
						return err
					}
					value = strconv.FormatBool(on)
				}
				s.given[setting.Key] = value
				return nil
			},
		}
	}
	return flags
}

// load reads the configuration: the flags over the environment over the file over the defaults.
func (s *Settings) load(p *Process) (*config.Config, error) {
	flags := maps.Clone(s.given)
	if s.File != "" {
		flags["config"] = s.File
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
