package mongodb

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/tsdb"
)

// Bounds of one step that takes back space.
const (
	maxTrimHours = 500
	maxTrimDays  = 8
)

// TrimLogs implements hearth.LogStore. The horizon hides at once; what lies before it is removed, and the day and the month
// that it cuts are made anew, step by step.
func (s *Store) TrimLogs(ctx context.Context, before time.Time) (removed int64, more bool, err error) {
	horizon := tsdb.BucketOf(tsdb.LevelHour, max(firstMilli, min(endMilli, before.UnixMilli()))) * tsdb.HourMillis
	err = s.do(ctx, "TrimLogs", func(ctx context.Context) error {
		// What is done again is right to do twice.
		return again(ctx, func() error {
			removed, more, err = s.logs.trim(ctx, horizon)
			return err
		})
	})
	return removed, more, err
}

func (e *logEngine) trim(ctx context.Context, horizon int64) (removed int64, more bool, err error) {
	states, err := e.laneStates(ctx, nil)
	if err != nil {
		return 0, false, err
	}
	stored := states[allLanes].Horizon
	if horizon > stored {
		_, err := e.lanes.UpdateOne(ctx, bson.M{"_id": int64(allLanes)}, bson.M{"$max": bson.M{"horizon": horizon}}, options.UpdateOne().SetUpsert(true))
		if err != nil && !isDuplicate(err) {
			return 0, false, err
		}
		stored = horizon
	}
	removed, more, err = e.trimHours(ctx, stored)
	if err != nil || more {
		return removed, more, err
	}
	for _, one := range []struct {
		from   *mongo.Collection
		filter bson.M
	}{
		{e.days, bson.M{"day": bson.M{"$lt": tsdb.BucketOf(tsdb.LevelDay, stored)}}},
		{e.sums, bson.M{"level": tsdb.LevelDay, "bucket": bson.M{"$lt": tsdb.BucketOf(tsdb.LevelDay, stored)}}},
		{e.sums, bson.M{"level": tsdb.LevelMonth, "bucket": bson.M{"$lt": tsdb.BucketOf(tsdb.LevelMonth, stored)}}},
	} {
		if _, err := one.from.DeleteMany(ctx, one.filter); err != nil {
			return removed, false, err
		}
	}
	if more, err = e.mendCut(ctx, stored); err != nil || more {
		return removed, more, err
	}
	if horizon < stored {
		// Batches that are not folded may hold logs from before the horizon, which must not come back.
		if err := e.foldStored(ctx); err != nil {
			return removed, false, err
		}
		var left bool
		left, err = e.store.exists(ctx, collRollups, bson.D{
			{Key: "level", Value: tsdb.LevelHour}, {Key: "bucket", Value: bson.D{{Key: "$lt", Value: tsdb.BucketOf(tsdb.LevelHour, stored)}}},
		})
		if err != nil || left {
			return removed, left, err
		}
		// Nothing from before the horizon is left: it may move back.
		_, err = e.lanes.UpdateOne(ctx, bson.M{"_id": int64(allLanes), "horizon": stored}, bson.M{"$set": bson.M{"horizon": horizon}})
	}
	return removed, false, err
}

// foldStored folds every batch that is stored by now, whatever comes meanwhile.
func (e *logEngine) foldStored(ctx context.Context) error {
	now := e.now().UnixMilli()
	for lane := range int64(laneCount) {
		for try := 0; ; try++ {
			// By the index of open.
			waits, err := e.store.exists(ctx, collBatches, live(bson.E{Key: "open", Value: lane}, bson.E{Key: "at", Value: bson.D{{Key: "$lte", Value: now}}}))
			if err != nil {
				return err
			}
			if !waits {
				break
			}
			if _, err := e.foldLane(ctx, lane); errors.Is(err, errBusy) {
				err = pause(ctx, try)
				if err != nil {
					return err
				}
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// trimHours removes the oldest hours from before the horizon, with their logs.
func (e *logEngine) trimHours(ctx context.Context, horizon int64) (removed int64, more bool, err error) {
	// By (level, bucket).
	filter := bson.M{"level": tsdb.LevelHour, "bucket": bson.M{"$lt": tsdb.BucketOf(tsdb.LevelHour, horizon)}}
	cursor, err := e.sums.Find(ctx, filter, projecting("now.n", "now.parts").SetLimit(maxTrimHours))
	if err != nil {
		return 0, false, err
	}
	var docs []sumDoc
	if err := cursor.All(ctx, &docs); err != nil || len(docs) == 0 {
		return 0, false, err
	}
	var hours, chunks []string
	for _, d := range docs {
		hours = append(hours, d.ID)
		removed += d.Now.N
		for _, p := range d.Now.Parts {
			chunks = append(chunks, p.ID)
		}
	}
	for some := range slices.Chunk(chunks, idsAtOnce) {
		if _, err := e.chunks.DeleteMany(ctx, bson.M{"_id": in(some)}); err != nil {
			return 0, false, err
		}
	}
	if _, err := e.sums.DeleteMany(ctx, bson.M{"_id": in(hours)}); err != nil {
		return 0, false, err
	}
	return removed, len(docs) == maxTrimHours, nil
}

// mendCut makes days, and with them their months, anew that still count logs from before the horizon.
func (e *logEngine) mendCut(ctx context.Context, horizon int64) (more bool, err error) {
	day := tsdb.BucketOf(tsdb.LevelDay, horizon)
	month := tsdb.BucketOf(tsdb.LevelMonth, horizon)
	cursor, err := e.sums.Find(ctx, bson.M{"now.n": bson.M{"$gt": 0}, "now.lo": bson.M{"$lt": horizon}, "$or": bson.A{
		bson.M{"level": tsdb.LevelDay, "bucket": day}, bson.M{"level": tsdb.LevelMonth, "bucket": month},
	}}, projecting("block").SetLimit(maxTrimDays))
	if err != nil {
		return false, err
	}
	var docs []sumDoc
	if err := cursor.All(ctx, &docs); err != nil {
		return false, err
	}
	for _, d := range docs {
		if err := e.rebuild(ctx, laneWork{Block: d.Block, Day: day, Before: horizon}); err != nil {
			return true, passBusy(err)
		}
	}
	return len(docs) > 0, nil
}

// passBusy passes over errBusy: the next step comes to it.
func passBusy(err error) error {
	if errors.Is(err, errBusy) {
		return nil
	}
	return err
}

// graveTime is how long a deleted device is remembered after its logs were removed: longer than any process can take it
// for alive (see deviceMemory), so that late logs of it are found.
const graveTime = 10 * time.Minute

// Reclaim implements hearth.LogStore: a step takes the deleted devices out of one day of one block, or packs an hour whose
// logs lie in many documents.
func (s *Store) Reclaim(ctx context.Context) (more bool, err error) {
	err = s.do(ctx, "Reclaim", func(ctx context.Context) error {
		return again(ctx, func() error {
			more, err = s.logs.reclaim(ctx)
			return err
		})
	})
	return more, err
}

// tombstone is a deleted device as its document remains.
type tombstone struct {
	ID    string       `bson:"_id"`
	Key   int64        `bson:"key"`
	Scope hearth.Scope `bson:"dead"`
	// CleanAt is when its logs were found to be gone, in Unix milliseconds.
	CleanAt int64 `bson:"clean_at"`
}

func (e *logEngine) reclaim(ctx context.Context) (more bool, err error) {
	var t tombstone
	now := e.now().UnixMilli()
	// By the partial index of dead.
	err = e.devices.FindOne(ctx, bson.M{"dead": bson.M{"$exists": true}, "$or": bson.A{
		bson.M{"clean_at": bson.M{"$exists": false}}, bson.M{"clean_at": bson.M{"$lt": now - graveTime.Milliseconds()}},
	}}).Decode(&t)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return e.pack(ctx)
	}
	if err != nil {
		return false, err
	}
	found, err := e.findNames(ctx, []string{scopeName + string(t.Scope)})
	if err != nil {
		return false, err
	}
	if scope, known := found[scopeName+string(t.Scope)]; known {
		for n := 1; n > 0; {
			// What still waits may hold logs of it.
			if n, err = e.foldLane(ctx, laneOf(scope)); err != nil {
				return true, passBusy(err)
			}
		}
		did, err := e.exhume(ctx, t, scope)
		if err != nil || did {
			return true, passBusy(err)
		}
	}
	if t.CleanAt > 0 {
		_, err = e.devices.DeleteOne(ctx, bson.M{"_id": t.ID, "dead": bson.M{"$exists": true}})
	} else {
		_, err = e.devices.UpdateOne(ctx, bson.M{"_id": t.ID, "dead": bson.M{"$exists": true}}, bson.M{"$set": bson.M{"clean_at": now}})
	}
	return true, err
}

// exhume takes a device out of the first day that has logs of it; false if there is none.
func (e *logEngine) exhume(ctx context.Context, t tombstone, scope int64) (did bool, err error) {
	group := t.Key / tsdb.GroupSize
	v := &logView{e: e, devices: map[int64]int64{t.Key: scope}, scopes: []int64{scope}}
	if v.lanes, err = e.laneStates(ctx, []int64{laneOf(scope)}); err != nil {
		return false, err
	}
	errFound := errors.New("found")
	var day int64
	err = v.eachDay(ctx, bson.M{"group": group}, options.Find().SetSort(bson.M{"day": 1}), func(d *dayDoc, s *dayState) error {
		if s == nil {
			return nil
		}
		if err := s.decode(&v.days, keepOnly(v.wants)); err != nil {
			return err
		}
		if len(v.days.Lines) > 0 {
			day = d.Day
			return errFound
		}
		return nil
	})
	if !errors.Is(err, errFound) {
		return false, err
	}
	return true, e.rebuild(ctx, laneWork{Block: blockOf(scope, t.Key), Day: day, Without: []int64{t.Key}, Before: firstMilli})
}

// packAge is how old a chunk is when it is packed with others, which mixes logs of different versions.
const packAge = time.Hour

// pack makes a day anew that has an hour, over for a while, in many documents.
func (e *logEngine) pack(ctx context.Context) (more bool, err error) {
	var d sumDoc
	until := e.now().Add(-packAge)
	// By the partial index of frag.
	err = e.sums.FindOne(ctx, bson.M{"frag": bson.M{"$lt": tsdb.BucketOf(tsdb.LevelHour, until.UnixMilli()) - 1},
		"now.parts." + lastOfMany + ".t": bson.M{"$lt": until.UnixMilli()}}).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	work := laneWork{Block: d.Block, Day: tsdb.FloorDiv(d.Bucket, 24), Before: firstMilli}
	return true, passBusy(e.rebuild(ctx, work))
}

// lastOfMany is the index of the part that makes an hour one of many parts.
const lastOfMany = "7"
