package steps

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
	return jobDoc{ID: j.ID, Kind: j.Kind, Queue: j.Queue, Payload: j.Payload, Unique: j.Unique, RunAt: Millis(j.RunAt)}
}

// storeJobs stores jobs; one that is stored stays. A job that the queue took and that comes back here is the same to it.
func (db *DB) storeJobs(ctx context.Context, jobs []jobDoc) error {
	return db.InsertMissing(ctx, Outbox, jobs)
}

// OutboxSignal is signalled after each write of this process that left jobs behind; one missed signal stands for many. It is
// never closed.
func (db *DB) OutboxSignal() <-chan struct{} { return db.outbox }

// WebhookSignal is OutboxSignal for who takes the jobs of hearth.WebhookQueue.
func (db *DB) WebhookSignal() <-chan struct{} { return db.hooks }

// wakeOutbox never blocks a writer.
func (db *DB) wakeOutbox() {
	for _, signal := range []chan struct{}{db.outbox, db.hooks} {
		select {
		case signal <- struct{}{}:
		default:
		}
	}
}
