package mongodb

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/store/mongodb/steps"
)

// RecordHeartbeats implements hearth.DeviceStore. However many heartbeats there are, it is one command, with an operation
// for each millisecond that heartbeats came at, and one for each status that they carry.
func (s *Store) RecordHeartbeats(ctx context.Context, beats []hearth.Heartbeat) error {
	if len(beats) == 0 {
		return nil
	}
	return s.Do(ctx, "RecordHeartbeats", func(ctx context.Context) error {
		models := heartbeatModels(beats)
		return steps.Again(ctx, func() error {
			_, err := s.Collection(collDevices).BulkWrite(ctx, models)
			return err
		})
	})
}

// PutBackHeartbeats implements hearth.DeviceStore.
func (s *Store) PutBackHeartbeats(ctx context.Context, beats []hearth.Heartbeat) error {
	models := make([]mongo.WriteModel, len(beats))
	for i, beat := range beats {
		at := steps.Millis(beat.At)
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{{Key: "key", Value: beat.Key}, {Key: "last", Value: bson.D{{Key: "$gt", Value: at}}}}).
			SetUpdate(steps.Set(bson.D{{Key: "last", Value: at}, {Key: "seen", Value: hourOf(at)}, {Key: "offline_at", Value: steps.Millis(beat.Until)}}))
	}
	if len(models) == 0 {
		return nil
	}
	return s.Do(ctx, "PutBackHeartbeats", func(ctx context.Context) error {
		return steps.Again(ctx, func() error {
			_, err := s.Collection(collDevices).BulkWrite(ctx, models)
			return err
		})
	})
}

// heartbeatModels returns what a group of heartbeats changes. Doing all of it again changes nothing.
func heartbeatModels(beats []hearth.Heartbeat) []mongo.WriteModel {
	// The last sign of life of each device, and the last status that it told: the rest cannot show.
	type sign struct{ at, until int64 }
	last := make(map[int64]sign, len(beats))
	told := map[int64]hearth.DeviceStatus{}
	for _, beat := range beats {
		if at := steps.Millis(beat.At); at >= last[beat.Key].at {
			last[beat.Key] = sign{at, steps.Millis(beat.Until)}
		}
		if beat.Status != "" {
			told[beat.Key] = beat.Status
		}
	}
	byTime, byStatus := map[sign][]int64{}, map[hearth.DeviceStatus][]int64{}
	var silent []int64
	for key, of := range last {
		byTime[of] = append(byTime[of], key)
		if status, ok := told[key]; ok {
			byStatus[status] = append(byStatus[status], key)
		} else {
			silent = append(silent, key)
		}
	}
	many := func(keys []int64, where bson.E, change bson.D) mongo.WriteModel {
		slices.Sort(keys)
		// By the unique index of key.
		return mongo.NewUpdateManyModel().SetFilter(bson.D{among("key", keys), where}).SetUpdate(steps.Set(change))
	}
	var models []mongo.WriteModel
	signs := slices.SortedFunc(maps.Keys(byTime), func(a, b sign) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.until, b.until)) })
	for _, s := range signs {
		if s.until > 0 {
			models = append(models, many(byTime[s], bson.E{Key: "last", Value: bson.D{{Key: "$lte", Value: s.at}}},
				bson.D{{Key: "last", Value: s.at}, {Key: "seen", Value: hourOf(s.at)}, {Key: "offline_at", Value: s.until}}))
			continue
		}
		// What a connection promised counts until then, unless silence counts for longer.
		silent := bson.D{{Key: "$add", Value: bson.A{s.at, silence}}}
		over := bson.D{{Key: "$and", Value: bson.A{
			bson.D{{Key: "$lt", Value: bson.A{"$last", s.at}}}, bson.D{{Key: "$gt", Value: bson.A{"$offline_at", 0}}},
			bson.D{{Key: "$lte", Value: bson.A{"$offline_at", silent}}},
		}}}
		models = append(models, many(byTime[s], bson.E{Key: "$expr", Value: over}, bson.D{{Key: "offline_at", Value: 0}}),
			many(byTime[s], bson.E{Key: "last", Value: bson.D{{Key: "$lt", Value: s.at}}},
				bson.D{{Key: "last", Value: s.at}, {Key: "seen", Value: hourOf(s.at)}}))
	}
	for _, status := range slices.Sorted(maps.Keys(byStatus)) {
		models = append(models, many(byStatus[status], bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "status", Value: bson.D{{Key: "$ne", Value: status}}}}, bson.D{{Key: "idle", Value: true}},
		}}, bson.D{{Key: "status", Value: status}, {Key: "idle", Value: false}}))
	}
	if len(silent) > 0 {
		models = append(models, many(silent, bson.E{Key: "idle", Value: true},
			bson.D{{Key: "status", Value: hearth.StatusActive}, {Key: "idle", Value: false}}))
	}
	return models
}

// IdleDevices implements hearth.DeviceStore. Each is looked at again in the moment that it is changed, and marked with who
// changed it.
func (s *Store) IdleDevices(ctx context.Context, silentSince time.Time, limit int) (idled []hearth.Device, err error) {
	err = s.Do(ctx, "IdleDevices", func(ctx context.Context) error {
		since := steps.Millis(silentSince)
		silent := alive(
			bson.E{Key: "status", Value: hearth.StatusActive},
			bson.E{Key: "seen", Value: bson.D{{Key: "$lte", Value: hourOf(since)}}},
			bson.E{Key: "$or", Value: bson.A{
				bson.D{{Key: "last", Value: bson.D{{Key: "$gt", Value: 0}, {Key: "$lt", Value: since}}}},
				bson.D{{Key: "last", Value: 0}, {Key: "created", Value: bson.D{{Key: "$lt", Value: since}}}},
			}},
		)
		// By (status, seen).
		ids, err := s.FirstIDs(ctx, collDevices, silent, "seen", limit)
		if err != nil || len(ids) == 0 {
			return err
		}
		mark := uuid.NewString()
		these := bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}
		devices := s.Collection(collDevices)
		err = steps.Again(ctx, func() error {
			_, err := devices.UpdateMany(ctx, append(bson.D{these}, silent...), steps.Set(bson.D{
				{Key: "status", Value: hearth.StatusInactive}, {Key: "idle", Value: true}, {Key: "idled_by", Value: mark},
			}))
			return err
		})
		if err != nil {
			return err
		}
		docs, err := steps.FindAll[deviceDoc](ctx, devices, alive(these, bson.E{Key: "idled_by", Value: mark}))
		for _, doc := range docs {
			doc.Status, doc.Idle = hearth.StatusInactive, true
			idled = append(idled, doc.device())
		}
		return err
	})
	return idled, err
}

// onlinePage bounds what OnlineDevices holds in memory.
const onlinePage = 500

// silence is after how many milliseconds without a sign of life a device is offline.
var silence = bson.D{{Key: "$multiply", Value: bson.A{"$interval", hearth.OfflineAfter * 1000}}} // never written to

// isOnline is the condition that a device is heard from at that time.
func isOnline(at int64) bson.D {
	return bson.D{{Key: "$and", Value: bson.A{
		bson.D{{Key: "$gt", Value: bson.A{"$last", 0}}},
		bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "$gt", Value: bson.A{"$offline_at", at}}},
			bson.D{{Key: "$and", Value: bson.A{
				bson.D{{Key: "$not", Value: bson.A{bson.D{{Key: "$gt", Value: bson.A{"$offline_at", 0}}}}}},
				bson.D{{Key: "$gt", Value: bson.A{bson.D{{Key: "$add", Value: bson.A{"$last", silence}}}, at}}},
			}}},
		}}},
	}}}
}

// SetDeviceError implements hearth.DeviceStore.
func (s *Store) SetDeviceError(ctx context.Context, deviceID string, failure hearth.DeviceError) error {
	text, err := json.Marshal(failure)
	if err != nil {
		return err
	}
	return s.Do(ctx, "SetDeviceError", func(ctx context.Context) error {
		return steps.Again(ctx, func() error {
			_, err := s.Collection(collDevices).UpdateOne(ctx, steps.ByID(deviceID), steps.Set(bson.D{{Key: "last_error", Value: string(text)}}))
			return err
		})
	})
}

// OnlineDevices implements hearth.DeviceStore: a walk over the index of key, page by page.
func (s *Store) OnlineDevices(ctx context.Context, at time.Time) iter.Seq2[hearth.Device, error] {
	return func(yield func(hearth.Device, error) bool) {
		for after := int64(0); ; {
			var docs []deviceDoc
			err := s.Do(ctx, "OnlineDevices", func(ctx context.Context) (err error) {
				docs, err = steps.FindAll[deviceDoc](ctx, s.Collection(collDevices),
					alive(bson.E{Key: "key", Value: bson.D{{Key: "$gt", Value: after}}}, bson.E{Key: "$expr", Value: isOnline(steps.Millis(at))}),
					options.Find().SetSort(bson.D{{Key: "key", Value: 1}}).SetLimit(onlinePage))
				return err
			})
			if err != nil {
				yield(hearth.Device{}, err)
				return
			}
			for _, doc := range docs {
				if !yield(doc.device(), nil) {
					return
				}
				after = doc.Key
			}
			if len(docs) < onlinePage {
				return
			}
		}
	}
}
