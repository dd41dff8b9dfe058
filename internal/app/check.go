package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"

	"hearth/internal/blob/s3blob"
	"hearth/internal/config"
	"hearth/internal/doctor"
	"hearth/internal/httpserver"
	"hearth/internal/mail/smtpmail"
	"hearth/internal/redisconn"
	"hearth/internal/store/mongodb/steps"
)

// CheckSettings reports what the parts would refuse at a start because of their settings. It connects to nothing.
func CheckSettings(cfg *config.Config) error {
	var errs []error
	check := func(name, value string, of func(string) error) {
		if value != "" {
			if err := of(value); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	check("HEARTH_DATA_DIR", cfg.DataDir, checkFolder)
	check("HEARTH_BACKUP_DIR", cfg.BackupDir, checkFolder)
	check("HEARTH_LOG_DIR", cfg.LogDir, checkFolder)
	check("HEARTH_STORE_URL", cfg.StoreURL, steps.CheckURI)
	check("HEARTH_REDIS_URL", cfg.RedisURL, redisconn.CheckURL)
	check("HEARTH_SMTP_URL", cfg.SMTPURL, func(text string) error {
		_, err := smtpmail.ParseURL(text)
		return err
	})
	check("HEARTH_BLOB_URL", cfg.BlobURL, func(text string) error {
		if u, err := url.Parse(text); err == nil && u.Scheme == "file" {
			return checkFolder(filepath.FromSlash(u.Path))
		}
		_, err := s3blob.ParseURL(text)
		return err
	})
	check("HEARTH_TLS_CERT", cfg.TLSCert, func(file string) error {
		_, err := httpserver.Certificate(file, cfg.TLSKey, nil)
		return err
	})
	return errors.Join(errs...)
}

// checkFolder reports a file where a folder is named, or above it. A folder that is not there yet is made at the start.
func checkFolder(dir string) error {
	existing, info, err := doctor.Existing(dir)
	switch {
	case errors.Is(err, fs.ErrPermission): // the user of the server may see more
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", existing)
	}
	return nil
}
