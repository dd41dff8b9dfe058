package mongodb

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth"
	"hearth/internal/tsdb"
)

const (
	// scanBuffer is about how many logs a scan holds in memory.
	scanBuffer = 1 << 17
	// scanPage is how many sums of hours it reads at once.
	scanPage = 512
)

// everSpan is the span of all logs.
func everSpan() hearth.Span {
	return hearth.Span{From: time.UnixMilli(firstMilli), To: time.UnixMilli(endMilli)}
}

var errScanEnded = errors.New("the reader of the scan has had enough")

// ScanLogs implements hearth.LogStore. It stays with the versions at which it began: chunks tell the version that their
// logs came with, and young ones are not packed (see packAge), so that a scan of up to an hour is exact.
func (s *Store) ScanLogs(ctx context.Context, scan hearth.LogScan) iter.Seq2[hearth.LogEntry, error] {
	return func(yield func(hearth.LogEntry, error) bool) {
		of := logScope{reach: scan.Reach, devices: scan.Devices, events: scan.Events, span: scan.Span}
		err := s.doLong(ctx, "ScanLogs", func(ctx context.Context) error {
			run := &scanRun{ctx: ctx, yield: func(e hearth.LogEntry) bool { return yield(e, nil) }}
			err := s.logs.view(ctx, of, func(v *logView) error {
				if run.logView != nil {
					return errors.New("a scan cannot begin anew")
				}
				run.logView = v
				return run.all()
			})
			if errors.Is(err, errScanEnded) {
				return nil
			}
			return err
		})
		if err != nil {
			yield(hearth.LogEntry{}, err)
		}
	}
}

// scanRun goes through a view's logs in the order of time.
type scanRun struct {
	*logView
	ctx   context.Context //nolint:containedctx // it lives no longer than the scan
	yield func(hearth.LogEntry) bool
	// tail are the wanted logs that no document has, in order; what was given is cut off.
	tail   []hearth.LogEntry
	buffer []hearth.LogEntry
}

func (r *scanRun) all() error {
	var failed error
	r.tailEntries(func(series []tsdb.Series, e *tsdb.Entry) {
		failed = errors.Join(failed, r.take(&r.tail, series, e))
	})
	if failed != nil {
		return failed
	}
	slices.SortFunc(r.tail, compareLogs)
	last := tsdb.BucketOf(tsdb.LevelHour, r.to-1)
	for first := tsdb.BucketOf(tsdb.LevelHour, r.from); first <= last; {
		hours, next, err := r.hours(first, last)
		if err != nil {
			return err
		}
		for _, h := range hours {
			start := tsdb.BucketStart(tsdb.LevelHour, h.bucket)
			if err := r.emit(max(r.from, start), min(r.to, start+tsdb.HourMillis), h.parts); err != nil {
				return err
			}
		}
		first = next
	}
	return r.give(nil, r.to)
}

func (r *scanRun) take(into *[]hearth.LogEntry, series []tsdb.Series, e *tsdb.Entry) error {
	name, err := r.e.eventOf(r.ctx, series[e.Series].Event)
	*into = append(*into, hearth.LogEntry{Device: series[e.Series].Device, Event: name, Value: e.Value, At: e.At, Seq: e.Seq})
	return err
}

// hourParts are the parts of one hour, of all wanted blocks.
type hourParts struct {
	bucket int64
	parts  []part
}

// hours returns the next hours that have logs, each complete, and where the ones after them start.
func (r *scanRun) hours(first, last int64) (out []hourParts, next int64, err error) {
	n := 0
	read := func(filter bson.M, limit int64) error {
		out, n = out[:0], 0
		if r.devices != nil {
			filter["block"] = in(r.blocks())
		}
		r.scopeFilter(filter) // by (scope, level, bucket, block), or (level, bucket)
		filter["level"] = tsdb.LevelHour
		cursor, err := r.e.sums.Find(r.ctx, filter, projecting("scope", "bucket", "now.ver", "now.n", "now.parts", "old.ver", "old.n", "old.parts").
			SetSort(bson.M{"bucket": 1}).SetLimit(limit))
		if err != nil {
			return err
		}
		for cursor.Next(r.ctx) {
			n++
			var doc sumDoc
			if err := cursor.Decode(&doc); err != nil {
				return errors.Join(err, cursor.Close(r.ctx))
			}
			if len(out) == 0 || out[len(out)-1].bucket != doc.Bucket {
				out = append(out, hourParts{bucket: doc.Bucket})
			}
			at := &out[len(out)-1]
			at.parts = append(at.parts, r.seen(&doc)...)
		}
		return errors.Join(cursor.Err(), cursor.Close(r.ctx))
	}
	if err := read(bson.M{"bucket": bson.M{"$gte": first, "$lte": last}}, scanPage); err != nil {
		return nil, 0, err
	}
	if n < scanPage {
		return out, last + 1, nil
	}
	if len(out) > 1 {
		// The last hour may not be complete.
		return out[:len(out)-1], out[len(out)-1].bucket, nil
	}
	hour := out[0].bucket
	err = read(bson.M{"bucket": hour}, 0)
	return out, hour + 1, err
}

// seen returns the parts of an hour that the scan sees, also when the lane has gone on far since it began.
func (r *scanRun) seen(d *sumDoc) []part {
	ver := r.ver(d.Scope)
	if state, err := d.at(ver); err == nil {
		if state == nil {
			return nil
		}
		return state.Parts
	}
	return slices.DeleteFunc(slices.Clone(d.Now.Parts), func(p part) bool { return p.From > ver })
}

// emit returns the logs of [from, to), which lie in parts and in the tail; a stretch of too many logs is halved.
func (r *scanRun) emit(from, to int64, parts []part) error {
	if from >= to {
		return nil
	}
	var touched []part
	estimate := 0.0
	for _, p := range parts {
		low, high := max(from, p.Lo), min(to, p.Hi+1)
		if low >= high {
			continue
		}
		touched = append(touched, p)
		estimate += float64(p.N) * float64(high-low) / float64(p.Hi+1-p.Lo)
	}
	if estimate > scanBuffer && to-from > 1 {
		middle := from + (to-from)/2
		if err := r.emit(from, middle, touched); err != nil {
			return err
		}
		return r.emit(middle, to, touched)
	}
	r.buffer = r.buffer[:0]
	err := r.eachChunk(r.ctx, []cut{{touched, from, to}}, func(series []tsdb.Series, entries []tsdb.Entry) error {
		for i := range entries {
			if err := r.take(&r.buffer, series, &entries[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(r.buffer, compareLogs)
	return r.give(r.buffer, to)
}

// give yields sorted logs, and those of the tail from before the time to, in order.
func (r *scanRun) give(logs []hearth.LogEntry, to int64) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	for len(logs) > 0 || len(r.tail) > 0 && r.tail[0].At < to {
		from := &logs
		if len(logs) == 0 || len(r.tail) > 0 && compareLogs(r.tail[0], logs[0]) < 0 {
			from = &r.tail
		}
		if !r.yield((*from)[0]) {
			return errScanEnded
		}
		*from = (*from)[1:]
	}
	return nil
}
