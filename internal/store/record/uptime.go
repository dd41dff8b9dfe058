package record

import (
	"context"
	"time"

	"hearth"
)

// uptime is the stored form of hearth.Uptime: one record.
type uptime struct {
	ID      string    `json:"id"`
	AliveAt time.Time `json:"alive_at,omitzero"`
	Outages text      `json:"outages,omitempty"` // the JSON of outages

	BelievedAt time.Time `json:"believed_at,omitzero"`
	DoubtedAt  time.Time `json:"doubted_at,omitzero"`
}

// outage is in Unix milliseconds.
type outage struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

var uptimes = describe(&Kind[uptime]{Schema: Schema{Name: "uptime", Noun: "uptime"}})

// theUptime is the identity of the one record.
const theUptime = "hearth"

func storedUptime(u hearth.Uptime) uptime {
	r := uptime{ID: theUptime, AliveAt: u.AliveAt, BelievedAt: u.BelievedAt, DoubtedAt: u.DoubtedAt}
	outages := make([]outage, len(u.Outages))
	for i, o := range u.Outages {
		outages[i] = outage{o.From.UnixMilli(), o.To.UnixMilli()}
	}
	if len(outages) > 0 {
		r.Outages = packed(outages)
	}
	return r
}

func (r uptime) uptime() hearth.Uptime {
	u := hearth.Uptime{AliveAt: r.AliveAt, BelievedAt: r.BelievedAt, DoubtedAt: r.DoubtedAt}
	for _, o := range unpacked[[]outage](r.Outages) {
		u.Outages = append(u.Outages, hearth.Outage{From: fromMillis(o.From), To: fromMillis(o.To)})
	}
	return u
}

// Uptime implements hearth.AlarmStore.
func (a *Aggregates) Uptime(ctx context.Context) (hearth.Uptime, error) {
	u, err := get(ctx, a.b, "Uptime", uptimes, uptime.uptime, theUptime)
	_, err = absent(err)
	return u, err
}

// UpdateUptime implements hearth.AlarmStore.
func (a *Aggregates) UpdateUptime(ctx context.Context, change func(hearth.Uptime) hearth.Uptime) (hearth.Uptime, error) {
	return update(ctx, a.b, Write{Name: "UpdateUptime", Key: "uptime"}, func(ctx context.Context, tx Tx) (hearth.Uptime, error) {
		before, err := uptimes.Get(ctx, tx, theUptime)
		isNew, err := absent(err)
		if err != nil {
			return hearth.Uptime{}, err
		}
		after := change(before.uptime())
		switch stored := storedUptime(after); {
		case isNew:
			return after, uptimes.Insert(ctx, tx, stored)
		case stored != before:
			return after, uptimes.Replace(ctx, tx, stored)
		}
		return after, nil
	})
}
