package sqlite

import (
	"context"
	"strings"

	"hearth"
	"hearth/internal/tsdb"
)

// FoldLogs folds once.
func (s *Store) FoldLogs(ctx context.Context) error {
	_, err := s.Fold(ctx, 0)
	return err
}

// LogBackend returns the store as the log engine sees it.
func (s *Store) LogBackend() tsdb.Backend { return logBackend{s} }

// DeviceByKey returns the id of a device.
func (s *Store) DeviceByKey(ctx context.Context, key int64) (id string, err error) {
	err = s.read(ctx, "DeviceByKey", func(r *reader) error {
		return r.row(`SELECT id FROM devices WHERE key=?`, key).Scan(&id)
	})
	return id, err
}

// AddDevice makes a device of a scope, of which nothing else needs to be there.
func (s *Store) AddDevice(ctx context.Context, id string, scope hearth.Scope) (key int64, err error) {
	err = s.write(ctx, "AddDevice", func(t *tx) error {
		at, err := scopeKey(t, scope)
		if err != nil {
			return err
		}
		owner := strings.TrimPrefix(string(scope), string(hearth.UserScope("")))
		key, err = insertDevice(t, hearth.Device{ID: id, Name: "d", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: owner}, at)
		return err
	})
	return key, err
}
