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
	hearth.QuotaDeviceEvents + "=1000," + hearth.QuotaBytes + "=off"

// maxQuota bounds every quota but that of bytes.
const maxQuota = 1_000_000_000

// Quotas are how much a scope or a device may have, by the names of package hearth. Every quota is in it; 0 is any amount. Nil: all are off.
type Quotas map[string]int64

// ParseQuotas reads quotas such as "events=1000,device_events=off", or "off" for all. One that is left out keeps its default. Numbers are at
// least 1; a quota that is unknown or stands twice is an error.
func ParseQuotas(text string) (Quotas, error) {
	if text == "off" {
		return nil, nil //nolint:nilnil // no quotas is a value
	}
	return named[int64]{noun: "quota", example: "events=5000", defaults: defaultQuotas, number: func(name, text string) (int64, error) {
		if text == "off" {
			return 0, nil
		}
		if name == hearth.QuotaBytes {
			bytes, err := ParseBytes(text)
			if err != nil {
				err = fmt.Errorf("%w, or off", err)
			}
			return int64(bytes), err
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || n > maxQuota || text[0] == '+' {
			return 0, fmt.Errorf("must be a number from 1 to %d, or off", maxQuota)
		}
		return n, nil
	}}.parse(text)
}

// String writes the quotas as ParseQuotas reads them, sorted by name.
func (q Quotas) String() string {
	if q == nil {
		return "off"
	}
	parts := make([]string, 0, len(q))
	for _, name := range slices.Sorted(maps.Keys(q)) {
		number := "off"
		switch {
		case q[name] > 0 && name == hearth.QuotaBytes:
			number = Bytes(q[name]).String()
		case q[name] > 0:
			number = strconv.FormatInt(q[name], 10)
		}
		parts = append(parts, name+"="+number)
	}
	return strings.Join(parts, ",")
}
