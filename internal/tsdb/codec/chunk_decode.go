package codec

import (
	"math"
	"math/bits"
	"slices"
	"sort"

	"hearth"
)

// Decoder decodes chunks and keeps its scratch memory between them. The zero Decoder is ready; it is for one goroutine.
type Decoder struct {
	counts  []uint32
	taken   []uint32 // how many of counts are read
	offsets []uint32
	next    []uint32
	modes   []byte
	kept    []uint32 // index of series → index among the kept ones, plus 1; 0 if it is not wanted
	times   []expectation
	values  []float64
	entries []Entry
}

// Decode adds the chunk's entries of the series that keep accepts (nil: all) to chunk, which gets those series too. The
// memory of chunk is used again; nothing in it refers to data.
func (d *Decoder) Decode(chunk *Chunk, data []byte, keep func(Series) bool) error {
	return d.DecodeRange(chunk, data, keep, math.MinInt64, math.MaxInt64)
}

// DecodeRange is Decode of the entries from first to last, both included. What comes after these is not looked at: it may be corrupt.
func (d *Decoder) DecodeRange(chunk *Chunk, data []byte, keep func(Series) bool, first, last int64) error {
	chunk.Series, chunk.Entries = chunk.Series[:0], chunk.Entries[:0]
	r := reader{data: data}
	version := r.uvarint()
	if version != chunkVersion && version != typedVersion {
		return ErrCorrupt
	}
	n := r.bounded(MaxChunk)
	wanted, err := d.series(chunk, &r, n, version == typedVersion, keep)
	if err != nil {
		return err
	}
	if n == 0 {
		return r.end()
	}
	indexes, times, numbers := r.section(), r.section(), r.section()
	if r.bad {
		return ErrCorrupt
	}
	if wanted == 0 {
		return nil
	}
	d.entries = sized(d.entries, n)
	if !d.readIndexes(indexes) || !d.readTimes(times, last) || !d.readNumbers(numbers, n) {
		return ErrCorrupt
	}
	whole := len(d.entries) == n
	if !whole {
		wanted = d.countTaken()
	} else {
		d.taken = append(d.taken[:0], d.counts...)
	}
	if !d.readValues(&r, wanted, whole) {
		return ErrCorrupt
	}
	return d.collect(chunk, wanted, first)
}

// countTaken counts the entries of each series that are read, and returns the number of those that are kept.
func (d *Decoder) countTaken() (wanted int) {
	d.taken = grown(d.taken, len(d.counts))
	for i := range d.entries {
		series := d.entries[i].Series
		d.taken[series]++
		if d.kept[series] > 0 {
			wanted++
		}
	}
	return wanted
}

// series reads the list of series and returns the number of entries of the kept ones.
func (d *Decoder) series(chunk *Chunk, r *reader, n int, typed bool, keep func(Series) bool) (wanted int, err error) {
	count := r.bounded(n)
	if count > r.left() {
		return 0, ErrCorrupt
	}
	d.counts = grown(d.counts, count)
	d.kept = grown(d.kept, count)
	d.modes = grown(d.modes, count)
	var kinds reader
	if typed {
		kinds = r.section()
	}
	var expected steps
	var s Series
	mode := byte(0)
	total := 0
	for i := range count {
		u := r.uvarint()
		known := expected.after(s.Event)
		if u&1 == 0 {
			s.Scope += int64(r.uvarint())
			*known = step{r.varint(), int64(r.uvarint())}
		}
		s.Device += known.device
		s.Event = known.event
		if u&2 == 0 {
			mode = byte(r.bounded(valueRaw))
		}
		size := u >> 2
		if size == 0 || size > uint64(n-total) || s.Scope < 0 || s.Device < 0 || s.Event < 0 {
			return 0, ErrCorrupt
		}
		total += int(size)
		d.counts[i], d.modes[i] = uint32(size), mode
		if typed {
			s.Type = kinds.valueType()
		}
		if keep == nil || keep(s) {
			chunk.Series = append(chunk.Series, s)
			d.kept[i] = uint32(len(chunk.Series))
			wanted += int(size)
		}
	}
	if r.bad || total != n || typed && kinds.end() != nil {
		return 0, ErrCorrupt
	}
	return wanted, nil
}

// valueType reads what Encoder.kinds wrote of one series.
func (r *reader) valueType() hearth.ValueType {
	kind, text := hearth.ValueKind(r.bounded(int(hearth.TextKind))), ""
	if kind == hearth.TextKind {
		section := r.section()
		if text = string(section.data); text == "" {
			r.fail()
			return hearth.ValueType{}
		}
	}
	return hearth.ValueOf(kind, 0, text).ValueType
}

// readIndexes fills in each entry's series, as an index of all series of the chunk.
func (d *Decoder) readIndexes(r reader) bool {
	count := len(d.counts)
	switch mode := r.uvarint(); mode {
	case indexPredicted:
		return d.readPredicted(r)
	case indexPacked:
		width := bits.Len(uint(count - 1))
		var word uint64
		var fill int
		mask := uint64(1)<<width - 1
		data := r.data[r.at:]
		at := 0
		for i := range d.entries {
			for fill < width {
				if at == len(data) {
					return false
				}
				word |= uint64(data[at]) << fill
				at++
				fill += 8
			}
			index := word & mask
			word >>= width
			fill -= width
			if index >= uint64(count) {
				return false
			}
			d.entries[i].Series = uint32(index)
		}
		return at == len(data)
	}
	return false
}

func (d *Decoder) readPredicted(r reader) bool {
	count := len(d.counts)
	d.next = grown(d.next, count)
	for i := range d.next {
		d.next[i] = uint32((i + 1) % count)
	}
	previous := uint32(count - 1)
	for i := 0; i < len(d.entries); {
		run := len(d.entries) - i
		if r.left() > 0 {
			run = r.bounded(run)
			if r.bad {
				return false
			}
		}
		for range run {
			previous = d.next[previous]
			d.entries[i].Series = previous
			i++
		}
		if i == len(d.entries) {
			break
		}
		index := r.uvarint()
		if r.bad || index >= uint64(count) {
			return false
		}
		d.next[previous] = uint32(index)
		previous = uint32(index)
		d.entries[i].Series = previous
		i++
	}
	return r.left() == 0
}

// readTimes fills in the times, which never go back. Entries after last are left out.
func (d *Decoder) readTimes(r reader, last int64) bool {
	header := r.uvarint()
	if r.bad || header&15 >= uint64(len(timeUnits)) {
		return false
	}
	unit := timeUnits[header&15]
	limit := math.MaxInt64 / unit
	at := r.varint()
	if at > limit || at < -limit {
		return false
	}
	switch header >> 4 {
	case timePrevious:
		entries := d.entries
		for i := range entries {
			gap := r.uvarint()
			if gap > uint64(limit) || int64(gap) > limit-max(at, 0) {
				return false
			}
			at += int64(gap)
			if entries[i].At = at * unit; entries[i].At > last {
				d.entries = entries[:i]
				return !r.bad
			}
		}
		if r.bad {
			return false
		}
	case timeExpected:
		d.times = grown(d.times, len(d.counts))
		for i := range d.entries {
			expected := &d.times[d.entries[i].Series]
			before := at
			if expected.seen {
				at = expected.at + expected.gap + r.varint()
				expected.gap = at - expected.at
			} else {
				at += int64(r.uvarint())
			}
			if r.bad || at < before || at > limit {
				return false
			}
			expected.at, expected.seen = at, true
			if d.entries[i].At = at * unit; d.entries[i].At > last {
				d.entries = d.entries[:i]
				return true
			}
		}
	default:
		return false
	}
	return r.left() == 0
}

// readNumbers fills in the sequence numbers, of which there are n.
func (d *Decoder) readNumbers(r reader, n int) bool {
	if len(d.entries) == 0 {
		return true
	}
	seq := r.uvarint()
	d.entries[0].Seq = seq
	for i := 1; i < len(d.entries); {
		run := n - i
		if r.left() > 0 {
			run = r.bounded(run)
			if r.bad {
				return false
			}
		}
		for range min(run, len(d.entries)-i) {
			seq++
			d.entries[i].Seq = seq
			i++
		}
		if i == len(d.entries) {
			break
		}
		seq += uint64(r.varint())
		d.entries[i].Seq = seq
		i++
	}
	return !r.bad && (r.left() == 0 || len(d.entries) < n)
}

// readValues reads the lines of the kept series, one after the other, and goes past the others: to the end, or as far as wanted values are.
func (d *Decoder) readValues(r *reader, wanted int, whole bool) bool {
	d.offsets = sized(d.offsets, len(d.counts))
	d.values = sized(d.values, len(d.entries))
	total := uint32(0)
	for i, n := range d.counts {
		if !whole && int(total) == wanted {
			return true
		}
		if d.taken[i] > n {
			return false
		}
		if d.kept[i] == 0 || d.taken[i] == 0 {
			if !r.skipLine(d.modes[i], int(n)) {
				return false
			}
			continue
		}
		line, end := *r, total+d.taken[i]
		d.offsets[i] = total
		if !line.line(d.modes[i], d.values[total:end], int(n)) {
			return false
		}
		if total = end; d.taken[i] == n {
			*r = line
		} else if int(total) < wanted && !r.skipLine(d.modes[i], int(n)) {
			return false
		}
	}
	return !whole || r.end() == nil
}

// skipLine goes past n values.
func (r *reader) skipLine(mode byte, n int) bool {
	switch mode {
	case valueXor:
		for range n {
			r.skipUvarint()
		}
	case valueRaw:
		r.skip(8 * n)
	default:
		for n > 0 {
			u := r.uvarint()
			if u&1 == 0 {
				n--
			} else if run := u>>1 + 1; run <= uint64(n) {
				n -= int(run)
			} else {
				return false
			}
			if r.bad {
				return false
			}
		}
	}
	return !r.bad
}

// line fills values with the first of the n that Encoder.appendLine wrote.
func (r *reader) line(mode byte, values []float64, n int) bool {
	switch mode {
	case valueXor:
		previous := uint64(0)
		for i := range values {
			previous ^= bits.ReverseBytes64(r.uvarint())
			values[i] = math.Float64frombits(previous)
			if !finite(values[i]) {
				return false
			}
		}
	case valueRaw:
		for i := range values {
			values[i] = math.Float64frombits(r.fixed64())
			if !finite(values[i]) {
				return false
			}
		}
	default:
		m, v := int64(0), 0.0
		scale := pow10[mode]
		for i := 0; i < len(values); {
			u := r.uvarint()
			if u&1 == 0 {
				m += unzigzag(u >> 1)
				v = float64(m) / scale
				values[i] = v
				i++
				continue
			}
			run := u>>1 + 1
			if run > uint64(n-i) {
				return false
			}
			for range min(int(run), len(values)-i) {
				values[i] = v
				i++
			}
		}
	}
	return !r.bad
}

// collect adds the kept entries from first on, with their values, to the chunk; wanted is how many were read.
func (d *Decoder) collect(chunk *Chunk, wanted int, first int64) error {
	before := sort.Search(len(d.entries), func(i int) bool { return d.entries[i].At >= first })
	out := slices.Grow(chunk.Entries, min(wanted, len(d.entries)-before))
	read := 0
	for i := range d.entries {
		series := d.entries[i].Series
		kept := d.kept[series]
		if kept == 0 {
			continue
		}
		if d.taken[series] == 0 {
			return ErrCorrupt
		}
		d.taken[series]--
		read++
		at := d.offsets[series]
		d.offsets[series]++
		if i < before {
			continue
		}
		entry := d.entries[i]
		entry.Series = kept - 1
		entry.Value = d.values[at]
		out = append(out, entry)
	}
	if read != wanted {
		return ErrCorrupt
	}
	chunk.Entries = out
	return nil
}
