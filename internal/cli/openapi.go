package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"hearth/internal/app"
	"hearth/internal/config"
	"hearth/internal/observe"
)

type openapiCommand struct{}

// Run prints the OpenAPI document of this build. It reads no configuration and leaves nothing behind, also where its reader goes away.
func (openapiCommand) Run(ctx context.Context, p *Process) error {
	document, err := openapi(ctx, p)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.Stdout, "%s\n", document)
	return err
}

func openapi(ctx context.Context, p *Process) (document []byte, err error) {
	dir, err := os.MkdirTemp("", "hearth-openapi-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := config.Default()
	cfg.DataDir = dir
	cfg.LogLevel, cfg.LogFormat = slog.LevelError, observe.FormatText // the output is the document alone
	err = withService(p, cfg, func(s app.Settings) error {
		document, err = app.OpenAPI(ctx, s)
		return err
	})
	return document, err
}
