package mqtt

import (
	"runtime"
	"strings"
	"testing"

	"hearth"
)

// hostilePayloads are of 256 KiB and made to cost much.
func hostilePayloads() map[string]string {
	const size = 256 << 10
	many := func(part string) string { return strings.Repeat(part, size/len(part)) }
	list := func(part string) string { return strings.TrimSuffix(many(part+","), ",") }
	members := func(value string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			b.WriteString(`"` + string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676%26), byte('a' + i/17576)}) + `":` + value + `,`)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	return map[string]string{
		"empty objects":     "[" + list("{}") + "]",
		"objects of nulls":  "[" + list(`{"a":null}`) + "]",
		"small objects":     "[" + list(`{"a":1}`) + "]",
		"members":           "{" + members("1") + "}",
		"members of nulls":  "{" + members("null") + "}",
		"members of arrays": "{" + members("[[],{}]") + "}",
		"arrays":            `{"a":[` + list("[1,2]") + `]}`,
		"nested arrays":     `{"a":` + many("["),
		"nested objects":    many(`{"a":`),
		"a long text":       `{"a":"` + many("x") + `"}`,
		"escapes":           `{"a":"` + many(`\u0041`) + `"}`,
		"a long name":       `{"` + many("x") + `":1}`,
		"digits":            `{"a":` + many("9") + `}`,
		"a long time":       `{"ts":"` + many("1") + `"}`,
		"space":             many(" "),
		"text":              many("x"),
	}
}

// A payload costs at most ten times its size, as a long name is kept and shown, and a bounded part for each name, of as many as a batch may have values: names are compared, and
// values are kept to be stored.
func TestHostilePayloadsCostLittle(t *testing.T) { // alone: it counts the allocations of the process
	const slack, aName = 64 << 10, 1 << 10
	for name, payload := range hostilePayloads() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var r readers
		entries, _, err := r.telemetry([]byte(payload), at)
		_, _, _ = plain("e", []byte(payload), at)
		runtime.ReadMemStats(&after)
		if len(entries) > hearth.MaxLogBatch {
			t.Errorf("%s: %d values were read, %v", name, len(entries), err)
		}
		most := 10*len(payload) + aName*min(strings.Count(payload, ":"), hearth.MaxLogBatch) + slack
		if cost := after.TotalAlloc - before.TotalAlloc; cost > uint64(most) {
			t.Errorf("%s: a payload of %d bytes costs %d (%.1f times), more than %d", name, len(payload), cost, float64(cost)/float64(len(payload)), most)
		}
	}
}
