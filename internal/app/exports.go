package app

import (
	"context"
	"net/url"
	"path/filepath"
	_ "time/tzdata" // schedules name time zones, which a container need not have

	"hearth/internal/blob"
	"hearth/internal/blob/dirblob"
	"hearth/internal/blob/s3blob"
	"hearth/internal/core/exports"
	"hearth/internal/observe"
)

// openFiles opens the storage of files.
func (a *App) openFiles() (err error) {
	if a.files, err = openFiles(a.config.BlobURL, filepath.Join(a.config.DataDir, "files")); err != nil {
		return err
	}
	a.steps.add("files", func(context.Context) error { return a.files.Close() })
	// Not required: orders wait in the queue meanwhile.
	a.health.Register(observe.Check{Name: "storage", Probe: a.files.Ping})
	return nil
}

// openExports builds what writes people's files.
func (a *App) openExports() (err error) {
	var snapshot func(context.Context, func(context.Context) error) error
	if s, ok := a.store.(interface {
		Snapshot(ctx context.Context, fn func(context.Context) error) error
	}); ok {
		snapshot = s.Snapshot
	}
	a.exports, err = exports.New(exports.Options{
		Store: a.store, Schedules: a.store, People: a.store, Roles: a.orgs.Roles, Logs: a.store, Devices: a.store, Jobs: a.queue,
		Files: a.files, Publisher: a.events, Snapshot: snapshot,
		Clock: a.options.Clock, Log: a.log,
	})
	return err
}

// openFiles opens the object storage of that URL, or the directory that it names; without one, dir.
func openFiles(text, dir string) (blob.Store, error) {
	if text == "" {
		return dirblob.Open(dir)
	}
	if u, err := url.Parse(text); err == nil && u.Scheme == "file" {
		return dirblob.Open(filepath.FromSlash(u.Path))
	}
	options, err := s3blob.ParseURL(text)
	if err != nil {
		return nil, err
	}
	return s3blob.Open(options)
}
