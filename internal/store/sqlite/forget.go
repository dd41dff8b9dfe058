package sqlite

// forgetDevice takes away what hangs on a device that is being deleted.
func (s *Store) forgetDevice(t *tx, key, scope int64) error { return nil }
