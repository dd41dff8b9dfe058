package memkv

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	journalHeader = "hearth-limits-1"
	// compactAt is how many records are appended before the journal is written anew with the newest of each key.
	compactAt = 20_000
	// maxJournalLine bounds a line of the journal, in bytes.
	maxJournalLine = 1024
)

// journal is an append-only file with the state of the keys of lasting classes: a header with a salt, then a line a
// record. Each is one write call, so that a killed process loses none; of several of a key the highest state counts, so
// that their order does not matter. A power cut may lose the newest.
type journal struct {
	path    string
	limiter *Limiter
	salt    string

	mu      sync.Mutex
	file    *os.File // nil once closed or given up
	written int
	broken  atomic.Bool
}

type record struct {
	class, key string
	full       int64
}

func (r record) line() string {
	return r.class + " " + r.key + " " + strconv.FormatInt(r.full, 10) + "\n"
}

// openJournal restores the limiter from the file and starts it anew with what still matters.
func openJournal(path string, l *Limiter) (*journal, error) {
	j := &journal{path: path, limiter: l, salt: rand.Text()}
	if err := j.restore(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.options.Logger.Warn("the journal of the limits is begun anew", "path", path, "err", err)
	}
	if err := j.compact(); err != nil {
		return nil, fmt.Errorf("write the journal of the limits: %w", err)
	}
	return j, nil
}

// seal returns what stands for a key in the file and, so that it can be restored, in memory.
func (j *journal) seal(class, key string) string {
	sum := sha256.Sum256([]byte(j.salt + "\x00" + class + "\x00" + key))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

func (j *journal) restore() error {
	file, err := os.Open(j.path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, maxJournalLine)
	header, err := lines.ReadString('\n')
	kind, salt, ok := strings.Cut(strings.TrimSuffix(header, "\n"), " ")
	if err != nil || !ok || kind != journalHeader || len(salt) < 20 {
		return errors.New("it is not a journal of this program")
	}
	j.salt = salt
	now := j.limiter.now()
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil // a cut last line is of an answer that was never given
		}
		if err != nil {
			return err
		}
		fields := strings.Fields(string(line))
		if len(fields) != 3 {
			continue
		}
		full, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || j.limiter.options.Limits[fields[0]].Limit == 0 {
			continue
		}
		j.limiter.restore(record{class: fields[0], key: fields[1], full: full}, now)
	}
}

// restore sets the state of a key, unless it is at rest or a higher one is there.
func (l *Limiter) restore(r record, now int64) {
	s, k := l.shard(r.key), limitKey{r.class, r.key}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.full[k]
	if r.full <= max(before, now) {
		return
	}
	if before == 0 {
		l.makeRoom(s, now)
	}
	s.full[k] = r.full
}

// append adds a record. A failure is logged once, until writing works again.
func (j *journal) append(r record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return
	}
	_, err := j.file.WriteString(r.line())
	j.written++
	if err == nil && j.written >= compactAt {
		err = j.compact()
	}
	switch {
	case err != nil && !j.broken.Swap(true):
		j.limiter.options.Logger.Error("the journal of the limits cannot be written: they hold until a restart", "err", err)
	case err == nil:
		j.broken.Store(false)
	}
}

// compact replaces the file with one that holds the present states. It is called with the lock held, or by open.
func (j *journal) compact() error {
	// A later failure starts the next attempt after as many records again.
	j.written = 0
	file, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	_, err = fmt.Fprintln(out, journalHeader, j.salt)
	now := j.limiter.now()
	for i := range j.limiter.shards {
		s := &j.limiter.shards[i]
		s.mu.Lock()
		for k, full := range s.full {
			if full > now && j.limiter.lasts(k.class) {
				_, writeErr := out.WriteString(record{class: k.class, key: k.key, full: full}.line())
				err = errors.Join(err, writeErr)
			}
		}
		s.mu.Unlock()
	}
	if err = errors.Join(err, out.Flush(), file.Sync()); err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	old := j.file
	j.file = file
	if old != nil {
		return old.Close()
	}
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
