package mongodb

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"hearth"
	"hearth/internal/store/mongodb/steps"
	"hearth/internal/tsdb"
)

// oldDoc is a document of log_documents in schema 4: it had no k, and the data of a chunk, or of a long document, in others that it
// named. Gone marked what a version replaced, also one that was not committed after all.
type oldDoc struct {
	ID      int64      `bson:"_id"`
	Table   tsdb.Table `bson:"t"`
	Scope   int64      `bson:"s"`
	Major   int64      `bson:"a"`
	Minor   int64      `bson:"b"`
	N       int64      `bson:"n"`
	MinAt   int64      `bson:"lo"`
	MaxAt   int64      `bson:"hi"`
	Gone    int64      `bson:"gone"`
	Parts   []int64    `bson:"parts"`
	Lengths []int      `bson:"lengths"`
}

// seen reports whether the document counts at its partition's version.
func (d *oldDoc) seen(states map[int64]oldState) bool {
	state := states[d.ID>>56]
	committed := func(id int64) bool {
		version := id >> 24 & (1<<32 - 1)
		return version <= state.Ver && !slices.Contains(state.dropped(), version)
	}
	return committed(d.ID) && (d.Gone == 0 || !committed(d.Gone))
}

// dropped are the versions that were claimed and not committed.
func (s *oldState) dropped() (versions []int64) {
	for _, a := range s.Aborted {
		versions = append(versions, a.Ver)
	}
	for version := s.Ver + 1; version <= s.Last; version++ {
		versions = append(versions, version)
	}
	return versions
}

// migrateKeys brings the documents of schemas 4 to 6 into the present form, where they are, and deletes those that count no more. Processes of
// the old program can write logs meanwhile, but not fold them. It may be broken off, and run in many processes.
func migrateKeys(ctx context.Context, s *Store) error {
	if err := s.createIndexes(ctx, fleetIndexes()); err != nil {
		return err
	}
	if err := s.migrateGraves(ctx); err != nil {
		return err
	}
	old, err := s.Exists(ctx, collPartitions, bson.D{{Key: "ver", Value: bson.D{{Key: "$exists", Value: true}}}})
	if err != nil || !old {
		return err
	}
	states, err := s.stopOld(ctx, collPartitions)
	if err != nil {
		return err
	}
	if err := s.rekey(ctx, states); err != nil {
		return err
	}
	// What is left has the data of documents that a crash kept from being stored.
	if _, err := s.DeleteAll(ctx, collDocuments, bson.D{{Key: "t", Value: nil}}); err != nil {
		return err
	}
	for id := range int64(partitions) {
		state := states[id]
		_, err := s.logs.states.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "version", Value: nil}}, bson.D{
			{Key: "$set", Value: bson.D{
				{Key: "version", Value: state.Ver}, {Key: "claimed", Value: max(state.Ver, state.Last)}, {Key: "dropped", Value: state.dropped()},
			}},
			{Key: "$unset", Value: bson.D{{Key: "old", Value: ""}, {Key: "pins", Value: ""}}},
		})
		if err != nil {
			return err
		}
	}
	for _, index := range []string{"t_1_s_1_a_1_b_1", "gone_1"} {
		// One that is not there is as good as dropped; one that stays costs little.
		if err := s.logs.docs.Indexes().DropOne(ctx, index); steps.IsAway(err) {
			return err
		}
	}
	return nil
}

// rekeyAtOnce is how many documents are changed with one command.
const rekeyAtOnce = 500

func (s *Store) rekey(ctx context.Context, states map[int64]oldState) error {
	cursor, err := s.logs.docs.Find(ctx, bson.D{{Key: "t", Value: bson.D{{Key: "$exists", Value: true}}}, {Key: "k", Value: nil}},
		only("t", "s", "a", "b", "n", "lo", "hi", "gone", "parts", "lengths").SetBatchSize(rekeyAtOnce))
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	var writes []mongo.WriteModel
	flush := func() error {
		if len(writes) == 0 {
			return nil
		}
		// In order: what a document names is changed before the document.
		err := steps.Again(ctx, func() error {
			_, err := s.logs.docs.BulkWrite(ctx, writes)
			return err
		})
		writes = writes[:0]
		return err
	}
	told, done := time.Now(), 0
	for cursor.Next(ctx) {
		var d oldDoc
		if err := cursor.Decode(&d); err != nil {
			return fmt.Errorf("read a document of %s: %w", collDocuments, err)
		}
		if d.seen(states) {
			writes = append(writes, d.rekeyed()...)
		} else {
			writes = append(writes, mongo.NewDeleteManyModel().SetFilter(bson.D{{Key: "_id", Value: anyOf(append(d.Parts, d.ID))}}))
		}
		if len(writes) >= rekeyAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
		if done++; time.Since(told) > 5*time.Second {
			told = time.Now()
			s.Options.Logger.InfoContext(ctx, "giving documents of logs their keys; the start goes on when it is done, and may be broken off", "documents", done)
		}
	}
	if err := cursor.Err(); err != nil {
		return err
	}
	return flush()
}

// rekeyed returns the changes of a document that counts.
func (d *oldDoc) rekeyed() (writes []mongo.WriteModel) {
	change := func(id int64, table tsdb.Table, more bson.D, operators ...bson.E) {
		fields := append(bson.D{
			{Key: "k", Value: orderedKey(table, d.Scope, d.Major, d.Minor)}, {Key: "v", Value: d.ID >> 24 & (1<<32 - 1)}, {Key: "t", Value: table},
			{Key: "s", Value: d.Scope}, {Key: "a", Value: d.Major}, {Key: "b", Value: d.Minor}, {Key: "n", Value: d.N}, {Key: "lo", Value: d.MinAt},
			{Key: "hi", Value: d.MaxAt},
		}, more...)
		writes = append(writes, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: id}, {Key: "k", Value: nil}}).SetUpdate(append(steps.Set(fields), operators...)))
	}
	table := d.Table
	if table == tsdb.Chunks {
		table = chunkData
	}
	for i, part := range d.Parts {
		if len(d.Parts) == 1 && table == chunkData {
			change(part, table, nil, bson.E{Key: "$rename", Value: bson.D{{Key: "data", Value: "d0"}}})
			continue
		}
		change(part, table, bson.D{{Key: "of", Value: len(d.Parts)}, {Key: "part", Value: i}, {Key: "lengths", Value: d.Lengths}},
			bson.E{Key: "$rename", Value: bson.D{{Key: "data", Value: "d"}}})
	}
	if table == d.Table && len(d.Parts) > 0 {
		return append(writes, mongo.NewDeleteOneModel().SetFilter(steps.ByID(d.ID)))
	}
	change(d.ID, d.Table, nil, bson.E{Key: "$unset", Value: bson.D{{Key: "gone", Value: ""}, {Key: "parts", Value: ""}, {Key: "lengths", Value: ""}}})
	return writes
}

// migrateGraves gives deleted devices the key of their scope in place of its name.
func (s *Store) migrateGraves(ctx context.Context) error {
	found, err := steps.FindAll[struct {
		Scope any `bson:"dead"`
	}](ctx, s.logs.devices, bson.D{isGrave}, only("dead"))
	if err != nil {
		return err
	}
	var scopes []hearth.Scope
	for _, d := range found {
		if name, ok := d.Scope.(string); ok && !slices.Contains(scopes, hearth.Scope(name)) {
			scopes = append(scopes, hearth.Scope(name))
		}
	}
	keys, err := keysOf(ctx, s.logs, scopeName, scopes, true)
	for scope, key := range keys {
		if err := s.logs.updateMany(ctx, s.logs.devices, bson.D{{Key: "dead", Value: scope}}, steps.Set(bson.D{{Key: "dead", Value: key}})); err != nil {
			return err
		}
	}
	return err
}
