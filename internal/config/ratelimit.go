package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/timetext"
)

// The classes of requests that have a limit of their own.
const (
	LimitAuth      = "auth"      // sign-up, login, password: by address
	LimitGeneral   = "general"   // what no other class takes: by user
	LimitDevices   = "devices"   // the device operations of a user
	LimitAnalytics = "analytics" // the analytic questions of a user
	LimitExports   = "exports"   // the exports that a user starts
	LimitDevice    = "device"    // heartbeats and logs: by device
	LimitStreams   = "streams"   // streams that a user opens
	LimitRefresh   = "refresh"   // exchanges of refresh tokens: by session
	LimitProvision = "provision" // devices that provision themselves: by address, and by provisioning key
	LimitMessages  = "messages"  // MQTT messages: by device
	LimitPoints    = "points"    // values in them: by device
	LimitGateway   = "gateway"   // MQTT messages about devices behind a gateway: by gateway
)

const defaultRateLimits = "auth=5/1m,devices=100/1m,analytics=50/1m,exports=10/1h,device=120/1m,general=200/1m,streams=30/1m,refresh=30/1m," +
	"provision=200/1m,messages=6000/1m,points=60000/1m,gateway=60000/1m"

// RateLimit allows Count requests in each Per. The zero RateLimit allows any number.
type RateLimit struct {
	Count int
	Per   time.Duration
}

// Bounds of a RateLimit.
const (
	maxRateCount = 1_000_000
	maxRatePer   = 24 * time.Hour
)

// RateLimits are the limits by class. Every class is in it: a missing or zero one has no limit. Nil: all limits are off.
type RateLimits map[string]RateLimit

// ParseRateLimits reads limits such as "auth=5/1m,exports=10/1h,general=off", or "off" for all. A class that is left out
// keeps its default. Counts are 1 to 1,000,000, times 1 ms to 24 h; a class that is unknown or stands twice is an error.
func ParseRateLimits(text string) (RateLimits, error) {
	if text == "off" {
		return nil, nil //nolint:nilnil // no limits is a value
	}
	limits, err := parseRateLimits(defaultRateLimits)
	if err != nil {
		return nil, fmt.Errorf("the default limits: %w", err)
	}
	given, err := parseRateLimits(text)
	if err != nil {
		return nil, err
	}
	for class, limit := range given {
		if _, ok := limits[class]; !ok {
			classes := slices.Sorted(maps.Keys(limits))
			if near := nearest(class, classes); near != "" {
				return nil, fmt.Errorf("has no class %q: did you mean %s?", class, near)
			}
			return nil, fmt.Errorf("has no class %q, only %s", class, strings.Join(classes, ", "))
		}
		limits[class] = limit
	}
	return limits, nil
}

func parseRateLimits(text string) (RateLimits, error) {
	limits := RateLimits{}
	for part := range items(text) {
		class, rate, ok := strings.Cut(part, "=")
		class, rate = strings.TrimSpace(class), strings.TrimSpace(rate)
		if _, twice := limits[class]; !ok || twice {
			return nil, fmt.Errorf("must hold each class once, as in auth=5/1m, not %q", part)
		}
		limit, err := parseRateLimit(rate)
		if err != nil {
			return nil, fmt.Errorf("class %s: %w", class, err)
		}
		limits[class] = limit
	}
	return limits, nil
}

func parseRateLimit(text string) (RateLimit, error) {
	if text == "off" {
		return RateLimit{}, nil
	}
	count, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxRateCount || count[0] == '+' {
		return RateLimit{}, fmt.Errorf("must be a count up to %d and a time, such as 5/1m, or off, not %q", maxRateCount, text)
	}
	d, err := timetext.ParseDuration(per)
	if err != nil || d > maxRatePer {
		return RateLimit{}, fmt.Errorf("must be a count and a time up to 24h, such as 5/1m, or off, not %q", text)
	}
	return RateLimit{Count: n, Per: d}, nil
}

// String writes the limits as ParseRateLimits reads them, sorted by class.
func (l RateLimits) String() string {
	if l == nil {
		return "off"
	}
	parts := make([]string, 0, len(l))
	for _, class := range slices.Sorted(maps.Keys(l)) {
		parts = append(parts, class+"="+l[class].String())
	}
	return strings.Join(parts, ",")
}

// String writes the limit as 5/1m, or off.
func (l RateLimit) String() string {
	if l == (RateLimit{}) {
		return "off"
	}
	return strconv.Itoa(l.Count) + "/" + timetext.FormatDuration(l.Per)
}
