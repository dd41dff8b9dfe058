// Package timerange reads which time a question is about: the parameters range, from and to.
package timerange

import (
	"time"

	"hearth"
	"hearth/internal/core/analytics"
	"hearth/internal/timetext"
)

// Params say which time a question is about.
type Params struct {
	Range string `query:"range" maxLength:"32" doc:"A duration such as 15m, 24h, 7d or 30d: the range that ends now. Not together with from or to." example:"24h"`
	From  string `query:"from" maxLength:"64" format:"date-time" doc:"Start of the range, inclusive (RFC 3339)." example:"2026-03-01T00:00:00.000Z"`
	To    string `query:"to" maxLength:"64" format:"date-time" doc:"End of the range, exclusive (RFC 3339); now if only from is given." example:"2026-03-02T00:00:00.000Z"`
}

// defaultRange is what analytics are about when no range is given.
const defaultRange = 24 * time.Hour

// The bounds of time: every timestamp that can be written lies between them.
var (
	beginningOfTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	endOfTime       = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Parse reads the parameters; given is false if there are none. What is left open on one side has no bound there.
func (p Params) Parse() (r analytics.Range, given bool, err error) { return p.ParseIn("query.") }

// ParseIn is parse for fields that problems name with that prefix.
func (p Params) ParseIn(prefix string) (r analytics.Range, given bool, err error) {
	invalid := func(field, message string) (analytics.Range, bool, error) {
		return analytics.Range{}, false, hearth.Invalid(hearth.FieldError{Location: prefix + field, Message: message})
	}
	if p.Range != "" {
		if p.From != "" || p.To != "" {
			return invalid("range", "must not be combined with from or to")
		}
		length, err := timetext.ParseDuration(p.Range)
		if err != nil {
			return invalid("range", err.Error())
		}
		return analytics.Range{Sliding: length}, true, nil
	}
	r.From, r.To = beginningOfTime, endOfTime
	if p.From != "" {
		at, ok := timetext.ParseTimestamp(p.From)
		if !ok {
			return invalid("from", "must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z")
		}
		r.From = time.UnixMilli(at).UTC()
	}
	if p.To != "" {
		at, ok := timetext.ParseTimestamp(p.To)
		if !ok {
			return invalid("to", "must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z")
		}
		r.To = time.UnixMilli(at).UTC()
	}
	if !r.From.Before(r.To) {
		return invalid("from", "must be before to")
	}
	return r, p.From != "" || p.To != "", nil
}

// ForAnalytics reads the parameters where a range is needed: the last 24 hours if none is given.
func (p Params) ForAnalytics(now time.Time) (analytics.Range, error) {
	r, given, err := p.Parse()
	switch {
	case err != nil:
		return r, err
	case !given:
		return analytics.Range{Sliding: defaultRange}, nil
	case r.Sliding == 0 && p.From == "":
		return r, hearth.Invalid(hearth.FieldError{Location: "query.from", Message: "is required where to is given"})
	case r.Sliding == 0 && p.To == "":
		if r.To = now.Add(time.Millisecond); !r.From.Before(r.To) {
			return r, hearth.Invalid(hearth.FieldError{Location: "query.from", Message: "must be before now"})
		}
	}
	return r, nil
}
