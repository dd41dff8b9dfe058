// Command check looks into files of deploy that no tool of Debian's does. It is a module of its own, so that hearth does not depend on
// compose.
//
//	check compose FILE…   reads a compose file as docker compose does: schema, references, variables
//	check queries FILE    writes the queries of a Grafana dashboard as rules, for promtool to read
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	err := errors.New("usage: check compose FILE… | check queries FILE")
	switch {
	case len(os.Args) > 2 && os.Args[1] == "compose":
		err = compose(context.Background(), os.Args[2:])
	case len(os.Args) == 3 && os.Args[1] == "queries":
		err = queries(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

// queries writes every query of the dashboard as a recording rule; JSON is YAML.
func queries(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var dashboard struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		return err
	}
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			rules = append(rules, rule{fmt.Sprintf("panel:%d", len(rules)), target.Expr})
		}
	}
	if len(rules) == 0 {
		return errors.New("the dashboard has no query")
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
}

// compose reads the files as one project and looks for what they refer to.
func compose(ctx context.Context, files []string) error {
	options, err := cli.NewProjectOptions(files, cli.WithResolvedPaths(true), cli.WithConsistency(true), cli.WithInterpolation(true))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return err
	}
	names := project.ServiceNames()
	slices.Sort(names)
	for _, name := range names {
		service := project.Services[name]
		for _, volume := range service.Volumes {
			if _, err := os.Stat(volume.Source); volume.Type == "bind" && err != nil {
				return fmt.Errorf("%s mounts what is not there: %w", name, err)
			}
		}
		if service.Build != nil {
			if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
				return fmt.Errorf("%s is built of what is not there: %w", name, err)
			}
		}
		if service.Deploy == nil || service.Deploy.Resources.Limits == nil || service.Deploy.Resources.Limits.MemoryBytes == 0 {
			return fmt.Errorf("%s has no limit of memory", name)
		}
	}
	for name, config := range project.Configs {
		if _, err := os.Stat(config.File); err != nil {
			return fmt.Errorf("the config %s is not there: %w", name, err)
		}
	}
	fmt.Println("services:", names)
	return nil
}
