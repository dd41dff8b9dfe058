package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// stamped is the version that the linker writes into a release: -ldflags "-X hearth/internal/cli.stamped=v1.2.3". Nothing
// else writes it.
var stamped string

// Version names the build: the release, or what the Go toolchain knows of the commit, or "devel".
func Version() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// commit returns the commit of the build, with a + when files were changed after it, or "unknown".
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value[:min(12, len(setting.Value))]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			dirty = "+"
		}
	}
	return revision + dirty
}

type versionCommand struct{}

// Run prints the version on one line.
func (versionCommand) Run(_ context.Context, p *Process) error {
	_, err := fmt.Fprintf(p.Stdout, "hearth %s (commit %s, %s, %s/%s)\n", Version(), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
