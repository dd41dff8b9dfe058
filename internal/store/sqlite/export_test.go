package sqlite

import "context"

// FoldLogs folds once.
func (s *Store) FoldLogs(ctx context.Context) error {
	_, err := s.Fold(ctx, 0)
	return err
}
