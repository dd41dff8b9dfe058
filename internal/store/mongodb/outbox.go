package mongodb

import (
	"context"

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

// storeJobs stores jobs; one that is stored stays. A job that the queue took and that comes back here is the same to it.
func (s *Store) storeJobs(ctx context.Context, jobs []jobDoc) error {
	return s.insertMissing(ctx, collOutbox, jobs)
}

// OutboxSignal is signalled after each write of this process that left jobs behind; one missed signal stands for many. It is
// never closed.
func (s *Store) OutboxSignal() <-chan struct{} { return s.outbox }

// WebhookSignal is OutboxSignal for who takes the jobs of hearth.WebhookQueue.
func (s *Store) WebhookSignal() <-chan struct{} { return s.hooks }

// wakeOutbox never blocks a writer.
func (s *Store) wakeOutbox() {
	for _, signal := range []chan struct{}{s.outbox, s.hooks} {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
}
