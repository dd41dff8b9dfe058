// Command clientgen writes the operations and types of the clients in client/ from docs/openapi.json. With -check it fails where
// they are not current.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
)

// targets are the generated files.
var targets = []struct {
	path  string
	write func(*model) ([]byte, error)
}{
	{"client/go/api.gen.go", writeGo},
	{"client/python/hearth/_api.py", writePython},
	{"client/ts/src/api.gen.ts", writeTypeScript},
}

func main() {
	check := flag.Bool("check", false, "only check that the files are current")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(check bool) error {
	data, err := os.ReadFile("docs/openapi.json")
	if err != nil {
		return err
	}
	var stale []error
	for _, target := range targets {
		m, err := read(data)
		if err != nil {
			return err
		}
		want, err := target.write(m)
		if err != nil {
			return fmt.Errorf("%s: %w", target.path, err)
		}
		have, err := os.ReadFile(target.path)
		switch {
		case err == nil && bytes.Equal(have, want):
		case check:
			stale = append(stale, fmt.Errorf("%s is stale: make clients writes it anew", target.path))
		default:
			if err := os.WriteFile(target.path, want, 0o644); err != nil {
				return err
			}
		}
	}
	return errors.Join(stale...)
}
