package mongodb

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/store/record"
)

// fieldOf returns what an order of devices compares first.
func fieldOf(o record.DeviceOrder) string {
	switch o.By {
	case "created_at":
		return "created"
	case "last_active_at":
		return "last"
	}
	return o.By
}

// behind returns the condition of the devices behind a cursor.
func behind(o record.DeviceOrder, cursor hearth.Cursor) (bson.E, error) {
	key, err := o.Key(cursor)
	beyond, field := "$gt", fieldOf(o)
	if o.Desc {
		beyond = "$lt"
	}
	return bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: field, Value: bson.D{{Key: beyond, Value: key}}}},
		bson.D{{Key: field, Value: key}, {Key: "_id", Value: bson.D{{Key: beyond, Value: cursor.ID}}}},
	}}, err
}

// within is the filter of the live devices of a reach.
func within(reach hearth.Reach) bson.D {
	switch {
	case reach.All:
		return alive()
	case len(reach.Scopes) == 1:
		return alive(bson.E{Key: "scope", Value: reach.Scopes[0]})
	}
	return alive(among("scope", reach.Scopes))
}

// deviceFilter is the filter of a list, its cursor aside.
func deviceFilter(f hearth.DeviceFilter) bson.D {
	filter := append(within(f.Reach), equal(
		[2]string{"type", f.Type}, [2]string{"status", string(f.Status)}, [2]string{"tags", f.Tag}, [2]string{"serial", f.Serial})...)
	if f.Query != "" {
		filter = append(filter, bson.E{Key: "search", Value: contains(record.Fold(f.Query))})
	}
	online := bson.E{Key: "$expr", Value: isOnline(steps.Millis(f.Now))}
	switch f.Connection {
	case hearth.Never:
		filter = append(filter, bson.E{Key: "last", Value: 0})
	case hearth.Online:
		filter = append(filter, online)
	case hearth.Offline:
		filter = append(filter, bson.E{Key: "last", Value: bson.D{{Key: "$ne", Value: 0}}},
			bson.E{Key: "$expr", Value: bson.D{{Key: "$not", Value: bson.A{online.Value}}}})
	}
	return filter
}

// Devices implements hearth.DeviceStore. By name and by created_at the documents come off the index of that order,
// (scope, …, _id) or (…, _id), and reading stops at the limit; by last_active_at, of which there is no index for
// heartbeats' sake, those of the scope are sorted by the server, which keeps a page of them.
func (s *Store) Devices(ctx context.Context, filter hearth.DeviceFilter, page hearth.Page) (hearth.List[hearth.Device], error) {
	list := hearth.List[hearth.Device]{Total: -1}
	order, err := record.DeviceOrderOf(page.Sort)
	if err != nil {
		return list, err
	}
	where := deviceFilter(filter)
	some := where
	if !page.Cursor.IsZero() {
		after, err := behind(order, page.Cursor)
		if err != nil {
			return list, err
		}
		some = append(slices.Clip(where), after)
	}
	size := page.Size()
	direction := 1
	if order.Desc {
		direction = -1
	}
	err = s.Do(ctx, "Devices", func(ctx context.Context) error {
		coll := s.Lagging(collDevices)
		if page.Count {
			if list.Total, err = coll.CountDocuments(ctx, where); err != nil {
				return err
			}
		}
		docs, err := steps.FindAll[deviceDoc](ctx, coll, some,
			options.Find().SetSort(bson.D{{Key: fieldOf(order), Value: direction}, {Key: "_id", Value: direction}}).SetLimit(int64(size)+1))
		if err != nil {
			return err
		}
		if len(docs) > size {
			docs = docs[:size]
			list.Next = order.Cursor(docs[size-1].device())
			list.Next.Sort = page.Sort
		}
		for _, doc := range docs {
			list.Items = append(list.Items, doc.device())
		}
		return nil
	})
	if err != nil {
		return hearth.List[hearth.Device]{Total: -1}, err
	}
	return list, nil
}

// CountDevices implements hearth.DeviceStore: one aggregation, served by the indexes that begin with scope.
func (s *Store) CountDevices(ctx context.Context, reach hearth.Reach, now time.Time) (counts hearth.DeviceCounts, err error) {
	err = s.Do(ctx, "CountDevices", func(ctx context.Context) error {
		countIf := func(condition any) bson.D {
			return bson.D{{Key: "$sum", Value: bson.D{{Key: "$cond", Value: bson.A{condition, 1, 0}}}}}
		}
		cursor, err := s.Collection(collDevices).Aggregate(ctx, bson.A{
			bson.D{{Key: "$match", Value: within(reach)}},
			bson.D{{Key: "$group", Value: bson.D{
				{Key: "_id", Value: nil},
				{Key: "total", Value: bson.D{{Key: "$sum", Value: 1}}},
				{Key: "active", Value: countIf(bson.D{{Key: "$eq", Value: bson.A{"$status", hearth.StatusActive}}})},
				{Key: "online", Value: countIf(isOnline(steps.Millis(now)))},
			}}},
		})
		if err != nil {
			return err
		}
		var groups []struct {
			Total  int64 `bson:"total"`
			Active int64 `bson:"active"`
			Online int64 `bson:"online"`
		}
		if err := cursor.All(ctx, &groups); err != nil || len(groups) == 0 {
			return err
		}
		counts = hearth.DeviceCounts(groups[0])
		return nil
	})
	return counts, err
}

// contains returns the pattern of texts in which query stands. A pattern itself cannot hold NUL.
func contains(query string) bson.Regex {
	return bson.Regex{Pattern: strings.ReplaceAll(regexp.QuoteMeta(query), "\x00", `\x00`)}
}

// equal returns conditions of pairs of a name and a value; those whose value is empty are left out.
func equal(pairs ...[2]string) (filter bson.D) {
	for _, pair := range pairs {
		if pair[1] != "" {
			filter = append(filter, bson.E{Key: pair[0], Value: pair[1]})
		}
	}
	return filter
}
