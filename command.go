package hearth

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"
)

// Limits of commands.
const (
	MaxCommandName = 64
	// MaxCommandJSON bounds params and result, in bytes of JSON without spaces; maxCommandDepth how deep they are nested.
	MaxCommandJSON  = 16 << 10
	maxCommandDepth = 32
	MaxCommandError = 1024 // characters
	// MaxOpenCommands is how many commands of one device may not have ended.
	MaxOpenCommands = 1000
	// MaxCommandDevices is how many devices one batch reaches.
	MaxCommandDevices    = 10_000
	DefaultCommandExpiry = time.Hour
	MaxCommandExpiry     = 30 * 24 * time.Hour
	// CommandTTL is how long a command is kept after its ExpiresAt.
	CommandTTL = 30 * 24 * time.Hour
)

// CommandState is what is known of a command.
type CommandState string

// The states: sent once it was written to a connection of the device, delivered once the device acknowledged it. The last four are
// ends.
const (
	CommandQueued    CommandState = "queued"
	CommandSent      CommandState = "sent"
	CommandDelivered CommandState = "delivered"
	CommandSucceeded CommandState = "succeeded"
	CommandFailed    CommandState = "failed"
	CommandExpired   CommandState = "expired"
	CommandCancelled CommandState = "cancelled"
)

// CommandStates returns all states.
func CommandStates() []CommandState {
	return []CommandState{
		CommandQueued, CommandSent, CommandDelivered, CommandSucceeded, CommandFailed, CommandExpired, CommandCancelled,
	}
}

// Valid reports whether s is one of the states.
func (s CommandState) Valid() bool { return slices.Contains(CommandStates(), s) }

// Pending reports whether the device has yet to acknowledge the command: until then it is sent again.
func (s CommandState) Pending() bool { return s == CommandQueued || s == CommandSent }

// Ended reports whether nothing changes the command any more.
func (s CommandState) Ended() bool { return s.Valid() && !s.Pending() && s != CommandDelivered }

// Command is an order to a device, and what became of it.
type Command struct {
	ID       string
	DeviceID string
	// Batch is the CommandBatch that it belongs to; "" for one of its own.
	Batch string
	// Seq orders the commands of a device; the store sets it.
	Seq    int64
	Name   string
	Params json.RawMessage // any JSON; nil if absent
	State  CommandState
	Result json.RawMessage // the device's, on success; nil if absent
	Error  string          // why it failed
	// CreatedBy is the user who sent it.
	CreatedBy   string
	CreatedAt   time.Time
	SentAt      time.Time // of the latest attempt; zero before the first
	DeliveredAt time.Time // zero before the acknowledgement
	CompletedAt time.Time // of the end, whatever it was; zero before
	ExpiresAt   time.Time
	// Attempts counts how often it was sent.
	Attempts int
	// Number counts the commands of a device that were sent in a protocol that names them by integers; 0: it was not. NumberCommand sets it.
	Number int64
}

// At returns the command as it is at the time now: expired from ExpiresAt on, unless it ended before.
func (c Command) At(now time.Time) Command {
	if !c.State.Ended() && !now.Before(c.ExpiresAt) {
		c.State, c.CompletedAt = CommandExpired, c.ExpiresAt
	}
	return c
}

// Sent returns the command after it was written to a connection. An acknowledgement that came first stays.
func (c Command) Sent(now time.Time) Command {
	if c.State == CommandQueued {
		c.State = CommandSent
	}
	c.Attempts++
	c.SentAt = now
	return c
}

// Delivered returns the command after the device acknowledged it.
func (c Command) Delivered(now time.Time) Command {
	if c.State.Pending() {
		c.State, c.DeliveredAt = CommandDelivered, now
	}
	return c
}

// Answered returns the command after the device's answer, which acknowledges it too where nothing did before.
func (c Command) Answered(answer CommandAnswer, now time.Time) Command {
	c = c.Delivered(now)
	c.State, c.Result, c.Error, c.CompletedAt = CommandSucceeded, answer.Result, answer.Error, now
	if !answer.OK {
		c.State = CommandFailed
	}
	return c
}

// Validate checks what users set; locations start with prefix, such as "body.".
func (c Command) Validate(prefix string) []FieldError {
	var errs []FieldError
	if !validCommandName(c.Name) {
		errs = append(errs, FieldError{prefix + "name", "must be 1 to 64 letters, digits and _ . : -"})
	}
	if message := checkCommandJSON(c.Params); message != "" {
		errs = append(errs, FieldError{prefix + "params", message})
	}
	if life := c.ExpiresAt.Sub(c.CreatedAt); life < time.Second || life > MaxCommandExpiry {
		errs = append(errs, FieldError{prefix + "expires_in", "must be 1 to 2592000 seconds"})
	}
	return errs
}

func validCommandName(name string) bool {
	if name == "" || len(name) > MaxCommandName {
		return false
	}
	for _, r := range []byte(name) {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && r != '_' && r != '.' && r != ':' && r != '-' {
			return false
		}
	}
	return true
}

// CommandAnswer is what a device says that a command came to.
type CommandAnswer struct {
	OK     bool
	Result json.RawMessage // on success; nil if absent
	Error  string          // on failure
}

// Validate checks what a device sent; locations start with prefix, such as "body.".
func (a CommandAnswer) Validate(prefix string) []FieldError {
	var errs []FieldError
	bad := func(field, message string) { errs = append(errs, FieldError{prefix + field, message}) }
	if message := checkCommandJSON(a.Result); message != "" {
		bad("result", message)
	}
	switch {
	case a.OK && a.Error != "":
		bad("error", "belongs to a failure: ok is true")
	case !a.OK && a.Result != nil:
		bad("result", "belongs to a success: ok is false")
	case a.OK:
	default:
		if message := checkText(a.Error, MaxCommandError); message != "" {
			bad("error", message)
		}
	}
	return errs
}

// CanonicalJSON returns a JSON value without spaces; nil for none and for null. What is no JSON stays as it is.
func CanonicalJSON(raw json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return raw
	}
	if out.Len() == 0 || out.String() == "null" {
		return nil
	}
	return out.Bytes()
}

// checkCommandJSON says what is wrong with params or a result; "" if nothing is.
func checkCommandJSON(raw json.RawMessage) string {
	if len(raw) > MaxCommandJSON {
		return "is larger than 16 KiB"
	}
	if raw != nil && (!json.Valid(raw) || !utf8.Valid(raw)) {
		return "must be JSON in UTF-8"
	}
	depth, text, escaped := 0, false, false
	for _, b := range raw {
		switch {
		case escaped:
			escaped = false
		case text && b == '\\':
			escaped = true
		case b == '"':
			text = !text
		case text:
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			depth--
		}
		if depth > maxCommandDepth {
			return "is nested more than 32 deep"
		}
	}
	return ""
}

// CommandFilter picks commands of a device. A zero State picks all.
type CommandFilter struct {
	DeviceID string
	State    CommandState
}

// CommandBatch is one command to many devices. Its commands are placed in their queues step by step.
type CommandBatch struct {
	ID string
	// DeviceIDs are the devices whose commands are not placed yet, in order.
	DeviceIDs []string
	// Total is how many devices it reaches.
	Total  int
	Name   string
	Params json.RawMessage
	// CreatedBy is its sender; OnlyOrg is the organization of the API key that they did it with, if it is bound to one.
	CreatedBy string
	OnlyOrg   string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// AllowCommandBatch is the rule of who may see a batch: its sender and admins; to others it does not exist.
func (c Caller) AllowCommandBatch(b CommandBatch) error {
	if c.IsAdmin() || c.ordered(b.CreatedBy, b.OnlyOrg) {
		return nil
	}
	return NotFound("command batch")
}

// CommandWrite is a write of CommandStore.WriteCommands, which stores New or, where that is nil, changes the command with the id ID.
type CommandWrite struct {
	// New is stored with a Seq, the highest of its device. CodeNotFound if the device is gone; CodeConflict if it has MaxOpenCommands, which
	// several instances may exceed by a few; what idempotency records are refused with.
	New *Command
	// Change returns the command as it is to be, or an error, with which the write is refused. It must not touch ID, DeviceID, Batch, Seq,
	// Number or ExpiresAt, and may be called more than once. CodeNotFound.
	ID     string
	Change func(Command) (Command, error)
	// Effects are written with it, and marked as caused by Ctx.
	Effects SideEffects
	Ctx     context.Context //nolint:containedctx // a write's own, of those that share a step

	// After is the command as it was written, Err why it was refused. First is set if a new one is the first in the queue of its device:
	// all before it have ended.
	After Command
	First bool
	Err   error
}

// PlacedCommand is a command of a batch that is in the queue of its device, or has failed.
type PlacedCommand struct {
	Command
	// First is that of CommandWrite.
	First bool
}

// CommandStore keeps commands. Every write is atomic and durable when it returns; errors are of the codes named here, or
// CodeUnavailable and CodeStorageFull.
type CommandStore interface {
	// WriteCommands does several writes in one atomic step, or only those of them that are not refused: each has its own result then. One
	// with an idempotency record is the only one of its step, and no two are of one command.
	WriteCommands(ctx context.Context, writes ...*CommandWrite) error
	// Command returns one command; CodeNotFound.
	Command(ctx context.Context, id string) (Command, error)
	// Commands lists, the newest first; the page's sort is "".
	Commands(ctx context.Context, filter CommandFilter, page Page) (List[Command], error)
	// NextCommand returns the first pending command of a device whose Seq is greater than after, and that has not expired at the time now;
	// CodeNotFound.
	NextCommand(ctx context.Context, deviceID string, after int64, now time.Time) (Command, error)
	// CountPendingCommands returns how many commands are pending of each of the devices that has any.
	CountPendingCommands(ctx context.Context, deviceIDs []string) (map[string]int, error)
	// NumberCommand gives a command of a device the device's next Number, unless it has one, and returns it. CodeNotFound.
	NumberCommand(ctx context.Context, deviceID, id string) (Command, error)
	// CommandByNumber returns the command of a device with that Number that has not ended; CodeNotFound.
	CommandByNumber(ctx context.Context, deviceID string, number int64) (Command, error)
	// DueCommands returns up to limit commands that have not ended, those that expire first.
	DueCommands(ctx context.Context, limit int) ([]Command, error)
	// ExpireCommands ends those of the commands that expired at the time now, in one atomic step, and returns them as they are
	// then: each is returned by one call. jobs returns what is written with each, and only computes.
	ExpireCommands(ctx context.Context, now time.Time, ids []string, jobs func(Command) ([]OutboxJob, error)) ([]Command, error)
	// RemoveCommands removes up to limit batches and commands that ended and whose CommandTTL is over at the time now, a batch
	// before its commands, and returns how many.
	RemoveCommands(ctx context.Context, now time.Time, limit int) (int, error)

	// CreateCommandBatch stores a batch without its commands.
	CreateCommandBatch(ctx context.Context, batch CommandBatch, effects SideEffects) error
	// CommandBatch returns a batch and how many of its commands are in which state; CodeNotFound. Those that are not placed yet
	// are counted as queued, those that went with their device as cancelled: the sum is Total.
	CommandBatch(ctx context.Context, id string) (CommandBatch, map[CommandState]int64, error)
	// PlaceCommands stores the commands of the next limit devices of a batch in one atomic step, and returns them with the batch
	// after it. command makes the one of a device. For a device with MaxOpenCommands it is stored as failed; one that is gone has
	// none. jobs returns what is written with each that has ended; both only compute. CodeNotFound.
	PlaceCommands(
		ctx context.Context, batchID string, limit int, command func(b CommandBatch, deviceID string) Command,
		jobs func(Command) ([]OutboxJob, error),
	) ([]PlacedCommand, CommandBatch, error)
}
