package alarms

import (
	"cmp"
	"context"
	"slices"
	"time"

	"hearth"
	"hearth/internal/judge"
)

const (
	// maxReplayed bounds the readings of one test, maxEpisodes its episodes, and replayPart the readings that are read at once.
	maxReplayed = 200_000
	maxEpisodes = 1000
	replayPart  = 5000
)

// Episode is what a rule would have raised of a device.
type Episode struct {
	DeviceID string
	judge.Episode
}

// TestRule returns what a rule would have raised on stored logs of a span, the last reading before it included, up to maxEpisodes; truncated
// says that there were more. CodeNotFound; CodeValidationFailed if the span has no length or more than maxReplayed readings.
func (s *Service) TestRule(ctx context.Context, caller hearth.Caller, id string, span hearth.Span) (episodes []Episode, truncated bool, err error) {
	rule, err := s.Rule(ctx, caller, id)
	if err != nil {
		return nil, false, err
	}
	if !span.From.Before(span.To) {
		return nil, false, hearth.Invalid(hearth.FieldError{Location: "body.to", Message: "must be after from"})
	}
	r, problem := judge.New(rule)
	if problem != "" {
		return nil, false, hearth.Invalid(hearth.FieldError{Location: "body", Message: "the rule's expression " + problem})
	}
	if rule.Condition.OfflineFor > 0 {
		return nil, false, hearth.Invalid(hearth.FieldError{
			Location: "path.id", Message: "has offline_for, which cannot be tested: of the signs of life of a device only the last one is stored",
		})
	}
	r.CreatedAt = time.Time{} // a silence counts from when the device was made
	end := span.To
	if now := s.now(); now.Before(end) {
		end = now
	}
	if err := s.readUptime(ctx); err != nil {
		return nil, false, err
	}
	left := maxReplayed
	err = s.eachDevice(ctx, rule, func(d hearth.Device) (bool, error) {
		readings, err := s.readings(ctx, r, d.Key, span, &left)
		if err != nil {
			return false, err
		}
		life := s.lifeOf(&d)
		life.Known = end
		for _, e := range judge.Replay(r, readings, life, end) {
			if len(episodes) == maxEpisodes {
				truncated = true
				return false, nil
			}
			episodes = append(episodes, Episode{d.ID, e})
		}
		return true, nil
	})
	return episodes, truncated, err
}

// eachDevice calls fn with the devices that a rule is about, until it returns false.
func (s *Service) eachDevice(ctx context.Context, rule hearth.Rule, fn func(hearth.Device) (bool, error)) error {
	page := hearth.Page{Limit: hearth.MaxLimit}
	for {
		var list hearth.List[hearth.Device]
		var err error
		if len(rule.Devices.IDs) > 0 {
			list.Items, err = s.o.Devices.DevicesByID(ctx, rule.Devices.IDs)
		} else {
			list, err = s.o.Devices.Devices(ctx, hearth.DeviceFilter{
				Reach: hearth.Reach{Scopes: []hearth.Scope{rule.Scope()}}, Type: rule.Devices.Type, Tag: rule.Devices.Tag, Now: s.now(),
			}, page)
		}
		if err != nil {
			return err
		}
		for i := range list.Items {
			d := &list.Items[i]
			if d.Scope() != rule.Scope() || !rule.Devices.Pick(*d) {
				continue
			}
			if more, err := fn(*d); err != nil || !more {
				return err
			}
		}
		if page.Cursor = list.Next; page.Cursor.IsZero() {
			return nil
		}
	}
}

// readings returns what a rule looks at of a device, in order of time: the last of each event before the span, and all within it. left
// counts down.
func (s *Service) readings(ctx context.Context, r *judge.Rule, device int64, span hearth.Span, left *int) ([]hearth.Reading, error) {
	var all []hearth.LogEntry
	events := r.Events()
	if n := r.Condition.NoData; n != nil {
		events = []string{n.Event} // "" is all
	}
	for _, event := range events {
		before, err := s.o.Logs.Logs(ctx, hearth.LogQuery{
			Device: device, Span: hearth.Span{From: time.UnixMilli(minTime), To: span.From}, Event: event, Limit: 1,
		})
		if err != nil {
			return nil, err
		}
		all = append(all, before[:min(1, len(before))]...)
		query := hearth.LogQuery{Device: device, Span: span, Event: event, Ascending: true, Limit: replayPart}
		for {
			some, err := s.o.Logs.Logs(ctx, query)
			if err != nil {
				return nil, err
			}
			some = some[:min(replayPart, len(some))]
			all = append(all, some...)
			if *left -= len(some); *left < 0 {
				return nil, hearth.Invalid(hearth.FieldError{Location: "body.from", Message: "the span has more than 200000 readings: choose a shorter one"})
			}
			if len(some) < replayPart {
				break
			}
			query.After = &some[replayPart-1]
		}
	}
	slices.SortFunc(all, func(a, b hearth.LogEntry) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
	readings := make([]hearth.Reading, len(all))
	for i, e := range all {
		readings[i] = hearth.Reading{Event: e.Event, Value: e.Value, At: time.UnixMilli(e.At).UTC()}
	}
	return readings, nil
}

// minTime is the earliest time of a log, in Unix milliseconds.
const minTime = -62135596800000
