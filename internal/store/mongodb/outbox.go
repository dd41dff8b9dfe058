package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

// jobDoc is the stored form of an outbox job.
type jobDoc struct {
	ID      string `bson:"_id"`
	Kind    string `bson:"kind"`
	Queue   string `bson:"queue"`
	Payload []byte `bson:"payload"`
	Unique  string `bson:"unique"`
	RunAt   int64  `bson:"run_at"`
}

func newJobDoc(j hearth.OutboxJob) jobDoc {
	return jobDoc{ID: j.ID, Kind: j.Kind, Queue: j.Queue, Payload: j.Payload, Unique: j.Unique, RunAt: millis(j.RunAt)}
}

func (d jobDoc) job() hearth.OutboxJob {
	return hearth.OutboxJob{ID: d.ID, Kind: d.Kind, Queue: d.Queue, Payload: d.Payload, Unique: d.Unique, RunAt: fromMillis(d.RunAt)}
}

// storeJobs stores jobs; one that is stored stays. A job that the queue took and that comes back here is the same to it.
func (s *Store) storeJobs(ctx context.Context, jobs []jobDoc) error {
	return s.insertMissing(ctx, collOutbox, jobs)
}

// PendingOutbox returns the oldest limit jobs that writes left behind and that nobody deleted yet.
func (s *Store) PendingOutbox(ctx context.Context, limit int) (jobs []hearth.OutboxJob, err error) {
	err = s.do(ctx, "PendingOutbox", func(ctx context.Context) error {
		// Ids begin with their time: in order of _id.
		docs, err := findAll[jobDoc](ctx, s.db.Collection(collOutbox), bson.D{},
			options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)))
		for _, d := range docs {
			jobs = append(jobs, d.job())
		}
		return err
	})
	return jobs, err
}

// DeleteOutbox removes jobs; unknown ids are no error. A crash may leave some: they are handed over again under their ids.
func (s *Store) DeleteOutbox(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.do(ctx, "DeleteOutbox", func(ctx context.Context) error {
		return again(ctx, func() error {
			_, err := s.db.Collection(collOutbox).DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
			return err
		})
	})
}

// OutboxSignal is signalled after each write of this process that left jobs behind; one missed signal stands for many. It is
// never closed.
func (s *Store) OutboxSignal() <-chan struct{} { return s.outbox }

// wakeOutbox never blocks a writer.
func (s *Store) wakeOutbox() {
	select {
	case s.outbox <- struct{}{}:
	default:
	}
}
