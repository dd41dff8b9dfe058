package sqlite

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// unindexed is how many entries audit_targets may lack, which a reader has to look through, before they are added.
	unindexed = 4096
	// indexedAtOnce bounds the entries that one write adds: a millisecond's.
	indexedAtOnce = 128
)

// targetIndexer adds entries to audit_targets while others write.
type targetIndexer struct {
	s       *Store
	ctx     context.Context //nolint:containedctx // ends when the store is closed
	stop    context.CancelFunc
	running atomic.Bool
	work    sync.WaitGroup
}

func newTargetIndexer(s *Store) *targetIndexer {
	x := &targetIndexer{s: s}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x
}

// wake has entries added if audit_targets lacks enough of them. It never blocks the writer.
func (x *targetIndexer) wake() {
	if x.ctx.Err() != nil || !x.running.CompareAndSwap(false, true) {
		return
	}
	x.work.Go(func() {
		defer x.running.Store(false)
		if err := x.run(); err != nil && x.ctx.Err() == nil {
			x.s.options.Logger.Warn("the targets of audit entries are not indexed yet", "err", err)
		}
	})
}

// run adds entries until audit_targets lacks few.
func (x *targetIndexer) run() error {
	for {
		seqs, err := x.lacking()
		if err != nil || len(seqs) < unindexed {
			return err
		}
		upTo := slices.Max(seqs)
		for len(seqs) > 0 {
			some := seqs[:min(len(seqs), indexedAtOnce)]
			seqs = seqs[len(some):]
			err := x.s.writeLong(x.ctx, "IndexAudit", func(t *tx) error {
				if err := indexTargets(t, some); err != nil || len(seqs) > 0 {
					return err
				}
				_, err := t.exec(`UPDATE audit_indexed SET seq=max(seq, ?)`, upTo)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
}

// lacking returns the numbers of the oldest entries that are not in audit_targets, in the order in which they are added: neighbours share pages.
func (x *targetIndexer) lacking() (seqs []int64, err error) {
	err = x.s.read(x.ctx, "UnindexedAudit", func(r *reader) error {
		rows, err := r.query(`SELECT seq FROM (SELECT target, at, seq FROM audit NOT INDEXED WHERE seq>(SELECT seq FROM audit_indexed) ORDER BY seq LIMIT ?)
			ORDER BY target, at, seq`, unindexed)
		if err != nil {
			return err
		}
		for rows.Next() {
			var seq int64
			if err := rows.Scan(&seq); err != nil {
				return closed(rows, err)
			}
			seqs = append(seqs, seq)
		}
		return closed(rows, nil)
	})
	return seqs, err
}

// indexTargets adds entries to audit_targets, unless they are there or were removed.
func indexTargets(t *tx, seqs []int64) error {
	list, err := json.Marshal(seqs)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT OR IGNORE INTO audit_targets(target, at, seq)
		SELECT a.target, a.at, a.seq FROM json_each(?) l CROSS JOIN audit a ON a.seq=l.value`, string(list))
	return err
}
