package sqlitequeue_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"hearth/internal/queue"
	"hearth/internal/queue/sqlitequeue"
)

func TestAFileOfAnEarlierVersionIsAccepted(t *testing.T) {
	t.Parallel()
	for name, downgrade := range map[string]func(*sqlitequeue.Queue, context.Context) error{
		"the first":  func(q *sqlitequeue.Queue, ctx context.Context) error { return q.SetVersion(ctx, 1) },
		"the second": (*sqlitequeue.Queue).MakeSecondVersion,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "queue.db")
			q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			job := queue.Job{ID: queue.NewID(time.Now()), Kind: "test", Queue: queue.Export}
			if _, err := q.Enqueue(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			if err := downgrade(q, t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := q.Job(t.Context(), job.ID); err != nil {
					t.Error(err)
				}
				if has, err := q.HasFeed(t.Context()); err != nil || has {
					t.Errorf("the table of messages is there: %v, %v", has, err)
				}
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
