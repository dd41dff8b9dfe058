package mongodb

import (
	"context"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

// listing is a list of one collection, by a field of Unix milliseconds and then by _id. Item turns a document D into an item
// T; place is where it stands, if that is not the field and a text of an id.
type listing[D, T any] struct {
	name       string
	coll       string
	filter     bson.D
	field      string
	descending bool
	// cursorID is the cursor's ID in the type of _id; nil takes it as a text.
	cursorID any
	hide     []string
	item     func(D) T
	place    func(D) hearth.Cursor
}

// page reads one page. It may lag where the URI's read preference allows it.
func (l listing[D, T]) page(ctx context.Context, s *Store, page hearth.Page) (hearth.List[T], error) {
	list := hearth.List[T]{Total: -1}
	filter := l.filter
	order, beyond := 1, "$gt"
	if l.descending {
		order, beyond = -1, "$lt"
	}
	if cursor := page.Cursor; !cursor.IsZero() {
		key, err := strconv.ParseInt(cursor.Key, 10, 64)
		if err != nil {
			return list, badCursor()
		}
		id := l.cursorID
		if id == nil {
			id = cursor.ID
		}
		filter = append(slices.Clip(filter), bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: l.field, Value: bson.D{{Key: beyond, Value: key}}}},
			bson.D{{Key: l.field, Value: key}, {Key: "_id", Value: bson.D{{Key: beyond, Value: id}}}},
		}})
	}
	size := page.Size()
	err := s.do(ctx, l.name, func(ctx context.Context) error {
		coll := s.reads.Collection(l.coll)
		if page.Count {
			total, err := coll.CountDocuments(ctx, l.filter)
			if err != nil {
				return err
			}
			list.Total = total
		}
		find := options.Find().SetSort(bson.D{{Key: l.field, Value: order}, {Key: "_id", Value: order}}).SetLimit(int64(size) + 1)
		if len(l.hide) > 0 {
			find.SetProjection(hidden(l.hide))
		}
		docs, err := findAll[D](ctx, coll, filter, find)
		if err != nil {
			return err
		}
		if len(docs) > size {
			docs = docs[:size]
			list.Next = l.place(docs[size-1])
			list.Next.Sort = page.Sort
		}
		for _, d := range docs {
			list.Items = append(list.Items, l.item(d))
		}
		return nil
	})
	if err != nil {
		return hearth.List[T]{Total: -1}, err
	}
	return list, nil
}

// hidden is the projection without some fields.
func hidden(fields []string) bson.D {
	projection := bson.D{}
	for _, name := range fields {
		projection = append(projection, bson.E{Key: name, Value: 0})
	}
	return projection
}

// at returns the place of a document in a list by a time and a text of an id.
func at(ms int64, id string) hearth.Cursor {
	return hearth.Cursor{Key: strconv.FormatInt(ms, 10), ID: id}
}

func badCursor() error {
	return hearth.Invalid(hearth.FieldError{Location: "query.cursor", Message: "is not a cursor of this list"})
}
