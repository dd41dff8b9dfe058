package mongodb

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// laneState is the state of a lane. Ver counts the steps that are done; a step that is under way, or was broken off, is Work.
type laneState struct {
	ID   int64     `bson:"_id"`
	Ver  int64     `bson:"ver"`
	Work *laneWork `bson:"work,omitempty"`
	// Applied are the batches of the last step, until they have lost this lane.
	Applied []int64 `bson:"applied,omitempty"`
	// Hold, in Unix milliseconds, asks that no step begins before it: a long reader waits.
	Hold int64 `bson:"hold,omitempty"`
	// Horizon, of the document allLanes alone, is the time in Unix milliseconds before which there are no logs.
	Horizon int64 `bson:"horizon,omitempty"`
}

// laneWork is what a step does. It has all that is needed to do it again: each of its writes is of a version that comes
// but once, so that doing it twice, or by two at once, does it once.
type laneWork struct {
	Ver int64 `bson:"ver"`
	// Batches are folded, if there are any; else a day of a block is made anew from its logs.
	Batches []int64 `bson:"batches,omitempty"`
	Block   int64   `bson:"block,omitempty"`
	Day     int64   `bson:"day,omitempty"`
	// Without are devices whose logs go.
	Without []int64 `bson:"without,omitempty"`
	// Before is the time in Unix milliseconds from before which logs go.
	Before int64 `bson:"before"`
	// At is when the step began, By who began it, in Unix milliseconds; after leaseTime anybody ends it.
	At int64  `bson:"at"`
	By string `bson:"by"`
}

// leaseTime is how long a step is left to who began it.
const leaseTime = 20 * time.Second

// errBusy says that another does a step in the lane, or that a reader holds it.
var errBusy = errors.New("the lane is busy")

// lanes reads the states of some lanes and of allLanes; one that was never written is of version 0.
func (e *logEngine) laneStates(ctx context.Context, ids []int64) (map[int64]*laneState, error) {
	wanted := append(slices.Clone(ids), allLanes)
	cursor, err := e.lanes.Find(ctx, bson.M{"_id": in(wanted)})
	if err != nil {
		return nil, err
	}
	var all []*laneState
	if err := cursor.All(ctx, &all); err != nil {
		return nil, err
	}
	out := make(map[int64]*laneState, len(wanted))
	for _, id := range wanted {
		out[id] = &laneState{ID: id, Horizon: firstMilli}
	}
	for _, state := range all {
		out[state.ID] = state
	}
	return out, nil
}

func sameStates(a, b map[int64]*laneState) bool {
	for id, x := range a {
		y := b[id]
		if x.Ver != y.Ver || (x.Work == nil) != (y.Work == nil) || len(x.Applied) != len(y.Applied) || x.Horizon != y.Horizon {
			return false
		}
	}
	return true
}

// step does one step in a lane. choose looks at what there is to do; nil is nothing. A step that was broken off is ended
// first. errBusy if another does one.
func (e *logEngine) step(ctx context.Context, lane int64, choose func() (*laneWork, error)) error {
	if !e.stepping[lane].TryLock() {
		return errBusy
	}
	defer e.stepping[lane].Unlock()
	state, err := e.settleLane(ctx, lane)
	if err != nil {
		return err
	}
	if state.Hold > e.now().UnixMilli() {
		return errBusy
	}
	work, err := choose()
	if err != nil || work == nil {
		return err
	}
	work.Ver, work.At, work.By = state.Ver+1, e.now().UnixMilli(), e.name
	if err := e.crash("begin"); err != nil {
		return err
	}
	result, err := e.lanes.UpdateOne(ctx, bson.M{"_id": lane, "ver": state.Ver, "work": bson.M{"$exists": false}}, bson.M{"$set": bson.M{"work": work}})
	if err != nil {
		return err
	}
	if result.MatchedCount == 0 {
		return errBusy
	}
	return e.finish(ctx, lane, work)
}

// settleLane ends what was broken off in the lane and returns its state.
func (e *logEngine) settleLane(ctx context.Context, lane int64) (*laneState, error) {
	states, err := e.laneStates(ctx, []int64{lane})
	if err != nil {
		return nil, err
	}
	state := states[lane]
	if state.Ver == 0 && state.Work == nil {
		_, err := e.lanes.UpdateOne(ctx, bson.M{"_id": lane}, bson.M{"$setOnInsert": bson.M{"ver": int64(0)}}, options.UpdateOne().SetUpsert(true))
		if err != nil && !mongo.IsDuplicateKeyError(err) {
			return nil, err
		}
	}
	if state.Work != nil {
		if state.Work.By != e.name && e.now().UnixMilli()-state.Work.At < leaseTime.Milliseconds() {
			return nil, errBusy
		}
		if err := e.finish(ctx, lane, state.Work); err != nil {
			return nil, err
		}
		return e.settleLane(ctx, lane)
	}
	if len(state.Applied) > 0 {
		if err := e.sweep(ctx, lane, state.Ver, state.Applied); err != nil {
			return nil, err
		}
		state.Applied = nil
	}
	return state, nil
}

// finish does a step that the lane's state names, whoever wrote it there.
func (e *logEngine) finish(ctx context.Context, lane int64, work *laneWork) error {
	var err error
	if len(work.Batches) > 0 {
		err = e.applyFold(ctx, lane, work)
	} else {
		err = e.applyRebuild(ctx, work)
	}
	if err != nil {
		return err
	}
	if err := e.crash("commit"); err != nil {
		return err
	}
	change := bson.M{"$set": bson.M{"ver": work.Ver}, "$unset": bson.M{"work": ""}}
	if len(work.Batches) > 0 {
		change["$set"] = bson.M{"ver": work.Ver, "applied": work.Batches}
	}
	result, err := e.lanes.UpdateOne(ctx, bson.M{"_id": lane, "ver": work.Ver - 1, "work.ver": work.Ver}, change)
	if err != nil || result.MatchedCount == 0 || len(work.Batches) == 0 {
		return err // who was first goes on
	}
	return e.sweep(ctx, lane, work.Ver, work.Batches)
}

// sweep takes the lane off folded batches and removes those that have no lane left. Readers pass them over already: the
// lane's state names them.
func (e *logEngine) sweep(ctx context.Context, lane, ver int64, batches []int64) error {
	if err := e.crash("pull"); err != nil {
		return err
	}
	if _, err := e.batches.UpdateMany(ctx, bson.M{"_id": in(batches)}, bson.M{"$pull": bson.M{"open": lane}}); err != nil {
		return err
	}
	if err := e.crash("remove"); err != nil {
		return err
	}
	if _, err := e.batches.DeleteMany(ctx, bson.M{"_id": in(batches), "open": bson.M{"$size": 0}}); err != nil {
		return err
	}
	if err := e.crash("forget"); err != nil {
		return err
	}
	_, err := e.lanes.UpdateOne(ctx, bson.M{"_id": lane, "ver": ver}, bson.M{"$unset": bson.M{"applied": ""}})
	return err
}
