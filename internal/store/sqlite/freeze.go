package sqlite

import "context"

// Freeze makes the database read-only for every process until thaw is called: writes wait, or fail with CodeUnavailable. The
// tail of the logs is folded before, so that nothing moves while the database is frozen. thaw may be called twice.
func (s *Store) Freeze(ctx context.Context) (thaw func(), err error) {
	for {
		if err := s.FoldAll(ctx); err != nil {
			return nil, err
		}
		thaw, frozen, err := s.hold(ctx)
		if err != nil || frozen {
			return thaw, err
		}
	}
}

// hold keeps the writer inside of a transaction, which SQLite returns to one process at a time. frozen is false if there is a
// tail again.
func (s *Store) hold(ctx context.Context) (thaw func(), frozen bool, err error) {
	release, answer := make(chan struct{}), make(chan bool, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- s.write(ctx, "Freeze", func(t *tx) error {
			var tail bool
			if err := t.row(`SELECT EXISTS(SELECT 1 FROM log_tail WHERE ` + isFinished + `)`).Scan(&tail); err != nil {
				return err
			}
			if answer <- !tail; !tail {
				<-release
			}
			return nil
		})
	}()
	select {
	case frozen = <-answer:
		if !frozen {
			return nil, false, <-ended
		}
	case err := <-ended:
		return nil, false, err
	}
	done := false
	return func() {
		if !done {
			done = true
			close(release)
			<-ended //nolint:errcheck // a transaction that changed nothing has nothing to fail with
		}
	}, true, nil
}
