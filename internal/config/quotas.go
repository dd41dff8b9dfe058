package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hearth"
)

const defaultQuotas = hearth.QuotaDevices + "=off," + hearth.QuotaLogs + "=off," + hearth.QuotaEvents + "=5000," +
	hearth.QuotaDeviceEvents + "=1000"

// maxQuota bounds every quota.
const maxQuota = 1_000_000_000

// Quotas are how much a scope or a device may have, by the names of package hearth. Every quota is in it; 0 is any amount. Nil: all are off.
type Quotas map[string]int64

// ParseQuotas reads quotas such as "events=1000,device_events=off", or "off" for all. One that is left out keeps its default. Numbers are at
// least 1; a quota that is unknown or stands twice is an error.
func ParseQuotas(text string) (Quotas, error) {
	if text == "off" {
		return nil, nil //nolint:nilnil // no quotas is a value
	}
	all, err := parseQuotas(defaultQuotas)
	if err != nil {
		return nil, fmt.Errorf("the default quotas: %w", err)
	}
	given, err := parseQuotas(text)
	if err != nil {
		return nil, err
	}
	for name, n := range given {
		if _, ok := all[name]; !ok {
			names := slices.Sorted(maps.Keys(all))
			if near := nearest(name, names); near != "" {
				return nil, fmt.Errorf("has no quota %q: did you mean %s?", name, near)
			}
			return nil, fmt.Errorf("has no quota %q, only %s", name, strings.Join(names, ", "))
		}
		all[name] = n
	}
	return all, nil
}

func parseQuotas(text string) (Quotas, error) {
	all := Quotas{}
	for part := range items(text) {
		name, number, ok := strings.Cut(part, "=")
		name, number = strings.TrimSpace(name), strings.TrimSpace(number)
		if _, twice := all[name]; !ok || twice {
			return nil, fmt.Errorf("must hold each quota once, as in events=5000, not %q", part)
		}
		if number == "off" {
			all[name] = 0
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 || n > maxQuota || number[0] == '+' {
			return nil, fmt.Errorf("quota %s: must be a number from 1 to %d, or off, not %q", name, maxQuota, number)
		}
		all[name] = n
	}
	return all, nil
}

// String writes the quotas as ParseQuotas reads them, sorted by name.
func (q Quotas) String() string {
	if q == nil {
		return "off"
	}
	parts := make([]string, 0, len(q))
	for _, name := range slices.Sorted(maps.Keys(q)) {
		number := "off"
		if q[name] > 0 {
			number = strconv.FormatInt(q[name], 10)
		}
		parts = append(parts, name+"="+number)
	}
	return strings.Join(parts, ",")
}
