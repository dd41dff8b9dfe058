// Package testserver returns tests the real servers that hearth talks to. A server that cannot be had fails the test: it is
// never skipped. Only tests import it.
package testserver

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ModuleRoot returns the folder of go.mod above the test's package.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the test's folder")
		}
		dir = parent
	}
}

// mongodbScript runs scripts/mongodb.sh of this module and returns what it printed; an error holds its last words.
func mongodbScript(argument string) (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(context.Background(), filepath.Join(root, "scripts", "mongodb.sh"), argument) //nolint:gosec // a script of this module
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", errors.Join(err, errors.New(strings.TrimSpace(stderr.String())))
	}
	return strings.TrimSpace(string(out)), nil
}
