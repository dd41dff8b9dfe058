package hearth

// Limits of an answer about states.
const (
	MaxStateSegments = 1000
	MaxStateValues   = 10_000
	MaxStateLogs     = 2_000_000
)

// StateQuery asks how long each value of an event of a device held.
type StateQuery struct {
	Device int64
	Event  string
	Span   Span
}

// States says which values held when. What held at the start of the span is the value of the last log before it.
type States struct {
	// Totals are by value, the longest first.
	Totals []StateTotal
	// Segments are in order of time, the first MaxStateSegments of them; Truncated says that there are more.
	Segments  []StateSegment
	Truncated bool
}

// StateTotal sums up the segments of one value.
type StateTotal struct {
	Value Value
	// Held is in milliseconds.
	Held int64
	// Count is the number of segments that began within the span.
	Count int64
}

// StateSegment is a time in which one value held. From and To are Unix milliseconds.
type StateSegment struct {
	Value    Value
	From, To int64
}
