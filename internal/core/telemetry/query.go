package telemetry

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth"
)

// The orders of a list of logs: the Sort of its pages and cursors.
const (
	OldestFirst = "timestamp"
	NewestFirst = "-timestamp"
)

// Query asks for logs of one device.
type Query struct {
	DeviceID string
	Span     hearth.Span
	// Sliding says that the span was counted from now: the pages after the first keep the first one's span.
	Sliding bool
	// Event, if set, returns only logs of that event.
	Event string
	// Page's Sort is OldestFirst or NewestFirst.
	Page hearth.Page
}

// Logs lists a device's logs. CodeNotFound if the caller may not read the device, CodeValidationFailed for a cursor of
// another list.
func (s *Service) Logs(ctx context.Context, caller hearth.Caller, query Query) (hearth.List[hearth.Log], error) {
	none := hearth.List[hearth.Log]{}
	device, err := s.device(ctx, caller, query.DeviceID, hearth.MayRead)
	if err != nil {
		return none, err
	}
	after, err := query.resume()
	if err != nil {
		return none, err
	}
	size := query.Page.Size()
	entries, err := s.options.Store.Logs(ctx, hearth.LogQuery{
		Device: device.Key, Span: query.Span, Event: query.Event, Ascending: query.Page.Sort == OldestFirst, After: after, Limit: size,
	})
	if err != nil {
		return none, err
	}
	list := hearth.List[hearth.Log]{Total: -1}
	if len(entries) > size {
		entries = entries[:size]
		list.Next = query.cursor(entries[size-1])
	}
	list.Items = make([]hearth.Log, len(entries))
	for i, entry := range entries {
		list.Items[i] = logOf(entry, device.ID, entry.Seq)
	}
	if query.Page.Count {
		list.Total, err = s.count(ctx, device, query)
	}
	return list, err
}

func (s *Service) count(ctx context.Context, device *hearth.Device, query Query) (total int64, err error) {
	groups, err := s.options.Store.Rollups(ctx, hearth.RollupQuery{
		Reach: hearth.Reach{Scopes: []hearth.Scope{device.Scope()}}, Devices: []int64{device.Key}, Event: query.Event, Span: query.Span,
		Groupings: []hearth.Grouping{{}},
	})
	if err != nil {
		return 0, err
	}
	for _, group := range groups[0] {
		total += group.Count
	}
	return total, nil
}

// cursor is the place after an entry. It holds the span as well, so that a span that ends "now" stays the same from page
// to page.
func (q *Query) cursor(last hearth.LogEntry) hearth.Cursor {
	return hearth.Cursor{
		Sort: q.Page.Sort, Key: fmt.Sprintf("%d,%d,%d", last.At, q.Span.From.UnixMilli(), q.Span.To.UnixMilli()),
		ID: strconv.FormatUint(last.Seq, 10),
	}
}

// resume reads the page's cursor, and its span if the query's slides.
func (q *Query) resume() (after *hearth.LogEntry, err error) {
	cursor := q.Page.Cursor
	if cursor.IsZero() {
		return nil, nil
	}
	invalid := hearth.BadCursor()
	parts := strings.Split(cursor.Key, ",")
	if len(parts) != 3 || cursor.Sort != q.Page.Sort {
		return nil, invalid
	}
	var numbers [3]int64
	for i, part := range parts {
		if numbers[i], err = strconv.ParseInt(part, 10, 64); err != nil {
			return nil, invalid
		}
	}
	seq, err := strconv.ParseUint(cursor.ID, 10, 64)
	if err != nil {
		return nil, invalid
	}
	span := hearth.Span{From: millis(numbers[1]), To: millis(numbers[2])}
	if !q.Sliding && (!span.From.Equal(q.Span.From) || !span.To.Equal(q.Span.To)) {
		return nil, invalid
	}
	q.Span = span
	return &hearth.LogEntry{At: numbers[0], Seq: seq}, nil
}

// The largest numbers of events in answers about the latest logs.
const (
	MaxLatest     = 500 // of one device
	MaxListLatest = 50  // of each device of a list
)

// Latest returns the newest log of each event of a device, by event, at most MaxLatest; events, if not nil, picks. The logs have no ID.
// CodeNotFound if the caller may not read the device, CodeValidationFailed for what is no event.
func (s *Service) Latest(ctx context.Context, caller hearth.Caller, deviceID string, events []string) ([]hearth.Log, error) {
	device, err := s.device(ctx, caller, deviceID, hearth.MayRead)
	if err != nil {
		return nil, err
	}
	if len(events) > MaxLatest || slices.ContainsFunc(events, func(event string) bool { return !hearth.ValidEvent(event) }) {
		return nil, hearth.Invalid(hearth.FieldError{
			Location: "query.event", Message: "must be up to " + strconv.Itoa(MaxLatest) + " events, separated by commas",
		})
	}
	entries, err := s.options.Store.LatestLogs(ctx, []int64{device.Key})
	if err != nil {
		return nil, err
	}
	logs := make([]hearth.Log, 0, min(len(entries), MaxLatest))
	for _, entry := range entries {
		if len(logs) < MaxLatest && (events == nil || slices.Contains(events, entry.Event)) {
			logs = append(logs, latestOf(entry, device.ID))
		}
	}
	return logs, nil
}

// LatestOf returns the newest log of each event of devices that the caller may read, by device and event, at most MaxListLatest of each. The
// logs have no ID.
func (s *Service) LatestOf(ctx context.Context, devices []hearth.Device) (map[string][]hearth.Log, error) {
	keys := make([]int64, len(devices))
	ids := make(map[int64]string, len(devices))
	for i := range devices {
		keys[i] = devices[i].Key
		ids[devices[i].Key] = devices[i].ID
	}
	entries, err := s.options.Store.LatestLogs(ctx, keys)
	out := make(map[string][]hearth.Log, len(devices))
	for _, entry := range entries {
		if id := ids[entry.Device]; len(out[id]) < MaxListLatest {
			out[id] = append(out[id], latestOf(entry, id))
		}
	}
	return out, err
}

// States returns how long each value of an event of a device held within a span, whose end is at most now. CodeNotFound if the caller may not read
// the device, CodeValidationFailed for what is no event, and for too many logs or values.
func (s *Service) States(ctx context.Context, caller hearth.Caller, deviceID, event string, span hearth.Span) (hearth.States, error) {
	device, err := s.device(ctx, caller, deviceID, hearth.MayRead)
	if err != nil {
		return hearth.States{}, err
	}
	if !hearth.ValidEvent(event) {
		return hearth.States{}, hearth.Invalid(hearth.FieldError{Location: "query.event", Message: "must be the name of an event"})
	}
	return s.options.Store.States(ctx, hearth.StateQuery{Device: device.Key, Event: event, Span: span})
}

func latestOf(entry hearth.LogEntry, deviceID string) hearth.Log {
	return hearth.Log{DeviceID: deviceID, Event: entry.Event, Value: entry.Value, At: millis(entry.At)}
}

func millis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
