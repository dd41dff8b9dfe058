package codec

import (
	"cmp"
	"encoding/binary"
	"math/bits"

	"hearth"
)

// lineMerge pairs the lines of a day with those of logs that are added to it: indexes, or -1.
type lineMerge struct{ old, add int }

// pairLines calls fn for each line that one of two sorted lists has.
func pairLines(olds []storedLine, adds []DayLine, fn func(lineMerge)) {
	for i, j := 0, 0; i < len(olds) || j < len(adds); {
		var order int
		switch {
		case i == len(olds):
			order = 1
		case j == len(adds):
			order = -1
		default:
			order = cmp.Or(cmp.Compare(olds[i].device, adds[j].Device), cmp.Compare(olds[i].event, adds[j].Event))
		}
		pair := lineMerge{-1, -1}
		if order <= 0 {
			pair.old = i
			i++
		}
		if order >= 0 {
			pair.add = j
			j++
		}
		fn(pair)
	}
}

// MergeDay appends the stored day in data with the logs that add, of SumUp, sums up. Hours and sketches that these do not touch are copied
// as they are.
func MergeDay(dst, data []byte, add *Day) ([]byte, error) {
	var doc dayDoc
	if err := doc.read(data); err != nil {
		return nil, err
	}
	dst = append(dst, 0, dayVersion)
	pairs := make([]lineMerge, 0, max(len(doc.lines), len(add.Lines)))
	pairLines(doc.lines, add.Lines, func(p lineMerge) { pairs = append(pairs, p) })
	dst = binary.AppendUvarint(dst, uint64(len(pairs)))
	var last storedLine
	touched := uint32(0)
	for _, p := range pairs {
		line := storedLine{lastAt: UnknownTime}
		if p.old >= 0 {
			line = doc.lines[p.old]
		}
		if p.add >= 0 {
			with := &add.Lines[p.add]
			if with.Hours > line.hours || line.lastAt != UnknownTime {
				line.lastAt = max(line.lastAt, with.LastAt)
			}
			line.device, line.event, line.hours = with.Device, with.Event, line.hours|with.Hours
			touched |= with.Hours
		}
		dst = appendLine(dst, &last, line)
	}
	all := doc.all | touched
	m := &hourMerge{doc: &doc, add: add, pairs: pairs}
	var changes []byte
	for ; all != 0; all &= all - 1 {
		bit := all & -all
		if bit&touched == 0 {
			dst = appendSection(dst, doc.hours[bits.TrailingZeros32(bit)].data)
			changes = appendChangeSection(changes, doc.changes[bits.TrailingZeros32(bit)])
			continue
		}
		if err := m.merge(bit); err != nil {
			return nil, err
		}
		dst = m.appendStats(dst)
		changes = appendChanges(changes, m.stats, m.changes)
	}
	dst = append(dst, changes...)
	return m.appendSketches(dst)
}

// appendChangeSection appends a section that was read: one that is not there is nil.
func appendChangeSection(dst []byte, section reader) []byte {
	if section.data == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(section.data))+1)
	return append(dst, section.data...)
}

// hourMerge merges one hour after the other.
type hourMerge struct {
	doc   *dayDoc
	add   *Day
	pairs []lineMerge
	hourParts
	oldStats   []hearth.Stats
	oldChanges []Change
	at         []int32
}

// merge puts the sums and changes of an hour into hourParts.
func (m *hourMerge) merge(bit uint32) error {
	m.stats, m.changes = m.stats[:0], m.changes[:0]
	if err := m.readOld(bit); err != nil {
		return err
	}
	next := 0
	for _, p := range m.pairs {
		var s hearth.Stats
		var c Change
		stored := p.old >= 0 && m.doc.lines[p.old].hours&bit != 0
		if stored {
			s, c = m.oldStats[next], m.oldChanges[next]
			next++
		}
		if p.add >= 0 && m.add.Lines[p.add].Hours&bit != 0 {
			place := m.add.Lines[p.add].Place(bit)
			s.Merge(m.add.Stats[place])
			if stored && !m.doc.lines[p.old].before(bit, m.add.starts[place]) {
				c = Change{some: true, Unknown: true}
			}
			c.Join(&m.add.Changes[place])
		} else if !stored {
			continue
		}
		if c.Unknown {
			c = Change{some: true, Unknown: true}
		}
		m.stats, m.changes = append(m.stats, s), append(m.changes, c)
	}
	return nil
}

// before reports whether all logs of the line, which has the hour, come before one of that hour at a time of the day.
func (s *storedLine) before(bit uint32, at int64) bool {
	return s.hours < bit<<1 && s.lastAt != UnknownTime && s.lastAt < at
}

func (m *hourMerge) readOld(bit uint32) error {
	m.oldStats, m.at = m.oldStats[:0], m.at[:0]
	if m.doc.all&bit == 0 {
		return nil
	}
	hour := m.doc.hours[bits.TrailingZeros32(bit)]
	for i := range m.doc.lines {
		if m.doc.lines[i].hours&bit != 0 {
			m.at = append(m.at, int32(len(m.oldStats)))
			m.oldStats = append(m.oldStats, hour.stats())
		}
	}
	m.oldChanges = sized(m.oldChanges, len(m.oldStats))
	r := m.doc.changes[bits.TrailingZeros32(bit)]
	if r.changes(m.at, m.oldStats, m.oldChanges); r.bad || hour.end() != nil {
		return ErrCorrupt
	}
	return nil
}

func (m *hourMerge) appendSketches(dst []byte) ([]byte, error) {
	r := m.doc.sketches
	for _, p := range m.pairs {
		switch {
		case p.old < 0:
			dst = appendSketch(dst, &m.add.Lines[p.add].Sketch)
		case p.add < 0:
			start := r.at
			r.skipSketch()
			dst = append(dst, r.data[start:r.at]...)
		default:
			sketch := Sketch{Bins: r.sketch(nil)}
			sketch.Merge(&m.add.Lines[p.add].Sketch, 1)
			dst = appendSketch(dst, &sketch)
		}
	}
	return dst, r.end()
}
