// Package analytics answers questions about many logs at once: dashboard, comparison, trends, events, usage. It reads
// rollups, never all logs, and keeps answers until a write changes them.
package analytics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth"
	"hearth/internal/calendar"
	"hearth/internal/kv"
	"hearth/internal/timetext"
)

// Logs are what is counted.
type Logs interface {
	Rollups(ctx context.Context, query hearth.RollupQuery) ([][]hearth.Rollup, error)
	CountLogs(ctx context.Context, reach hearth.Reach) (int64, error)
}

// Devices are what reports.
type Devices interface {
	DevicesByID(ctx context.Context, ids []string) ([]hearth.Device, error)
	DevicesByKey(ctx context.Context, keys []int64) ([]hearth.Device, error)
	CountDevices(ctx context.Context, reach hearth.Reach, now time.Time) (hearth.DeviceCounts, error)
}

var (
	_ Logs             = hearth.LogStore(nil)
	_ Devices          = hearth.DeviceStore(nil)
	_ hearth.Publisher = (*Service)(nil)
)

// Options are what the service works with.
type Options struct {
	Logs    Logs
	Devices Devices
	Cache   kv.Cache
	Clock   hearth.Clock
	// Flow returns what goes through the whole service now: the rates within reach, and the open streams that the caller may
	// count, an admin all, a user their own. Nil is nothing.
	Flow func(ctx context.Context, caller hearth.Caller, reach hearth.Reach) Flow
}

func (o Options) validate() (Options, error) {
	if o.Logs == nil || o.Devices == nil || o.Cache == nil {
		return o, errors.New("analytics: logs, devices and a cache are needed")
	}
	if o.Flow == nil {
		o.Flow = func(context.Context, hearth.Caller, hearth.Reach) Flow { return Flow{} }
	}
	return o, nil
}

// Service answers. It may be used at once from many goroutines.
type Service struct{ options Options }

// New makes the service.
func New(options Options) (*Service, error) {
	options, err := options.validate()
	if err != nil {
		return nil, err
	}
	return &Service{options: options}, nil
}

// slidingTTL is how long an answer about a range that ends now is kept.
const slidingTTL = time.Second

// tag names the answers that depend on the logs of a scope.
func tag(scope hearth.Scope) string { return "logs:" + string(scope) }

// tagAll names the answers that depend on the logs of every scope.
const tagAll = "logs"

// LogsChanged ends every kept answer about logs within reach, at once.
func (s *Service) LogsChanged(ctx context.Context, reach hearth.Reach) {
	if reach.All {
		s.options.Cache.Invalidate(ctx, kv.KindAnalytics+":")
		return
	}
	names := make([]string, 0, len(reach.Scopes)+1)
	for _, scope := range reach.Scopes {
		names = append(names, tag(scope))
	}
	s.options.Cache.Invalidate(ctx, append(names, tagAll)...)
}

// Publish invalidates the answers about devices that went or came, whose logs did so with them. It publishes nothing.
func (s *Service) Publish(events ...hearth.Event) {
	for _, event := range events {
		if event.Type == hearth.EventDeviceDeleted || event.Arrived {
			s.LogsChanged(context.Background(), hearth.Reach{Scopes: []hearth.Scope{event.Scope}})
		}
	}
}

// Range is the time that a question is about.
type Range struct {
	hearth.Span
	// Sliding, if not zero, is the length of a range that ends now; Span is set from it.
	Sliding time.Duration
}

// At returns the range with its span: a sliding one ends behind the current millisecond, so that what was just written is
// in it.
func (r Range) At(now time.Time) Range {
	if r.Sliding > 0 {
		r.To = now.Add(time.Millisecond)
		r.From = r.To.Add(-r.Sliding)
	}
	return r
}

// name is the range in the key of an answer.
func (r Range) name() string {
	if r.Sliding > 0 {
		return timetext.FormatDuration(r.Sliding)
	}
	return fmt.Sprintf("%d-%d", r.From.UnixMilli(), r.To.UnixMilli())
}

// question is what a kept answer is the answer to.
type question struct {
	kind  string
	reach hearth.Reach
	span  Range
	rest  []string
}

// key follows the scheme analytics:{owner}:kind:range. The owner is the reach itself, so that an answer never outlives
// the right to it, and the members of an organization share theirs.
func (q question) key() (key string, tags []string) {
	if q.reach.All {
		return kv.Key(kv.KindAnalytics, "all", append([]string{q.kind, q.span.name()}, q.rest...)...), []string{tagAll}
	}
	names := make([]string, len(q.reach.Scopes))
	for i, scope := range q.reach.Scopes {
		names[i] = string(scope)
		tags = append(tags, tag(scope))
	}
	slices.Sort(names)
	rest := append([]string{q.kind, q.span.name(), strings.Join(names, ",")}, q.rest...)
	owner := "nobody"
	if len(names) > 0 {
		owner = names[len(names)-1] // the user, where there is one
	}
	return kv.Key(kv.KindAnalytics, owner, rest...), tags
}

// cached answers a question from the cache or by load, one load at a time.
func cached[T any](ctx context.Context, s *Service, q question, load func(context.Context, Range) (T, error)) (answer T, err error) {
	ttl := kv.TTLAnalytics
	if q.span.Sliding > 0 {
		ttl = slidingTTL
	}
	key, tags := q.key()
	data, err := s.options.Cache.Load(ctx, key, kv.Options{TTL: ttl, Tags: tags}, func(ctx context.Context) ([]byte, error) {
		answer, err := load(ctx, q.span.At(s.options.Clock.Now()))
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	})
	if err != nil {
		return answer, err
	}
	err = json.Unmarshal(data, &answer)
	return answer, err
}

// Summary sums up values; of no numbers and booleans everything but Count, Texts and Sum is meaningless.
type Summary struct {
	hearth.Stats
	P50, P95, P99 float64
	// Change is of one event, where one was asked for.
	Change *hearth.ValueChange
}

// summaryOf takes the quantiles from the group's sketch.
func summaryOf(group hearth.Rollup) Summary {
	s := Summary{Stats: group.Stats, Change: group.Change}
	if group.Sketch != nil && group.Numbers() > 0 {
		quantile := func(q float64) float64 { return min(max(group.Sketch.Quantile(q), s.Min), s.Max) }
		s.P50, s.P95, s.P99 = quantile(0.5), quantile(0.95), quantile(0.99)
	}
	return s
}

// Average returns the mean of the numbers and booleans; 0 of none.
func (s Summary) Average() float64 { return average(s.Stats) }

func average(s hearth.Stats) float64 {
	if s.Numbers() == 0 {
		return 0
	}
	// Rounding must not carry a mean past the values that it is of.
	return min(max(s.Sum/float64(s.Numbers()), s.Min), s.Max)
}

// Point is one bucket of a trend.
type Point struct {
	// At is the bucket's start in Unix milliseconds.
	At int64
	hearth.Stats
	// Change is of one event, where one was asked for.
	Change *hearth.ValueChange
}

// Average returns the mean of the numbers and booleans; 0 of none.
func (p Point) Average() float64 { return average(p.Stats) }

// Trend is a series of buckets, oldest first, empty ones left out.
type Trend []Point

func trendOf(groups []hearth.Rollup) Trend {
	trend := make(Trend, len(groups))
	for i, group := range groups {
		trend[i] = Point{group.At, group.Stats, group.Change}
	}
	return trend
}

// MaxBuckets bounds the buckets that a trend may have.
const MaxBuckets = 100_000

// Interval is the width of a trend's buckets: a unit of the calendar of a time zone.
type Interval struct {
	Unit calendar.Unit
	// Zone is the time zone; nil is UTC.
	Zone *time.Location
}

func (i Interval) zone() *time.Location {
	if i.Zone == nil {
		return time.UTC
	}
	return i.Zone
}

// String names the interval in the keys of answers.
func (i Interval) String() string { return string(i.Unit) + "@" + i.zone().String() }

// grouping adds the buckets of a span to a grouping.
func (i Interval) grouping(span hearth.Span, g hearth.Grouping) hearth.Grouping {
	if calendar.Aligned(span.From, span.To, i.Unit, i.zone()) {
		g.Step = hearth.Step(i.Unit.Shortest())
		return g
	}
	g.Bounds = calendar.Starts(span.From, span.To, i.Unit, i.zone())
	return g
}

// check refuses intervals that are too short for the range; location is the parameter that is to blame.
func (i Interval) check(r Range, location string) error {
	if r.millis()/i.Unit.Shortest().Milliseconds() >= MaxBuckets {
		return hearth.Invalid(hearth.FieldError{
			Location: location,
			Message:  fmt.Sprintf("cuts this range into more than %d buckets: ask for a shorter range or a longer interval", MaxBuckets),
		})
	}
	return nil
}

// millis returns the length of the range in milliseconds, which a Duration need not hold.
func (r Range) millis() int64 {
	if r.Sliding > 0 {
		return r.Sliding.Milliseconds()
	}
	return r.To.UnixMilli() - r.From.UnixMilli()
}

// intervalFor is the dashboard's: the hour up to seven days, then the day.
func intervalFor(r Range, zone *time.Location) Interval {
	if r.millis() <= (7 * 24 * time.Hour).Milliseconds() {
		return Interval{calendar.Hour, zone}
	}
	return Interval{calendar.Day, zone}
}
