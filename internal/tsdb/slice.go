package tsdb

import (
	"slices"
	"time"

	"hearth"
	"hearth/internal/tsdb/codec"
)

// maxSlice is about how many documents one fold changes: storing more would keep other writers waiting for longer than two milliseconds.
const maxSlice = 192

// NarrowRow is the number of documents that folding a row of the tail changes at most, where a backend can store the logs of one batch as
// several rows. It leaves room for rows of few documents.
const NarrowRow = maxSlice * 2 / 3

// logsADocument is how many logs, bytesADocument how many bytes of them, cost about as much to fold as one document does.
const (
	logsADocument  = 64
	bytesADocument = 2048
)

// maxRowBytes and maxChunkBytes bound what the texts of a row of the tail, where it is cut, and of a chunk take.
const (
	maxRowBytes   = 64 << 10
	maxChunkBytes = 512 << 10
)

// spread counts the documents that folding logs changes.
type spread struct {
	keys map[Key]struct{}
	docs int
	// added are the keys since the last row that was kept.
	added []Key
	// last is the day of a group of devices, and the hour, of the log that was added last.
	last Key
	hour int64
}

func newSpread() *spread { return &spread{keys: map[Key]struct{}{}} }

// add counts the documents of one log that were not counted before.
func (s *spread) add(series *codec.Series, at int64) {
	hour := codec.BucketOf(codec.LevelHour, at)
	day := Key{Table: Days, Scope: series.Scope, Major: codec.FloorDiv(hour, 24), Minor: series.Device / codec.GroupSize}
	if day == s.last && hour == s.hour {
		return
	}
	s.last, s.hour = day, hour
	s.note(sumKey(series.Scope, codec.LevelHour, hour))
	if s.note(day) && s.note(sumKey(series.Scope, codec.LevelDay, day.Major)) {
		s.note(sumKey(series.Scope, codec.LevelMonth, codec.BucketOf(codec.LevelMonth, at)))
	}
}

func (s *spread) note(key Key) bool {
	if _, ok := s.keys[key]; ok {
		return false
	}
	s.keys[key] = struct{}{}
	s.added = append(s.added, key)
	s.docs += docsOf(key)
	return true
}

// docsOf returns how many documents change with that of a key: sums do with their cells.
func docsOf(key Key) int {
	if key.Table == Sums {
		return 2
	}
	return 1
}

// addRow counts the documents of a row if they are not too many together with those before; it reports whether they were counted.
func (s *spread) addRow(row *Row, most int) bool {
	before := s.docs
	s.added = s.added[:0]
	if s.docs += row.size / bytesADocument; s.docs > most {
		s.docs = before
		return false
	}
	for i := range row.chunk.Entries {
		s.add(&row.chunk.Series[row.chunk.Entries[i].Series], row.chunk.Entries[i].At)
		if s.docs > most {
			for _, key := range s.added {
				delete(s.keys, key)
			}
			s.docs, s.last = before, Key{}
			return false
		}
	}
	return true
}

// docs returns how many documents folding the row alone changes.
func (r *Row) docs() int {
	if docs := r.alone.Load(); docs > 0 {
		return int(docs)
	}
	s := newSpread()
	for i := range r.chunk.Entries {
		s.add(&r.chunk.Series[r.chunk.Entries[i].Series], r.chunk.Entries[i].At)
	}
	r.alone.Store(int64(s.docs))
	return s.docs
}

// isNarrow reports whether sorted entries are surely of few documents, without counting them.
func isNarrow(series []codec.Series, entries []codec.Entry, most int) bool {
	scopes, groups := map[int64]bool{}, map[[2]int64]bool{}
	for _, s := range series {
		scopes[s.Scope], groups[[2]int64{s.Scope, s.Device / codec.GroupSize}] = true, true
	}
	hours := (entries[len(entries)-1].At-entries[0].At)/codec.HourMillis + 2
	days := hours/24 + 2
	return hours*2*int64(len(scopes))+days*int64(2*len(scopes)+len(groups)+2*len(scopes)) <= int64(most)
}

// cuts returns where to cut sorted entries so that the documents of each piece are few.
func cuts(series []codec.Series, entries []codec.Entry, most int) (ends []int) {
	if most > 0 && (!isNarrow(series, entries, most) || textBytes(series, entries) > maxRowBytes) {
		s, texts := newSpread(), 0
		for i := range entries {
			of := &series[entries[i].Series]
			texts += len(of.Type.Text())
			if s.add(of, entries[i].At); s.docs > most || texts > maxRowBytes {
				ends = append(ends, i)
				s, texts = newSpread(), len(of.Type.Text())
				s.add(of, entries[i].At)
			}
		}
	}
	return append(ends, len(entries))
}

// textBytes returns how many bytes the texts of entries have; a text that stands in several counts for each.
func textBytes(series []codec.Series, entries []codec.Entry) (n int) {
	if !slices.ContainsFunc(series, func(s codec.Series) bool { return s.IsText() }) {
		return 0
	}
	for i := range entries {
		n += len(series[entries[i].Series].Type.Text())
	}
	return n
}

// rowsOf returns how many entries a chunk may have: limit, or fewer if they are long texts.
func rowsOf(series []codec.Series, entries []codec.Entry, limit int) int {
	average := textBytes(series, entries) / max(1, len(entries))
	return max(min(limit, logsADocument), min(limit, maxChunkBytes/max(1, average)))
}

// maxSlow is how long a call waits at most for the folding of its scope's logs.
const maxSlow = 10 * time.Second

// errBehind says that a scope's logs come faster than they are folded.
func errBehind() error {
	return &hearth.Error{
		Code: hearth.CodeRateLimited, Message: "these logs are spread over more time than can be stored at this rate",
		Limit: "folding", RetryAfter: maxSlow / 2,
	}
}
