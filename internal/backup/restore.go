package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"time"

	"hearth"
	"hearth/internal/store/archive"
)

// Target is a store that can be restored into and asked what it then holds.
type Target interface {
	archive.Archiver
	CountLogs(ctx context.Context, reach hearth.Reach) (int64, error)
	Rollups(ctx context.Context, query hearth.RollupQuery) ([][]hearth.Rollup, error)
}

// RestoreOptions say what is restored into what.
type RestoreOptions struct {
	// Open opens the archive; it is read twice: whole, before anything is stored, and then again.
	Open func() (io.ReadCloser, error)
	Keys [][]byte
	To   Target
	// Clock tells when; nil is the system's.
	Clock hearth.Clock
	// Progress, if not nil, is told now and then how far the work is.
	Progress func(Progress)
}

// Restore reads an archive into an empty store, and then reads the store back and compares. A restore that was cut off goes
// on where it stopped when it is called again with the same archive; until it has ended well the store says that it is half
// restored. One that had ended, and is called again because nobody saw that, compares. CodeConflict for a store that is not empty and holds
// something else; ErrDamaged.
func Restore(ctx context.Context, o RestoreOptions) (Manifest, error) {
	manifest, err := o.read(ctx, nil, "verifying")
	if err != nil {
		return manifest, err
	}
	source := fmt.Sprintf("archive %s of %s", manifest.ID, manifest.CreatedAt.UTC().Format(time.RFC3339))
	l, err := begin(ctx, o.To, source, o.Clock)
	if hearth.ErrorCode(err) == hearth.CodeConflict && holds(ctx, o.To, manifest.Streams) {
		return manifest, nil
	}
	if err != nil {
		return manifest, err
	}
	if l.total = manifest.all(); o.Progress != nil {
		l.progress = o.Progress
	}
	given := newSummer()
	again, err := o.read(ctx, func(part archive.Part) error {
		if err := given.add(&part); err != nil {
			return err
		}
		return l.load(ctx, part)
	}, "")
	if err != nil {
		return manifest, err
	}
	if again.ID != manifest.ID {
		return manifest, errors.New("the archive was replaced while it was read")
	}
	return manifest, l.finish(ctx, given.streams())
}

// holds reports whether a store that is not half restored has what an archive has, to the last record.
func holds(ctx context.Context, to Target, want []Stream) bool {
	if _, err := to.Restoring(ctx); hearth.ErrorCode(err) != hearth.CodeNotFound {
		return false
	}
	found := newSummer()
	for part, err := range to.Archive(ctx) {
		if err != nil || found.add(&part) != nil {
			return false
		}
	}
	return compare(want, found.streams()) == nil
}

func (o RestoreOptions) read(ctx context.Context, part func(archive.Part) error, step string) (_ Manifest, err error) {
	in, err := o.Open()
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	options := ReadOptions{Keys: o.Keys, Part: part}
	if step != "" && o.Progress != nil {
		options.Progress = func(p Progress) {
			p.Step = step
			o.Progress(p)
		}
	}
	return Read(ctx, in, options)
}

func (m Manifest) all() (n int64) {
	for _, s := range m.Streams {
		n += s.Records
	}
	return n
}

// MoveOptions say which store moves into which.
type MoveOptions struct {
	// From must not change meanwhile: what is read again at the end has to be the same.
	From Source
	// Name names From, without secrets, so that a move which was cut off is known again.
	Name     string
	To       Target
	Clock    hearth.Clock
	Progress func(Progress)
	// Recheck reads From again at the end, where nothing else keeps it from changing.
	Recheck bool
}

// Move copies everything of a store into an empty one and compares them. It goes on where it was cut off, as Restore does.
func Move(ctx context.Context, o MoveOptions) ([]Stream, error) {
	l, err := begin(ctx, o.To, "store "+o.Name, o.Clock)
	if err != nil {
		return nil, err
	}
	l.progress = o.Progress
	moved := newSummer()
	for part, err := range o.From.Archive(ctx) {
		if err != nil {
			return nil, err
		}
		if err := moved.add(&part); err != nil {
			return nil, err
		}
		if err := l.load(ctx, part); err != nil {
			return nil, err
		}
	}
	streams := moved.streams()
	l.total = l.seen
	if o.Recheck {
		if err := recheck(ctx, o.From, streams); err != nil {
			return nil, err
		}
	}
	if err := l.finish(ctx, streams); err != nil {
		return nil, err
	}
	return streams, nil
}

func recheck(ctx context.Context, from Source, want []Stream) error {
	again := newSummer()
	for part, err := range from.Archive(ctx) {
		if err != nil {
			return err
		}
		if err := again.add(&part); err != nil {
			return err
		}
	}
	return compare(again.streams(), want)
}

// loader stores parts and knows what was stored before.
type loader struct {
	to       Target
	mark     archive.Restore
	done     map[string]int64 // records that were given, by kind
	events   map[string]hearth.Stats
	progress func(Progress)
	seen     int64
	total    int64
}

func begin(ctx context.Context, to Target, source string, clock hearth.Clock) (*loader, error) {
	mark, err := to.BeginRestore(ctx, archive.Restore{Source: source, StartedAt: clock.Now()})
	if err != nil {
		return nil, err
	}
	if mark.Done == nil {
		mark.Done = map[string]int64{}
	}
	return &loader{to: to, mark: mark, done: map[string]int64{}, events: map[string]hearth.Stats{}}, nil
}

// load stores a part, less what is stored already.
func (l *loader) load(ctx context.Context, part archive.Part) error {
	n := int64(part.Len())
	if n == 0 {
		return nil
	}
	for i := range part.Logs {
		s := l.events[part.Logs[i].Event]
		if v := part.Logs[i].Value; v.Kind() == hearth.TextKind {
			s.AddText()
		} else {
			s.Add(v.Number())
		}
		l.events[part.Logs[i].Event] = s
	}
	kind := part.Kind
	l.done[kind] += n
	l.seen += n
	if fresh := min(n, l.done[kind]-l.mark.Done[kind]); fresh > 0 {
		part.Skip(int(n - fresh))
		next := l.mark
		next.Done = maps.Clone(l.mark.Done)
		next.Done[kind] = l.done[kind]
		if err := l.to.RestorePart(ctx, part, next); err != nil {
			return fmt.Errorf("restore %s: %w", kind, err)
		}
		l.mark = next
	}
	if l.progress != nil {
		l.progress(Progress{Step: "restoring", Records: l.seen, Total: l.total})
	}
	return nil
}

// finish compares the store with what it should hold, and takes its mark away.
func (l *loader) finish(ctx context.Context, want []Stream) error {
	found := newSummer()
	for part, err := range l.to.Archive(ctx) {
		if err != nil {
			return err
		}
		if err := found.add(&part); err != nil {
			return err
		}
		if l.progress != nil {
			l.progress(Progress{Step: "comparing", Records: found.total, Total: l.total})
		}
	}
	if err := compare(want, found.streams()); err != nil {
		return err
	}
	if err := l.compareRollups(ctx); err != nil {
		return err
	}
	return l.to.EndRestore(ctx)
}

func compare(want, got []Stream) error {
	var wrong []string
	for i, s := range want {
		switch g := got[i]; {
		case s.Name != g.Name || s.Records != g.Records:
			wrong = append(wrong, fmt.Sprintf("%s: %d records, not %d", g.Name, g.Records, s.Records))
		case s.Digest != g.Digest:
			wrong = append(wrong, fmt.Sprintf("%s: as many records, but not the same", g.Name))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the store differs from what was read: %s. Empty it and begin anew; if a store was moved, stop whatever writes to it",
			strings.Join(wrong, "; "))
	}
	return nil
}

// compareRollups asks the questions that the rollups answer: how many logs, and by event their number, least, greatest and
// total value.
func (l *loader) compareRollups(ctx context.Context) error {
	all := hearth.Reach{All: true}
	n, err := l.to.CountLogs(ctx, all)
	if err != nil {
		return err
	}
	if n != l.done[archive.LogsKind] {
		return fmt.Errorf("the restored store counts %d logs; %d were restored", n, l.done[archive.LogsKind])
	}
	answers, err := l.to.Rollups(ctx, hearth.RollupQuery{
		Reach: all, Groupings: []hearth.Grouping{{ByEvent: true}},
		Span: hearth.Span{From: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	})
	if err != nil {
		return err
	}
	if len(answers[0]) != len(l.events) {
		return fmt.Errorf("the restored rollups know %d events; the logs have %d", len(answers[0]), len(l.events))
	}
	for _, got := range answers[0] {
		want := l.events[got.Event]
		if !sameStats(got.Stats, want) {
			return fmt.Errorf("the restored rollups say %+v of event %s; the logs say %+v", got.Stats, got.Event, want)
		}
	}
	return nil
}

// sameStats reports whether two sums are of the same values, whatever the order in which they were added: each of n additions
// rounds by half an ulp of no more than what all values are together, in one order as in the other.
func sameStats(a, b hearth.Stats) bool {
	n := float64(b.Count)
	rounding := n * 0x1p-52 * n * max(math.Abs(b.Max), math.Abs(b.Min))
	return a.Count == b.Count && a.Min == b.Min && a.Max == b.Max && math.Abs(a.Sum-b.Sum) <= rounding
}

// summer sums up parts as an archive would.
type summer struct {
	kinds   []string
	digests []digest
	total   int64
}

func newSummer() *summer {
	kinds := archive.Kinds()
	return &summer{kinds: kinds, digests: make([]digest, len(kinds))}
}

func (s *summer) add(part *archive.Part) error {
	at, err := kindAt(s.kinds, part)
	if err != nil {
		return err
	}
	s.total += int64(part.Len())
	s.digests[at].addLogs(part.Logs)
	for _, line := range part.Lines {
		s.digests[at].add(line)
	}
	return nil
}

// streams returns what was summed up; Bytes and SHA256, which follow the order, are empty.
func (s *summer) streams() []Stream {
	out := make([]Stream, len(s.kinds))
	for i, kind := range s.kinds {
		out[i] = Stream{Name: kind, Records: s.digests[i].records, Digest: s.digests[i].String()}
	}
	return out
}
