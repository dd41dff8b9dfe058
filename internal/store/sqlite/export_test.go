package sqlite

import "context"

// FoldLogs folds once.
func (s *Store) FoldLogs(ctx context.Context) error {
	_, err := s.foldOnce(ctx)
	return err
}
