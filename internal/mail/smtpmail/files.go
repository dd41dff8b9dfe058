package smtpmail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"hearth"
	"hearth/internal/mail"
)

// Files writes messages to a directory, one .eml file each, instead of sending them. It implements mail.Sender.
type Files struct {
	root  *os.Root
	from  mail.Address
	clock hearth.Clock
}

var _ mail.Sender = (*Files)(nil)

// FilesOptions say where the files go.
type FilesOptions struct {
	// Dir is made with mode 0700 if it is not there.
	Dir  string
	From mail.Address
	// Clock dates messages and names files; nil is the system's.
	Clock hearth.Clock
}

// NewFiles opens the directory.
func NewFiles(o FilesOptions) (*Files, error) {
	from, err := o.From.Clean()
	if err != nil {
		return nil, fmt.Errorf("the sender's address: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, err
	}
	return &Files{root: root, from: from, clock: o.Clock}, nil
}

// Send writes a file of mode 0600, whole or not at all. Its name is the time and the message's ID.
func (f *Files) Send(ctx context.Context, m mail.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	msg, err := render(m, f.from, f.clock)
	if err != nil {
		return err
	}
	name := f.clock.Now().Format("20060102T150405.000Z") + "-" + m.ID + ".eml"
	temporary := "." + name + ".tmp"
	file, err := f.root.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return translateFile(err)
	}
	_, err = msg.WriteTo(file)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = f.root.Rename(temporary, name)
	}
	if err != nil {
		_ = f.root.Remove(temporary)
	}
	return translateFile(err)
}

// Ping implements mail.Sender.
func (f *Files) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := f.root.Stat(".")
	return translateFile(err)
}

// Close implements mail.Sender.
func (f *Files) Close() error { return f.root.Close() }

// Dir returns the directory's path, to show to users.
func (f *Files) Dir() string { return filepath.Clean(f.root.Name()) }

func translateFile(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &hearth.Error{Code: hearth.CodeStorageFull, Message: "the disk is full", RetryAfter: 30 * time.Second, Cause: err}
	case errors.Is(err, fs.ErrClosed), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS):
		return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the directory of messages cannot be written", RetryAfter: 30 * time.Second, Cause: err}
	}
	return err
}
