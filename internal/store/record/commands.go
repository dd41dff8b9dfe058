package record

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"hearth"
	"hearth/internal/cause"
)

var _ hearth.CommandStore = (*Aggregates)(nil)

// command is the stored form of hearth.Command.
type command struct {
	ID          string              `json:"id"`
	DeviceID    string              `json:"device_id" bson:"device"`
	Batch       string              `json:"batch,omitempty"`
	Seq         int64               `json:"seq"`
	Name        string              `json:"name"`
	Params      text                `json:"params,omitempty"` // the JSON as it is stored, to the byte
	State       hearth.CommandState `json:"state"`
	Result      text                `json:"result,omitempty"`
	Error       string              `json:"error,omitempty"`
	CreatedBy   string              `json:"created_by" bson:"user"`
	CreatedAt   time.Time           `json:"created_at,omitzero" bson:"created"`
	SentAt      time.Time           `json:"sent_at,omitzero" bson:"sent"`
	DeliveredAt time.Time           `json:"delivered_at,omitzero" bson:"delivered"`
	CompletedAt time.Time           `json:"completed_at,omitzero" bson:"completed"`
	ExpiresAt   time.Time           `json:"expires_at,omitzero" bson:"expires"`
	Attempts    int                 `json:"attempts,omitempty"`
	Number      int64               `json:"number,omitempty"`

	// Turn is Seq while the command is pending, else 0: the queue of a device is an index of the first, its states of the others.
	Turn int64 `json:"turn,omitempty"`
	// Due is when the time brings about the next thing: its expiry or, once it has Ended, its removal.
	Ended bool      `json:"ended,omitempty"`
	Due   time.Time `json:"due,omitzero"`
}

// What the indexes of commands have: those that are pending, those that are not any more, and those of batches.
var pending, past, batched = Gt("turn", 0), Eq("turn", 0), Ne("batch", "") // never written to

var commands = describe(&Kind[command]{
	Schema: Schema{
		Name: "commands", Noun: "command", Of: map[string]string{"device_id": "devices"},
		Indexes: []Index{
			{Fields: []string{"device_id", "seq", "id"}},
			{Fields: []string{"device_id", "state", "seq", "id"}, While: Filter{past}},
			{Fields: []string{"device_id", "turn", "id"}, While: Filter{pending}},
			{Fields: []string{"ended", "due"}},
			{Fields: []string{"batch", "state"}, While: Filter{batched}},
		},
	},
	ExpiresAt: func(c *command) time.Time { return c.ExpiresAt.Add(hearth.CommandTTL) },
})

// commandBatch is the stored form of hearth.CommandBatch. The name of its kind comes after that of commands: MongoDB shows what a step
// writes in the order of names, so the commands that a batch has placed are seen before it says so.
type commandBatch struct {
	ID        string    `json:"id"`
	Devices   string    `json:"devices,omitempty"` // ids with commas between them: a step must not take long to read 10,000 of them
	Placed    int       `json:"placed,omitempty"`  // how many of Devices have their commands: to store the others anew would take long
	Total     int       `json:"total"`
	Name      string    `json:"name"`
	Params    text      `json:"params,omitempty"`
	CreatedBy string    `json:"created_by" bson:"user"`
	OnlyOrg   string    `json:"only_org,omitempty"`
	CreatedAt time.Time `json:"created_at,omitzero" bson:"created"`
	ExpiresAt time.Time `json:"expires_at,omitzero" bson:"expires"`
}

var commandBatches = describe(&Kind[commandBatch]{
	Schema:    Schema{Name: "commands_in_bulk", Noun: "command batch", Indexes: []Index{{Fields: []string{"expires_at"}}}},
	ExpiresAt: func(b *commandBatch) time.Time { return b.ExpiresAt.Add(hearth.CommandTTL) },
})

func storedCommand(c hearth.Command) command {
	r := command{
		ID: c.ID, DeviceID: c.DeviceID, Batch: c.Batch, Seq: c.Seq, Name: c.Name, Params: text(c.Params), State: c.State,
		Result: text(c.Result), Error: c.Error, CreatedBy: c.CreatedBy, CreatedAt: c.CreatedAt, SentAt: c.SentAt,
		DeliveredAt: c.DeliveredAt, CompletedAt: c.CompletedAt, ExpiresAt: c.ExpiresAt, Attempts: c.Attempts, Number: c.Number,
		Ended: c.State.Ended(), Due: c.ExpiresAt,
	}
	if c.State.Pending() {
		r.Turn = c.Seq
	}
	if r.Ended {
		r.Due = c.ExpiresAt.Add(hearth.CommandTTL)
	}
	return r
}

func (r command) command() hearth.Command {
	return hearth.Command{
		ID: r.ID, DeviceID: r.DeviceID, Batch: r.Batch, Seq: r.Seq, Name: r.Name, Params: r.Params.json(), State: r.State,
		Result: r.Result.json(), Error: r.Error, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, SentAt: r.SentAt,
		DeliveredAt: r.DeliveredAt, CompletedAt: r.CompletedAt, ExpiresAt: r.ExpiresAt, Attempts: r.Attempts, Number: r.Number,
	}
}

// json returns the text as JSON; nil for none.
func (t text) json() json.RawMessage {
	if t == "" {
		return nil
	}
	return json.RawMessage(t)
}

func (r commandBatch) batch() hearth.CommandBatch {
	b := hearth.CommandBatch{
		ID: r.ID, Total: r.Total, Name: r.Name, Params: r.Params.json(), CreatedBy: r.CreatedBy, OnlyOrg: r.OnlyOrg,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
	}
	if r.Devices != "" {
		b.DeviceIDs = strings.Split(r.Devices, ",")[r.Placed:]
	}
	return b
}

func storedBatch(b hearth.CommandBatch) commandBatch {
	return commandBatch{
		ID: b.ID, Devices: strings.Join(b.DeviceIDs, ","), Total: b.Total, Name: b.Name, Params: text(b.Params), CreatedBy: b.CreatedBy,
		OnlyOrg: b.OnlyOrg, CreatedAt: b.CreatedAt, ExpiresAt: b.ExpiresAt,
	}
}

// openCommands pick the commands that have not ended, in two parts that an index has each.
var openCommands = []Filter{{pending}, {Eq("state", hearth.CommandDelivered), past}} // never written to

// queue is what a new command of a device depends on: how many have not ended, and the highest number of those that have one of its time
// or a later one.
type queue struct{ open, last int64 }

// queuesOf returns the queues of those of the devices that are there.
func queuesOf(ctx context.Context, r Reader, now time.Time, deviceIDs []string) (map[string]*queue, error) {
	queues := map[string]*queue{}
	living, err := r.Figures(ctx, &devices.Schema, Filter{In("id", deviceIDs...)}, "id", "", "")
	for _, f := range living {
		queues[f.Value] = &queue{}
	}
	if err != nil || len(queues) == 0 {
		return queues, err
	}
	of := In("device_id", deviceIDs...)
	for _, open := range openCommands {
		opened, err := r.Figures(ctx, &commands.Schema, append(Filter{of}, open...), "device_id", "", "")
		if err != nil {
			return nil, err
		}
		for _, f := range opened {
			if q := queues[f.Value]; q != nil {
				q.open += f.Count
			}
		}
	}
	later, err := commands.Find(ctx, r, Query{Where: Filter{of, Gte("seq", now)}})
	for _, c := range later {
		if q := queues[c.DeviceID]; q != nil {
			q.last = max(q.last, c.Seq)
		}
	}
	return queues, err
}

// seqAfter returns the number of a new command: its time, or, where that is not beyond the last number of the device, the next.
func seqAfter(last int64, now time.Time) int64 { return max(now.UnixMilli(), last+1) }

// WriteCommands implements hearth.CommandStore.
func (a *Aggregates) WriteCommands(ctx context.Context, writes ...*hearth.CommandWrite) error {
	w := Write{Name: "WriteCommands", Key: "commands"}
	if len(writes) == 1 {
		w.Effects.Idempotency = writes[0].Effects.Idempotency
	}
	ctx = cause.With(ctx, "") // each write has its own
	return a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		var ids, deviceIDs []string
		var earliest time.Time
		for _, w := range writes {
			w.After, w.First, w.Err = hearth.Command{}, false, nil
			if w.New == nil {
				ids = append(ids, w.ID)
				continue
			}
			deviceIDs = append(deviceIDs, w.New.DeviceID)
			if earliest.IsZero() || w.New.CreatedAt.Before(earliest) {
				earliest = w.New.CreatedAt
			}
		}
		var queues map[string]*queue
		var stored []command
		var err error
		if len(deviceIDs) > 0 {
			queues, err = queuesOf(ctx, tx, earliest, deviceIDs)
		}
		if err == nil && len(ids) > 0 {
			stored, err = commands.Find(ctx, tx, Query{Where: Filter{In("id", ids...)}})
		}
		if err != nil {
			return err
		}
		effects := hearth.SideEffects{Idempotency: w.Effects.Idempotency}
		for _, w := range writes {
			var own hearth.SideEffects
			if own, w.Err, err = writeCommand(ctx, tx, w, queues, stored); err != nil {
				return err
			}
			effects.Audit, effects.Jobs = append(effects.Audit, own.Audit...), append(effects.Jobs, own.Jobs...)
		}
		if len(writes) == 1 && writes[0].Err != nil {
			return writes[0].Err
		}
		tx.With(effects)
		return nil
	})
}

// writeCommand adds a write to a step, and returns what is written with it; refused is why nothing is.
func writeCommand(
	ctx context.Context, tx Tx, w *hearth.CommandWrite, queues map[string]*queue, stored []command,
) (effects hearth.SideEffects, refused, err error) {
	if w.New != nil {
		w.After = *w.New
		q := queues[w.New.DeviceID]
		switch {
		case q == nil:
			return effects, hearth.NotFound(devices.Noun), nil
		case q.open >= hearth.MaxOpenCommands:
			return effects, hearth.Errorf(hearth.CodeConflict, "%d commands of the device have not ended yet", hearth.MaxOpenCommands), nil
		}
		w.After.Seq = seqAfter(q.last, w.New.CreatedAt)
		w.First = q.open == 0
		q.last = w.After.Seq
		q.open++
	} else {
		at := slices.IndexFunc(stored, func(c command) bool { return c.ID == w.ID })
		if at < 0 {
			return effects, hearth.NotFound(commands.Noun), nil
		}
		if w.After, refused = w.Change(stored[at].command()); refused != nil {
			return effects, refused, nil
		}
	}
	jobs, refused := w.Effects.AllJobs()
	if refused != nil {
		return effects, refused, nil
	}
	for _, job := range jobs {
		effects.Jobs = append(effects.Jobs, cause.Mark(w.Ctx, job))
	}
	effects.Audit = w.Effects.Audit
	if w.New != nil {
		return effects, nil, commands.Insert(ctx, tx, storedCommand(w.After))
	}
	return effects, nil, commands.Replace(ctx, tx, storedCommand(w.After))
}

// Command implements hearth.CommandStore.
func (a *Aggregates) Command(ctx context.Context, id string) (hearth.Command, error) {
	return get(ctx, a.b, "Command", commands, command.command, id)
}

// Commands implements hearth.CommandStore.
func (a *Aggregates) Commands(ctx context.Context, filter hearth.CommandFilter, page hearth.Page) (hearth.List[hearth.Command], error) {
	where := given(Eq("device_id", filter.DeviceID), Eq("state", filter.State))
	order := Order{By: "seq", Tie: "id", Desc: true}
	switch {
	case filter.State == "":
	case filter.State.Pending():
		where, order.By = append(where, pending), "turn"
	default:
		where = append(where, past)
	}
	return listing[command, hearth.Command]{"Commands", commands, where, order, command.command}.page(ctx, a.b, page)
}

// NextCommand implements hearth.CommandStore.
func (a *Aggregates) NextCommand(ctx context.Context, deviceID string, after int64, now time.Time) (hearth.Command, error) {
	return view(ctx, a.b, "NextCommand", func(ctx context.Context, r Reader) (hearth.Command, error) {
		next, err := commands.firstBy(ctx, r, Order{By: "turn", Tie: "id"}, Eq("device_id", deviceID), pending, Gt("turn", after), Gt("expires_at", now))
		return next.command(), err
	})
}

// CountPendingCommands implements hearth.CommandStore.
func (a *Aggregates) CountPendingCommands(ctx context.Context, deviceIDs []string) (map[string]int, error) {
	return view(ctx, a.b, "CountPendingCommands", func(ctx context.Context, r Reader) (map[string]int, error) {
		figures, err := r.Figures(ctx, &commands.Schema, Filter{In("device_id", deviceIDs...), pending}, "device_id", "", "")
		counts := make(map[string]int, len(figures))
		for _, f := range figures {
			counts[f.Value] = int(f.Count)
		}
		return counts, err
	})
}

// NumberCommand implements hearth.CommandStore. Commands are sent in their order, so the newest that has a number has the highest.
func (a *Aggregates) NumberCommand(ctx context.Context, deviceID, id string) (hearth.Command, error) {
	w := Write{Name: "NumberCommand", Key: "commands/" + deviceID}
	return update(ctx, a.b, w, func(ctx context.Context, tx Tx) (hearth.Command, error) {
		c, err := commands.Get(ctx, tx, id)
		switch {
		case err != nil:
			return c.command(), err
		case c.DeviceID != deviceID:
			return c.command(), hearth.NotFound(commands.Noun)
		case c.Number > 0:
			return c.command(), nil
		}
		newest := Order{By: "seq", Tie: "id", Desc: true}
		last, err := commands.firstBy(ctx, tx, newest, Eq("device_id", deviceID), Gt("number", 0))
		if _, err := absent(err); err != nil {
			return c.command(), err
		}
		c.Number = last.Number + 1
		return c.command(), commands.Replace(ctx, tx, c)
	})
}

// CommandByNumber implements hearth.CommandStore.
func (a *Aggregates) CommandByNumber(ctx context.Context, deviceID string, number int64) (c hearth.Command, err error) {
	for _, open := range openCommands { // one that is delivered meanwhile is found in the second part
		where := append(Filter{Eq("device_id", deviceID), Eq("number", number), Gt("number", 0)}, open...)
		if c, err = first(ctx, a.b, "CommandByNumber", commands, command.command, where...); hearth.ErrorCode(err) != hearth.CodeNotFound {
			return c, err
		}
	}
	return c, err
}

// DueCommands implements hearth.CommandStore.
func (a *Aggregates) DueCommands(ctx context.Context, limit int) ([]hearth.Command, error) {
	return find(ctx, a.b, "DueCommands", commands, command.command, Query{
		Where: Filter{Eq("ended", false)}, Order: Order{By: "due"}, Limit: limit,
	})
}

// ExpireCommands implements hearth.CommandStore.
func (a *Aggregates) ExpireCommands(
	ctx context.Context, now time.Time, ids []string, jobs func(hearth.Command) ([]hearth.OutboxJob, error),
) ([]hearth.Command, error) {
	return update(ctx, a.b, Write{Name: "ExpireCommands", Key: "commands", Long: true}, func(ctx context.Context, tx Tx) (expired []hearth.Command, _ error) {
		due, err := commands.Find(ctx, tx, Query{Where: Filter{In("id", ids...), Eq("ended", false), Lte("due", now)}, Order: Order{By: "due"}})
		if err != nil {
			return nil, err
		}
		var effects hearth.SideEffects
		for _, c := range due {
			after := c.command().At(now)
			expired = append(expired, after)
			more, err := jobs(after)
			if err != nil {
				return nil, err
			}
			effects.Jobs = append(effects.Jobs, more...)
			if err := commands.Replace(ctx, tx, storedCommand(after)); err != nil {
				return nil, err
			}
		}
		tx.With(effects)
		return expired, nil
	})
}

// RemoveCommands implements hearth.CommandStore.
func (a *Aggregates) RemoveCommands(ctx context.Context, now time.Time, limit int) (int, error) {
	const name = "RemoveCommands"
	gone := Filter{Lte("expires_at", now.Add(-hearth.CommandTTL))}
	n, err := a.b.Remove(ctx, name, &commandBatches.Schema, gone, "expires_at", limit)
	if err != nil || n == limit {
		return n, err
	}
	more, err := a.b.Remove(ctx, name, &commands.Schema, Filter{Eq("ended", true), Lte("due", now)}, "due", limit-n)
	return n + more, err
}

// CreateCommandBatch implements hearth.CommandStore.
func (a *Aggregates) CreateCommandBatch(ctx context.Context, b hearth.CommandBatch, effects hearth.SideEffects) error {
	return create(ctx, a.b, Write{Name: "CreateCommandBatch", Effects: effects, Long: true}, commandBatches, storedBatch(b), "")
}

// CommandBatch implements hearth.CommandStore. The counts are of an index alone.
func (a *Aggregates) CommandBatch(ctx context.Context, id string) (b hearth.CommandBatch, counts map[hearth.CommandState]int64, err error) {
	err = a.b.View(ctx, "CommandBatch", func(ctx context.Context, r Reader) error {
		// Where reads are of no single moment, a command may change its state while they are counted: they are counted again then.
		for range 3 {
			// The batch comes first: commands that it has placed are there.
			stored, err := commandBatches.Get(ctx, r, id)
			if err != nil {
				return err
			}
			figures, err := r.Figures(ctx, &commands.Schema, Filter{Eq("batch", id), batched}, "state", "", "")
			if err != nil {
				return err
			}
			b = stored.batch()
			var exact bool
			if counts, exact = countBatch(b, figures); exact {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return hearth.CommandBatch{}, nil, err
	}
	return b, counts, nil
}

// countBatch returns how many commands of a batch are in which state, with Total as their sum; exact is false where some went with
// their device, or were counted wrong.
func countBatch(b hearth.CommandBatch, figures []Figures) (counts map[hearth.CommandState]int64, exact bool) {
	counts = map[hearth.CommandState]int64{}
	missing := int64(b.Total)
	for _, f := range figures {
		counts[hearth.CommandState(f.Value)] = f.Count
		missing -= f.Count
	}
	if missing >= 0 {
		queued := min(missing, int64(len(b.DeviceIDs)))
		counts[hearth.CommandQueued] += queued
		counts[hearth.CommandCancelled] += missing - queued
		return counts, missing == queued
	}
	for _, state := range hearth.CommandStates() { // those that were counted twice were counted as they were before, too
		twice := min(counts[state], -missing)
		counts[state] -= twice
		missing += twice
	}
	return counts, false
}

// PlaceCommands implements hearth.CommandStore.
func (a *Aggregates) PlaceCommands(
	ctx context.Context, batchID string, limit int, of func(b hearth.CommandBatch, deviceID string) hearth.Command,
	jobs func(hearth.Command) ([]hearth.OutboxJob, error),
) (placed []hearth.PlacedCommand, after hearth.CommandBatch, err error) {
	w := Write{Name: "PlaceCommands", Key: "command_batch/" + batchID, Long: true}
	err = a.b.Update(ctx, w, func(ctx context.Context, tx Tx) error {
		placed = nil
		stored, err := commandBatches.Get(ctx, tx, batchID)
		after = stored.batch()
		if err != nil || len(after.DeviceIDs) == 0 {
			return err
		}
		ids := after.DeviceIDs[:min(limit, len(after.DeviceIDs))]
		if placed, err = a.place(ctx, tx, after, ids, of); err != nil {
			return err
		}
		var effects hearth.SideEffects
		for _, c := range placed {
			if !c.State.Ended() {
				continue
			}
			more, err := jobs(c.Command)
			if err != nil {
				return err
			}
			effects.Jobs = append(effects.Jobs, more...)
		}
		tx.With(effects)
		after.DeviceIDs = after.DeviceIDs[len(ids):]
		if stored.Placed += len(ids); len(after.DeviceIDs) == 0 {
			stored.Devices, stored.Placed = "", 0 // they are of no use any more, and many
		}
		return commandBatches.Replace(ctx, tx, stored)
	})
	return placed, after, err
}

// place adds the commands of some devices of a batch to a step.
func (a *Aggregates) place(
	ctx context.Context, tx Tx, b hearth.CommandBatch, ids []string, of func(b hearth.CommandBatch, deviceID string) hearth.Command,
) (placed []hearth.PlacedCommand, err error) {
	queues, err := queuesOf(ctx, tx, b.CreatedAt, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		q := queues[id]
		if q == nil {
			continue
		}
		c := of(b, id)
		c.Seq = seqAfter(q.last, b.CreatedAt)
		if q.open >= hearth.MaxOpenCommands {
			c.State, c.CompletedAt, c.Error = hearth.CommandFailed, c.CreatedAt, "the device has too many commands that have not ended"
		}
		if err := commands.Insert(ctx, tx, storedCommand(c)); err != nil {
			return nil, err
		}
		placed = append(placed, hearth.PlacedCommand{Command: c, First: q.open == 0})
	}
	return placed, nil
}
