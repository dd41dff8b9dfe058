package mongodb

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"hearth"
	"hearth/internal/tsdb"
)

// ReconcileRollups compares the rollups with the logs, and makes those anew that differ; it returns the number of days (of a
// block of devices) that it mended. The numbers of logs are compared for all days; every sum only for days since the given
// one, because that reads the logs. Nothing but damage from outside makes them differ.
func (s *Store) ReconcileRollups(ctx context.Context, since time.Time) (mended int, err error) {
	err = s.do(ctx, "ReconcileRollups", func(ctx context.Context) error {
		mended, err = s.logs.reconcile(ctx, tsdb.BucketOf(tsdb.LevelDay, since.UnixMilli()))
		return err
	})
	return mended, err
}

func (e *logEngine) reconcile(ctx context.Context, since int64) (mended int, err error) {
	blocks := map[int64]bool{}
	for _, from := range []*mongo.Collection{e.chunks, e.sums} {
		cursor, err := from.Aggregate(ctx, bson.A{bson.M{"$group": bson.M{"_id": "$block"}}})
		if err != nil {
			return 0, err
		}
		var found []struct {
			Block int64 `bson:"_id"`
		}
		if err := cursor.All(ctx, &found); err != nil {
			return 0, err
		}
		for _, one := range found {
			blocks[one.Block] = true
		}
	}
	for block := range blocks {
		n, err := e.reconcileBlock(ctx, block, since)
		mended += n
		if err != nil {
			return mended, err
		}
	}
	return mended, nil
}

// reconcileBlock compares one block.
func (e *logEngine) reconcileBlock(ctx context.Context, block, since int64) (mended int, err error) {
	lane := laneOf(scopeOfBlock(block))
	states, err := e.laneStates(ctx, []int64{lane})
	if err != nil {
		return 0, err
	}
	if states[lane].Work != nil {
		return 0, nil // what is about to be written may be there in part
	}
	days, err := e.countedDays(ctx, block)
	if err != nil {
		return 0, err
	}
	for _, day := range days.all() {
		wrong := days.differ(day)
		if !wrong && day >= since {
			if wrong, err = e.damaged(ctx, laneWork{Block: block, Day: day, Before: firstMilli, Ver: states[lane].Ver + 1, At: e.now().UnixMilli()}); errors.Is(err, errOvertaken) {
				continue // it was written meanwhile
			}
			if err != nil {
				return mended, err
			}
		}
		if !wrong {
			continue
		}
		// A fold in between looks like damage here, but not to whoever has the lane.
		err := e.rebuild(ctx, laneWork{Block: block, Day: day, Before: firstMilli})
		if errors.Is(err, errBusy) {
			continue
		}
		if err != nil {
			return mended, err
		}
		e.store.options.Logger.WarnContext(ctx, "rollups did not equal the logs and were made anew", "block", block, "day", day)
		mended++
	}
	return mended, nil
}

// dayCounts are the numbers of a block's logs by day: of the logs, and as each level and the groups' days say.
type dayCounts struct {
	logs, hours, days, months map[int64]int64
}

// countedDays counts in the database: the logs themselves by an aggregation over their chunks.
func (e *logEngine) countedDays(ctx context.Context, block int64) (*dayCounts, error) {
	c := &dayCounts{map[int64]int64{}, map[int64]int64{}, map[int64]int64{}, map[int64]int64{}}
	// By (block, hour).
	cursor, err := e.chunks.Aggregate(ctx, bson.A{
		bson.M{"$match": bson.M{"block": block, "gone": nil}},
		bson.M{"$group": bson.M{"_id": "$hour", "n": bson.M{"$sum": "$part.n"}}},
	})
	if err != nil {
		return nil, err
	}
	var counted []struct {
		Hour int64 `bson:"_id"`
		N    int64 `bson:"n"`
	}
	if err := cursor.All(ctx, &counted); err != nil {
		return nil, err
	}
	for _, one := range counted {
		c.logs[tsdb.FloorDiv(one.Hour, 24)] += one.N
	}
	// By (scope, level, bucket, block).
	cursor, err = e.sums.Find(ctx, bson.M{"scope": scopeOfBlock(block), "block": block}, projecting("level", "bucket", "now.n"))
	if err != nil {
		return nil, err
	}
	var docs []sumDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, err
	}
	for _, d := range docs {
		switch d.Level {
		case tsdb.LevelHour:
			c.hours[tsdb.FloorDiv(d.Bucket, 24)] += d.Now.N
		case tsdb.LevelDay:
			c.days[d.Bucket] += d.Now.N
		default:
			c.months[d.Bucket] += d.Now.N
		}
	}
	return c, nil
}

// all returns the days that anything tells of.
func (c *dayCounts) all() (days []int64) {
	seen := map[int64]bool{}
	add := func(day int64) {
		if !seen[day] {
			seen[day] = true
			days = append(days, day)
		}
	}
	for _, counts := range []map[int64]int64{c.logs, c.hours, c.days} {
		for day := range counts {
			add(day)
		}
	}
	for month := range c.months {
		if c.monthDiffers(month) {
			add(tsdb.BucketOf(tsdb.LevelDay, tsdb.BucketStart(tsdb.LevelMonth, month)))
		}
	}
	slices.Sort(days)
	return days
}

func (c *dayCounts) monthDiffers(month int64) bool {
	n := int64(0)
	for day, count := range c.logs {
		if monthOf(day) == month {
			n += count
		}
	}
	return n != c.months[month]
}

func monthOf(day int64) int64 {
	return tsdb.BucketOf(tsdb.LevelMonth, tsdb.BucketStart(tsdb.LevelDay, day))
}

func (c *dayCounts) differ(day int64) bool {
	n := c.logs[day]
	return n != c.hours[day] || n != c.days[day] || c.monthDiffers(monthOf(day))
}

// damaged compares every sum of a day with its logs.
func (e *logEngine) damaged(ctx context.Context, work laneWork) (bool, error) {
	r, err := e.recount(ctx, &work)
	if err != nil {
		return false, err
	}
	for id, doc := range r.sums {
		state, err := doc.at(work.Ver - 1)
		if err != nil {
			return false, err
		}
		want := r.add[id]
		if state == nil {
			state = &sumState{}
		}
		got, err := state.decode(doc.Bucket)
		if err != nil || !sameSums(&got, want) {
			return true, nil //nolint:nilerr // what cannot be read is damaged
		}
	}
	for id, doc := range r.days {
		state, err := doc.at(work.Ver - 1)
		if err != nil {
			return false, err
		}
		if state == nil {
			state = &dayState{}
		}
		want := r.addDay[id]
		if want == nil {
			want = &tsdb.Day{}
		}
		var got tsdb.Day
		if err := state.decode(&got, tsdb.DayParts{Hours: tsdb.WholeDay, Sketches: true}); err != nil || !sameDays(&got, want) {
			return true, nil //nolint:nilerr // what cannot be read is damaged
		}
	}
	return false, nil
}

func sameSums(a, b *tsdb.Sum) bool {
	return a.Entries == b.Entries && (a.Entries == 0 || a.MinAt == b.MinAt && a.MaxAt == b.MaxAt) &&
		slices.EqualFunc(a.Totals, b.Totals, sameCell) && slices.EqualFunc(a.Cells, b.Cells, sameCell) &&
		bytes.Equal(tsdb.AppendSketches(nil, &a.Sketches), tsdb.AppendSketches(nil, &b.Sketches))
}

func sameCell(a, b tsdb.Cell) bool {
	return a.Device == b.Device && a.Event == b.Event && sameStats(a.Stats, b.Stats)
}

// sameStats compares; sums may differ by the order in which they were added up.
func sameStats(a, b hearth.Stats) bool {
	scale := float64(a.Count) * max(math.Abs(a.Min), math.Abs(a.Max))
	return a.Count == b.Count && a.Min == b.Min && a.Max == b.Max && math.Abs(a.Sum-b.Sum) <= 1e-9*scale
}

func sameDays(a, b *tsdb.Day) bool {
	return slices.EqualFunc(a.Lines, b.Lines, func(x, y tsdb.DayLine) bool {
		return x.Device == y.Device && x.Event == y.Event && x.Hours == y.Hours &&
			slices.EqualFunc(a.StatsOf(&x), b.StatsOf(&y), sameStats) && slices.Equal(x.Sketch.Bins, y.Sketch.Bins)
	})
}

// reconcileDays is how many days back Tidy compares every sum.
const reconcileDays = 2

// Tidy is the daily care: rollups are compared with the logs. It returns the number of days that had to be mended.
func (s *Store) Tidy(ctx context.Context) (int, error) {
	return s.ReconcileRollups(ctx, s.now().AddDate(0, 0, -reconcileDays))
}
