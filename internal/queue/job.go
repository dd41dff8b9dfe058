package queue

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hearth"
)

// Name is one of the queues; each has its own limit of jobs at once.
type Name string

// The queues. Each kind of job belongs to one.
const (
	Export       Name = "export"
	Notification Name = "notification"
	Cleanup      Name = "cleanup"
	// Channel is for jobs that wait for receivers of users.
	Channel Name = "channel"
)

// Names returns all queues.
func Names() []Name { return []Name{Export, Notification, Cleanup, Channel} }

// State is where a job stands.
type State string

// The states of a job.
const (
	// Pending: waits for a free worker that knows its kind.
	Pending State = "pending"
	// Running: a worker holds its lease.
	Running State = "running"
	// Scheduled: waits for its ScheduledAt (or is due, and waits for a worker).
	Scheduled State = "scheduled"
	// Retrying: failed, and waits for its ScheduledAt to be tried again.
	Retrying State = "retrying"
	// Completed: ended well, or was cancelled (see Job.Cancelled).
	Completed State = "completed"
	// Dead: failed for good; it stays until it is retried or deleted, or it is purged.
	Dead State = "dead"
)

// States returns all states.
func States() []State { return []State{Pending, Running, Scheduled, Retrying, Completed, Dead} }

// Ended reports whether no worker will touch a job of this state again.
func (s State) Ended() bool { return s == Completed || s == Dead }

// Limits of a job.
const (
	// MaxPayload is the longest payload in bytes.
	MaxPayload = 64 << 10
	// MaxKind is the longest kind in bytes.
	MaxKind = 64
	// MaxUnique is the longest unique key in bytes.
	MaxUnique = 256
	// MaxLastError is where a failure's text is cut, in bytes.
	MaxLastError = 2 << 10
	// MaxStep is where the text of a step is cut, in bytes.
	MaxStep = 128
	// DefaultMaxAttempts is how many attempts a job has when neither it nor its kind says otherwise.
	DefaultMaxAttempts = 8
	// MaxLosses is how often a job may lose its worker to a crash before it is dead: so a job that kills its process does
	// not do so for ever, and a run of crashes that are not its fault costs it no attempt.
	MaxLosses = 50
	// MaxBatch is the largest number of jobs in one call.
	MaxBatch = 1000
)

// Job is a piece of work and its record.
type Job struct {
	// ID is a UUIDv7. Adding a job whose ID is known does nothing: that makes adding it again harmless.
	ID string
	// Kind names the handler, 1 to MaxKind bytes of [a-z0-9._-], such as "export.run".
	Kind  string
	Queue Name
	// Payload is JSON of at most MaxPayload bytes; "{}" if empty. A completed job's payload is dropped, because it may hold
	// personal data.
	Payload json.RawMessage
	State   State
	// Attempt counts the attempts begun, without those that were returned or lost to a crash; 1 in the first run.
	Attempt int
	// MaxAttempts is how many attempts it has, 1 to 100.
	MaxAttempts int
	// Losses counts the runs that ended because the worker died or lost its lease.
	Losses int
	// Unique, if set, is held by at most one job that has not ended.
	Unique string
	// ScheduledAt is the earliest time of the next run. When adding, zero is at once.
	ScheduledAt time.Time
	Progress    Progress
	// LastError is the latest failure's text, cut at MaxLastError bytes: for administrators.
	LastError string
	// Cancelled is set for a completed job that was ended by Cancel and did not do its work.
	Cancelled bool
	CreatedAt time.Time
	// StartedAt is the start of the latest run, FinishedAt the end of the last; zero if there was none.
	StartedAt  time.Time
	FinishedAt time.Time
	// Worker names who runs it, while it runs.
	Worker string
	// Lease numbers the runs: a worker whose number is not the job's current one has lost the job.
	Lease int64
}

// Progress is how far a running job says it is.
type Progress struct {
	// Step is a word or two for users, cut at MaxStep bytes.
	Step string `json:"step,omitempty"`
	// Done and Total count in the job's own unit, such as records; Total is 0 while unknown.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
}

// Percentage returns 0 to 100; 0 while Total is unknown.
func (p Progress) Percentage() float64 {
	if p.Total <= 0 {
		return 0
	}
	return min(100, max(0, 100*float64(p.Done)/float64(p.Total)))
}

// Clean returns p with Step cut to MaxStep bytes.
func (p Progress) Clean() Progress {
	p.Step = cut(p.Step, MaxStep)
	return p
}

// Prepare returns the jobs as an adapter stores them when they are added at now: defaults filled in, state and times set. It fails with
// CodeValidationFailed, and with CodePayloadTooLarge on more than MaxBatch jobs or a long payload.
func Prepare(now time.Time, jobs ...Job) (_ []Job, err error) {
	if len(jobs) > MaxBatch {
		return nil, hearth.Errorf(hearth.CodePayloadTooLarge, "at most %d jobs are added at once", MaxBatch)
	}
	prepared := make([]Job, len(jobs))
	for i, j := range jobs {
		if prepared[i], err = j.prepare(now); err != nil {
			return nil, err
		}
	}
	return prepared, nil
}

func (j Job) prepare(now time.Time) (Job, error) {
	now = hearth.Millis(now)
	if len(j.Payload) > MaxPayload {
		return Job{}, hearth.Errorf(hearth.CodePayloadTooLarge, "a job's payload is at most %d bytes", MaxPayload)
	}
	if len(j.Payload) == 0 {
		j.Payload = json.RawMessage("{}")
	}
	j.MaxAttempts = cmp.Or(j.MaxAttempts, DefaultMaxAttempts)
	if fields := j.faults(); len(fields) > 0 {
		return Job{}, hearth.Invalid(fields...)
	}
	fresh := Job{
		ID: j.ID, Kind: j.Kind, Queue: j.Queue, Payload: j.Payload, MaxAttempts: j.MaxAttempts, Unique: j.Unique,
		State: Pending, ScheduledAt: now, CreatedAt: now,
	}
	if at := hearth.Millis(j.ScheduledAt); at.After(now) {
		fresh.State, fresh.ScheduledAt = Scheduled, at
	}
	return fresh, nil
}

func (j Job) faults() []hearth.FieldError {
	var fields []hearth.FieldError
	add := func(location, message string) {
		fields = append(fields, hearth.FieldError{Location: location, Message: message})
	}
	if !validID(j.ID) {
		add("job.id", "must be a UUIDv7")
	}
	if !ValidKind(j.Kind) {
		add("job.kind", fmt.Sprintf("must be 1 to %d of a-z, 0-9, '.', '_' and '-'", MaxKind))
	}
	if !slices.Contains(Names(), j.Queue) {
		add("job.queue", "must be export, notification, cleanup or channel")
	}
	if !json.Valid(j.Payload) {
		add("job.payload", "must be JSON")
	}
	if j.MaxAttempts < 1 || j.MaxAttempts > 100 {
		add("job.max_attempts", "must be 1 to 100")
	}
	if len(j.Unique) > MaxUnique || !utf8.ValidString(j.Unique) {
		add("job.unique", fmt.Sprintf("must be UTF-8 of at most %d bytes", MaxUnique))
	}
	return fields
}

// ValidKind reports whether s can be a job's kind.
func ValidKind(s string) bool {
	return len(s) >= 1 && len(s) <= MaxKind && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	}) < 0
}

// NewID makes a job's ID: a UUIDv7 of the time now.
func NewID(now time.Time) string {
	var random [10]byte
	rand.Read(random[:])
	return idOf(now, random)
}

// DeriveID makes an ID of a time and a cause: always the same one of the same, and hardly ever that of another cause.
func DeriveID(at time.Time, cause string) string {
	sum := sha256.Sum256([]byte(cause))
	return idOf(at, [10]byte(sum[:10]))
}

// IDTime returns the time of an ID; the zero time if it is none.
func IDTime(id string) time.Time {
	if !validID(id) {
		return time.Time{}
	}
	ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func idOf(at time.Time, random [10]byte) string {
	var id [16]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	copy(id[6:], random[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func validID(s string) bool {
	if len(s) != 36 || s[14] != '7' || !strings.ContainsRune("89ab", rune(s[19])) {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(s[i])) {
			return false
		}
	}
	return true
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
