package sqlite

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// unindexed is how many entries audit_targets may lack, which a reader has to look through, before they are added.
	unindexed = 4096
	// indexedAtOnce bounds the entries that one write adds: a millisecond's.
	indexedAtOnce = 128
	// mostRecent bounds the entries that are remembered until they are added; of more, the oldest are read.
	mostRecent = 2 * unindexed
)

// auditTarget is an entry as audit_targets has it.
type auditTarget struct {
	target  string
	at, seq int64
}

// targetIndexer adds entries to audit_targets while others write.
type targetIndexer struct {
	s       *Store
	ctx     context.Context //nolint:containedctx // ends when the store is closed
	stop    context.CancelFunc
	running atomic.Bool
	work    sync.WaitGroup

	mu sync.Mutex
	// recent are the newest entries that this process has written, one after the other.
	recent []auditTarget
}

func newTargetIndexer(s *Store) *targetIndexer {
	x := &targetIndexer{s: s}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x
}

// written remembers entries that are durable, and has them added if audit_targets lacks enough. It never blocks the writer.
func (x *targetIndexer) written(entries []auditTarget, indexed int64) {
	x.mu.Lock()
	if n := len(x.recent); n > 0 && x.recent[n-1].seq+1 != entries[0].seq {
		x.recent = nil // another process has written some
	}
	x.recent = append(x.recent, entries...)
	if over := len(x.recent) - mostRecent; over > 0 {
		x.recent = append([]auditTarget(nil), x.recent[over:]...)
	}
	x.mu.Unlock()
	if entries[len(entries)-1].seq-indexed >= unindexed {
		x.wake()
	}
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
		entries, err := x.lacking()
		if err != nil || len(entries) < unindexed {
			return err
		}
		upTo := slices.MaxFunc(entries, func(a, b auditTarget) int { return cmp.Compare(a.seq, b.seq) }).seq
		for len(entries) > 0 {
			some := entries[:min(len(entries), indexedAtOnce)]
			entries = entries[len(some):]
			err := x.s.writeLong(x.ctx, "IndexAudit", func(t *tx) error {
				if err := indexTargets(t, some); err != nil || len(entries) > 0 {
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

// lacking returns the oldest entries that are not in audit_targets, in the order in which they are added: neighbours share pages.
func (x *targetIndexer) lacking() (entries []auditTarget, err error) {
	err = x.s.read(x.ctx, "UnindexedAudit", func(r *reader) error {
		var indexed int64
		if err := r.row(`SELECT seq FROM audit_indexed`).Scan(&indexed); err != nil {
			return err
		}
		var known bool
		if entries, known = x.remembered(indexed); known {
			return nil
		}
		rows, err := r.query(`SELECT target, at, seq FROM audit NOT INDEXED WHERE seq>? ORDER BY seq LIMIT ?`, indexed, unindexed)
		if err != nil {
			return err
		}
		for rows.Next() {
			var e auditTarget
			if err := rows.Scan(&e.target, &e.at, &e.seq); err != nil {
				return closed(rows, err)
			}
			entries = append(entries, e)
		}
		return closed(rows, nil)
	})
	slices.SortFunc(entries, func(a, b auditTarget) int {
		return cmp.Or(strings.Compare(a.target, b.target), cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq))
	})
	return entries, err
}

// remembered returns a copy of the next entries after a number, and forgets those before; false if they have to be read.
func (x *targetIndexer) remembered(indexed int64) (entries []auditTarget, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.recent) == 0 || x.recent[0].seq > indexed+1 {
		return nil, false
	}
	x.recent = x.recent[min(indexed+1-x.recent[0].seq, int64(len(x.recent))):]
	return slices.Clone(x.recent[:min(len(x.recent), unindexed)]), true
}

// indexTargets adds entries to audit_targets, unless they are there or were removed: the oldest are.
func indexTargets(t *tx, entries []auditTarget) error {
	args := make([]any, 0, 3*indexedAtOnce)
	for _, e := range entries {
		args = append(args, e.target, e.at, e.seq)
	}
	_, err := t.exec(`INSERT OR IGNORE INTO audit_targets(target, at, seq) SELECT * FROM (VALUES(?,?,?)`+strings.Repeat(`,(?,?,?)`, len(entries)-1)+`)
		WHERE column3>=(SELECT min(seq) FROM audit)`, args...)
	return err
}
