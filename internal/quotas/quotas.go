// Package quotas counts what scopes use of their quotas, where no capability counts it as a part of its own work.
package quotas

import (
	"context"

	"hearth"
	"hearth/internal/kv"
)

// Options are what quotas are counted by.
type Options struct {
	// Quotas are those that are set, by their names.
	Quotas map[string]int64
	// Limiter counts logs as the class hearth.QuotaLogs.
	Limiter kv.Limiter
	Store   interface {
		hearth.DeviceStore
		hearth.LogStore
	}
	Clock hearth.Clock
}

// Quotas count.
type Quotas struct{ o Options }

// New returns the quotas of the options.
func New(o Options) Quotas { return Quotas{o} }

// Logs returns what counts logs of a scope; nil where there is no quota of them.
func (q Quotas) Logs() func(ctx context.Context, scope hearth.Scope, logs int) error {
	if q.o.Quotas[hearth.QuotaLogs] == 0 {
		return nil
	}
	return q.countLogs
}

// countLogs fails with CodeQuotaExceeded beyond the quota. Where the limiter does not know, the logs are stored.
func (q Quotas) countLogs(ctx context.Context, scope hearth.Scope, logs int) error {
	d, err := q.o.Limiter.Allow(ctx, hearth.QuotaLogs, string(scope), logs)
	if err != nil || d.Allowed || d.Limit == 0 {
		return nil //nolint:nilerr // see above
	}
	return hearth.QuotaExceeded(hearth.QuotaLogs, int64(d.Limit), d.RetryAfter)
}

// Use returns what a scope has used of the quotas that are set for it.
func (q Quotas) Use(ctx context.Context, scope hearth.Scope) (uses []hearth.QuotaUse, err error) {
	if limit := q.o.Quotas[hearth.QuotaDevices]; limit > 0 {
		counts, err := q.o.Store.CountDevices(ctx, hearth.Reach{Scopes: []hearth.Scope{scope}}, q.o.Clock.Now())
		if err != nil {
			return nil, err
		}
		uses = append(uses, hearth.QuotaUse{Name: hearth.QuotaDevices, Limit: limit, Used: counts.Total})
	}
	if limit := q.o.Quotas[hearth.QuotaLogs]; limit > 0 {
		d, err := q.o.Limiter.Allow(ctx, hearth.QuotaLogs, string(scope), 0)
		if err != nil {
			return nil, err
		}
		uses = append(uses, hearth.QuotaUse{Name: hearth.QuotaLogs, Limit: limit, Used: limit - int64(d.Remaining)})
	}
	if limit := q.o.Quotas[hearth.QuotaBytes]; limit > 0 {
		bytes, err := q.o.Store.LogBytes(ctx, scope)
		if err != nil {
			return nil, err
		}
		uses = append(uses, hearth.QuotaUse{Name: hearth.QuotaBytes, Limit: limit, Used: bytes})
	}
	return uses, nil
}
