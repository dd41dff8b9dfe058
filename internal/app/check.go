package app

import (
	"errors"
	"fmt"
	"strings"

	"hearth/internal/blob/s3blob"
	"hearth/internal/config"
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
	check("HEARTH_STORE_URL", cfg.StoreURL, steps.CheckURI)
	check("HEARTH_REDIS_URL", cfg.RedisURL, redisconn.CheckURL)
	check("HEARTH_SMTP_URL", cfg.SMTPURL, func(text string) error {
		_, err := smtpmail.ParseURL(text)
		return err
	})
	if strings.HasPrefix(cfg.BlobURL, "s3:") {
		check("HEARTH_BLOB_URL", cfg.BlobURL, func(text string) error {
			_, err := s3blob.ParseURL(text)
			return err
		})
	}
	check("HEARTH_TLS_CERT", cfg.TLSCert, func(file string) error {
		_, err := httpserver.Certificate(file, cfg.TLSKey, nil)
		return err
	})
	return errors.Join(errs...)
}
