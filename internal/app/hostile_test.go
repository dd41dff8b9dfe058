package app_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"iter"
	"maps"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/internal/apitest"
)

// The default limits of bodies, decoded.
const (
	bodyLimit  = 1 << 20
	batchLimit = 16 << 20
)

// repeat returns a part over and over with commas between, at most n bytes.
func repeat(part string, n int) []byte {
	out := bytes.Repeat([]byte(part+","), max(1, n/(len(part)+1)))
	return out[:len(out)-1]
}

// members returns members with names of their own, at most n bytes.
func members(value string, n int) []byte {
	var out bytes.Buffer
	for i := 0; out.Len()+len(value)+16 < n; i++ {
		fmt.Fprintf(&out, `"%x":%s,`, i, value)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte(","))
}

func enclose(begin string, inner []byte, end string) []byte {
	return slices.Concat([]byte(begin), inner, []byte(end))
}

// hostileValues make JSON texts of about n bytes that cost much to read, by what they are.
func hostileValues(n int) map[string]func() []byte {
	text := func(part string) []byte { return bytes.Repeat([]byte(part), n/len(part)) }
	// The longest texts that are read.
	long := func(part string) string { return `"` + strings.Repeat(part, 100_000/len(part)) + `"` }
	levels := strings.Repeat(`{"a":`, 30) + strings.Repeat("[", 30) + strings.Repeat("]", 30) + strings.Repeat("}", 30)
	return map[string]func() []byte{
		"empty items":        func() []byte { return enclose("[", repeat("{}", n), "]") },
		"numbers":            func() []byte { return enclose("[", repeat("1", n), "]") },
		"members":            func() []byte { return enclose("{", members("1", n), "}") },
		"members of members": func() []byte { return enclose("{", members(`{"a":1,"b":[]}`, n), "}") },
		"lists of members":   func() []byte { return enclose("[", repeat(string(enclose("{", members("null", 900), "}")), n), "]") },
		"small lists":        func() []byte { return enclose("[", repeat("[]", n), "]") },
		"lists of 100":       func() []byte { return enclose("[", repeat("["+string(repeat("0", 200))+"]", n), "]") },
		"lists of lists":     func() []byte { return enclose("{", members(`[[[1],[2]],[[3],[4]]]`, n), "}") },
		"nested lists":       func() []byte { return text("[") },
		"nested objects":     func() []byte { return text(`{"a":`) },
		"60 levels":          func() []byte { return enclose("[", repeat(levels, n), "]") },
		"one text":           func() []byte { return enclose(`"`, text("x"), `"`) },
		"long texts":         func() []byte { return enclose("[", repeat(long("x"), n), "]") },
		"long escapes":       func() []byte { return enclose("[", repeat(long(`\u00e9`), n), "]") },
		"long pairs":         func() []byte { return enclose("[", repeat(long(`\ud83d\ude00`), n), "]") },
		"long wide texts":    func() []byte { return enclose("[", repeat(long("🙂"), n), "]") },
		"a member's texts":   func() []byte { return enclose("{", members(long(`\u0041`), n), "}") },
		"escaped names":      func() []byte { return enclose(`{"a":{`, members("1,\"\\u0041\\u0042\":1,\"x\\n\":2", n), "}}") },
		"texts of 16 KB":     func() []byte { return enclose("[", repeat(`"`+strings.Repeat("x", 16_000)+`"`, n), "]") },
		"texts of 64 pairs":  func() []byte { return enclose("[", repeat(`"`+strings.Repeat(`\ud83d\ude00`, 64)+`"`, n), "]") },
		"texts of 64":        func() []byte { return enclose("[", repeat(`"`+strings.Repeat("x", 64)+`"`, n), "]") },
		"50 texts": func() []byte {
			return []byte(`["` + strings.Join(strings.Split(fmt.Sprintf("%049d", 0), ""), `","`) + `","x"]`)
		},
		"short escapes": func() []byte { return enclose("[", repeat(`"\n\u0041"`, n), "]") },
		"NUL":           func() []byte { return enclose("[", repeat(`"`+strings.Repeat(`\\u0000`, 50)+`\u0000"`, n), "]") },
		"digits":        func() []byte { return enclose("[", repeat(strings.Repeat("9", 300), n), "]") },
		"long digits":   func() []byte { return enclose("[", repeat("0."+strings.Repeat("9", 100_000), n), "]") },
		"exponents":     func() []byte { return enclose("[", repeat("1.7976931348623157e308", n), "]") },
		"1e400":         func() []byte { return []byte("1e400") },
		"the same name": func() []byte { return enclose("{", repeat(`"a":1`, n), "}") },
		"not UTF-8":     func() []byte { return enclose(`["`, text("\xff"), `"]`) },
		"space":         func() []byte { return enclose("[", text(" "), "]") },
		"space between": func() []byte { return enclose("[", repeat(strings.Repeat(" ", 1000)+"1", n), "]") },
	}
}

// hostileBody is a body of an operation that is made to cost much.
type hostileBody struct {
	place, shape string
	// make returns it in parts.
	make func() [][]byte
}

// around returns what stands in front of a value and behind it.
func around(t *testing.T, build func(any) any) (before, after []byte) {
	t.Helper()
	const here = "the-value-here"
	before, after, _ = bytes.Cut([]byte(asJSON(t, build(here))), []byte(`"`+here+`"`))
	return before, after
}

// hostileBodies are the hostile values at each place of an operation's body and as its whole, and lists of items that have smaller ones.
func (w *fixture) hostileBodies(t *testing.T, op operationOf, limit int) iter.Seq[hostileBody] {
	t.Helper()
	values, small := hostileValues(limit), hostileValues(700)
	type placeOf struct {
		before, after []byte
		item          *schema // of a list
	}
	places := map[string]placeOf{}
	var good any
	if err := json.Unmarshal([]byte(w.body(t, op, "owner")), &good); err != nil {
		t.Fatal(err)
	}
	same := func(v any) any { return v }
	w.doc.everyPlace(op.RequestBody.Content["application/json"].Schema, "body", good, same, func(place string, s schema, build func(any) any) {
		before, after := around(t, build)
		places[place] = placeOf{before, after, s.Items}
	})
	return func(yield func(hostileBody) bool) {
		for _, name := range slices.Sorted(maps.Keys(places)) {
			place := places[name]
			for _, shape := range slices.Sorted(maps.Keys(values)) {
				if !yield(hostileBody{name, shape, func() [][]byte { return [][]byte{place.before, values[shape](), place.after} }}) {
					return
				}
			}
			if place.item == nil {
				continue
			}
			items := map[string][2][]byte{}
			item := w.doc.sample(*place.item)
			if list, ok := good.([]any); ok && name == "body" {
				item = list[0]
			}
			w.doc.everyPlace(*place.item, name+"[]", item, same, func(inner string, _ schema, build func(any) any) {
				before, after := around(t, build)
				items[inner] = [2][]byte{before, after}
			})
			for _, inner := range slices.Sorted(maps.Keys(items)) {
				for _, shape := range slices.Sorted(maps.Keys(small)) {
					list := func() [][]byte {
						one := slices.Concat(items[inner][0], small[shape](), items[inner][1])
						return [][]byte{place.before, enclose("[", repeat(string(one), limit), "]"), place.after}
					}
					if !yield(hostileBody{inner, shape, list}) {
						return
					}
				}
			}
		}
	}
}

// cost is what a request cost the process of the server.
type cost struct {
	status    int
	code      string
	allocated uint64
	processor time.Duration
}

func processorTime(t *testing.T, who int) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(who, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// costOf sends a request and returns what the server spent up to its answer.
func (w *fixture) costOf(t *testing.T, head string, parts ...[]byte) (c cost) {
	t.Helper()
	target, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", target.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := processorTime(t, syscall.RUSAGE_SELF)
	sent := make(chan time.Duration)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		own := processorTime(t, syscall.RUSAGE_THREAD)
		_, _ = io.WriteString(conn, head)
		for _, part := range parts {
			if _, err := conn.Write(part); err != nil { // it was refused
				break
			}
		}
		sent <- processorTime(t, syscall.RUSAGE_THREAD) - own
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	c.processor = processorTime(t, syscall.RUSAGE_SELF) - began
	runtime.ReadMemStats(&after)
	c.allocated = after.TotalAlloc - before.TotalAlloc
	if err == nil {
		c.status = response.StatusCode
		var problem struct{ Code string }
		data, _ := io.ReadAll(response.Body)
		_ = json.Unmarshal(data, &problem)
		c.code = problem.Code
	}
	_ = conn.Close()
	c.processor -= <-sent
	return c
}

// everyHostileBody has the walk send all bodies; otherwise each place is sent some of the shapes. oneHostileOperation has it send them to one alone.
var ( //nolint:gochecknoglobals // flags of the test
	everyHostileBody    = flag.Bool("hostile", false, "send all hostile bodies")
	oneHostileOperation = flag.String("operation", "", "send hostile bodies to the operation with this id alone")
)

// The processor time is of the whole process without the sender, and so of a machine that does nothing else.
func TestNoBodyCostsMoreThanItsSize(t *testing.T) { // alone: it counts what the process allocates
	const slack = 256 << 10 // of the request itself, and of what else goes on
	w := newFixture(t, apitest.Embedded)
	type sent struct {
		what string
		size int
		cost
	}
	var all []sent
	turn := 0
	for _, op := range w.operations() {
		if op.RequestBody == nil || *oneHostileOperation != "" && op.OperationID != *oneHostileOperation {
			continue
		}
		limit := bodyLimit - 4096
		if op.OperationID == "create-logs" {
			limit = batchLimit - 4096
		}
		caller := "owner"
		if strings.Contains(op.path, "/integrations") || op.OperationID == "update-user" {
			caller = "admin"
		}
		path := op.path
		for name, id := range w.ids(t, op, caller) {
			path = strings.ReplaceAll(path, "{"+name+"}", id)
		}
		for body := range w.hostileBodies(t, op, limit) {
			if turn++; !*everyHostileBody && turn%someBodies != 0 {
				continue
			}
			parts, size := body.make(), 0
			for _, part := range parts {
				size += len(part)
			}
			// With an Idempotency-Key a body costs more: it is hashed.
			head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
				op.method, path, w.bearer(t, caller), turn, size)
			c := w.costOf(t, head, parts...)
			for range 3 { // something else may have gone on
				if c.allocated <= uint64(mostOfBody*size+slack) && c.processor < 15*time.Millisecond {
					break
				}
				again := w.costOf(t, head, parts...)
				c.allocated, c.processor = min(c.allocated, again.allocated), min(c.processor, again.processor)
			}
			if c.status == 0 || c.status >= 500 {
				t.Errorf("%s, %s at %s: %d", op.OperationID, body.shape, body.place, c.status)
			}
			if c.allocated > uint64(mostOfBody*size+slack) && c.status >= 400 { // what is done costs what it costs
				t.Errorf("%s, %s at %s: %d for a body of %d bytes allocates %d", op.OperationID, body.shape, body.place, c.status, size, c.allocated)
			}
			all = append(all, sent{op.OperationID + ", " + body.shape + " at " + body.place, size, c})
		}
	}
	if turn < 10_000 && *oneHostileOperation == "" {
		t.Errorf("%d bodies: the document has hardly any", turn)
	}
	slices.SortFunc(all, func(a, b sent) int { return cmp.Compare(b.processor, a.processor) })
	t.Logf("%d bodies; those that take most:", len(all))
	for _, s := range all[:min(len(all), 20)] {
		t.Logf("%5.1f ms, %3.1f times its %8d bytes, %d %s: %s", float64(s.processor)/1e6, float64(s.allocated)/float64(s.size), s.size, s.status, s.code, s.what)
	}
}
