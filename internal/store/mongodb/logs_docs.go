package mongodb

import (
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"hearth/internal/tsdb"
)

// The collections of the logs; docs/adr/0010-logs-in-mongodb.md says how they work together.
const (
	collBatches     = "log_batches"        // batches that are acknowledged and not folded everywhere yet
	collLanes       = "log_lanes"          // the state of each lane, and of all (allLanes)
	collNames       = "log_names"          // short numbers of scopes and events
	collLogs        = "logs"               // logs, some thousands a document
	collRollups     = "rollups"            // sums of a block of devices by hour, day and month
	collRollupDays  = "rollup_days"        // sums of 32 devices on one day, by device, event and hour
	collCheckpoints = "import_checkpoints" // how far imports have come
)

const (
	// laneCount is how many parts the scopes are split into, each of which is folded by itself. It cannot change: a stored
	// batch names its lanes.
	laneCount = 64
	// allLanes is the id of the document beside the lanes' that says what holds for all.
	allLanes = -1
	// blockBits is how many bits of a device's key are its place within its block of 1,024.
	blockBits = 10
	// maxChunk is how many logs are in one document at most.
	maxChunk = 8192
)

func laneOf(scope int64) int64 { return scope % laneCount }

// blockOf returns the block of a device: its scope, and the keys that have all but blockBits bits in common.
func blockOf(scope, device int64) int64 { return scope<<24 | device>>blockBits&(1<<24-1) }

func scopeOfBlock(block int64) int64 { return block >> 24 }

// part says where some logs of an hour are.
type part struct {
	// ID is the chunk's.
	ID string `bson:"id"`
	// From is the lane's version that the newest of its logs came with.
	From int64 `bson:"v"`
	N    int   `bson:"n"`
	Lo   int64 `bson:"lo"`
	Hi   int64 `bson:"hi"`
	// At is when the chunk was written, in Unix milliseconds.
	At int64 `bson:"t"`
}

// chunkDoc is a document of logs. Data never changes.
type chunkDoc struct {
	ID    string `bson:"_id"`
	Block int64  `bson:"block"`
	Hour  int64  `bson:"hour"`
	// Ver is the version of the lane that made it, Gone the one that replaced it; TTL on GoneAt removes it in the end.
	Ver    int64      `bson:"ver"`
	Gone   int64      `bson:"gone,omitempty"`
	GoneAt *time.Time `bson:"gone_at,omitempty"`
	Part   part       `bson:"part"`
	Data   []byte     `bson:"data,omitempty"`
}

// sumState is one version of a sum.
type sumState struct {
	Ver      int64  `bson:"ver"`
	N        int64  `bson:"n"`
	Lo       int64  `bson:"lo"`
	Hi       int64  `bson:"hi"`
	Totals   []byte `bson:"totals,omitempty"`
	Sketches []byte `bson:"sketches,omitempty"`
	Cells    []byte `bson:"cells,omitempty"`
	// Parts are an hour's logs: its sum and they change in one step.
	Parts []part `bson:"parts,omitempty"`
}

// sumDoc is the sum of a block's logs of one bucket of a level, with the version before, for readers that began before the
// last step of the lane.
type sumDoc struct {
	ID     string    `bson:"_id"`
	Scope  int64     `bson:"scope"`
	Block  int64     `bson:"block"`
	Level  int       `bson:"level"`
	Bucket int64     `bson:"bucket"`
	Now    sumState  `bson:"now"`
	Old    *sumState `bson:"old,omitempty"`
	// Frag is the bucket of an hour whose logs lie in many parts.
	Frag *int64 `bson:"frag,omitempty"`
}

// manyParts is the number of parts from which an hour is worth packing.
const manyParts = 8

func sumID(block int64, level int, bucket int64) string {
	return fmt.Sprintf("%d/%d/%d", block, level, bucket)
}

// dayState is one version of a tsdb.Day.
type dayState struct {
	Ver  int64  `bson:"ver"`
	Data []byte `bson:"data,omitempty"`
}

// dayDoc is a day of the devices of one group: those whose keys divided by tsdb.GroupSize are Group.
type dayDoc struct {
	ID    string    `bson:"_id"`
	Scope int64     `bson:"scope"`
	Group int64     `bson:"group"`
	Day   int64     `bson:"day"`
	Now   dayState  `bson:"now"`
	Old   *dayState `bson:"old,omitempty"`
}

func dayID(scope, group, day int64) string { return fmt.Sprintf("%d/%d/%d", scope, group, day) }

// errOvertaken is of a reader that the lane has overtaken twice: it begins anew.
var errOvertaken = errors.New("the logs were folded while they were read")

// at returns the version that a reader of the lane's version ver sees; nil if there was none.
func (d *sumDoc) at(ver int64) (*sumState, error) {
	switch {
	case d.Now.Ver <= ver:
		return &d.Now, nil
	case d.Old == nil:
		return nil, nil
	case d.Old.Ver <= ver:
		return d.Old, nil
	}
	return nil, errOvertaken
}

func (d *dayDoc) at(ver int64) (*dayState, error) {
	switch {
	case d.Now.Ver <= ver:
		return &d.Now, nil
	case d.Old == nil:
		return nil, nil
	case d.Old.Ver <= ver:
		return d.Old, nil
	}
	return nil, errOvertaken
}

// decode returns the sum.
func (s *sumState) decode(bucket int64) (out tsdb.Sum, err error) {
	out = tsdb.Sum{Bucket: bucket, Entries: s.N, MinAt: s.Lo, MaxAt: s.Hi}
	if s.N == 0 {
		return out, nil
	}
	if out.Totals, err = tsdb.DecodeCells(nil, s.Totals); err != nil {
		return out, err
	}
	if out.Sketches, err = tsdb.DecodeSketches(s.Sketches); err != nil {
		return out, err
	}
	if len(s.Cells) > 0 {
		out.Cells, err = tsdb.DecodeCells(nil, s.Cells)
	}
	return out, err
}

func encodeSum(ver int64, s *tsdb.Sum) sumState {
	out := sumState{Ver: ver, N: s.Entries, Lo: s.MinAt, Hi: s.MaxAt}
	if s.Entries == 0 {
		return out
	}
	out.Totals = tsdb.AppendCells(nil, s.Totals)
	out.Sketches = tsdb.AppendSketches(nil, &s.Sketches)
	if len(s.Cells) > 0 {
		out.Cells = tsdb.AppendCells(nil, s.Cells)
	}
	return out
}

func encodeDay(ver int64, day *tsdb.Day) dayState {
	if len(day.Lines) == 0 {
		return dayState{Ver: ver}
	}
	return dayState{Ver: ver, Data: tsdb.AppendDay(nil, day)}
}

func (s *dayState) decode(into *tsdb.Day, parts tsdb.DayParts) error {
	if len(s.Data) == 0 {
		into.Reset()
		return nil
	}
	return tsdb.DecodeDay(into, s.Data, parts)
}

// next puts a new version of a sum in front of the one that there is.
func (d *sumDoc) next(state sumState) {
	if d.Now.Ver > 0 {
		old := d.Now
		d.Old = &old
	}
	d.Now = state
	d.Frag = nil
	if n := int64(len(state.Parts)); n >= manyParts && n > 2*(state.N/maxChunk+1) {
		d.Frag = &d.Bucket
	}
}

func (d *dayDoc) next(state dayState) {
	if d.Now.Ver > 0 {
		old := d.Now
		d.Old = &old
	}
	d.Now = state
}

func in[T any](values []T) bson.M { return bson.M{"$in": values} }
