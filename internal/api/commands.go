package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"hearth"
	"hearth/internal/api/rest"
	"hearth/internal/core/commands"
	"hearth/internal/timetext"
)

const tagCommands = "Commands"

// maxWait bounds how long a request waits for a command or for its end.
const maxWait = 30 * time.Second

// AnyJSON is a JSON value of the client's.
type AnyJSON json.RawMessage

// MarshalJSON returns the value as it is; null for none.
func (v AnyJSON) MarshalJSON() ([]byte, error) { return json.RawMessage(v).MarshalJSON() }

// UnmarshalJSON keeps the value as it came.
func (v *AnyJSON) UnmarshalJSON(data []byte) error { return (*json.RawMessage)(v).UnmarshalJSON(data) }

// Schema allows every value.
func (AnyJSON) Schema(huma.Registry) *huma.Schema {
	most := hearth.MaxCommandJSON
	return &huma.Schema{MaxLength: &most, Examples: []any{map[string]any{"level": 3}}}
}

// Command is a command on the wire.
type Command struct {
	ID          string     `json:"id" format:"uuid" example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
	DeviceID    string     `json:"device_id" format:"uuid" example:"0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"`
	Name        string     `json:"name" example:"set-level"`
	Params      AnyJSON    `json:"params" doc:"As sent; null if there are none."`
	State       string     `json:"state" enum:"queued,sent,delivered,succeeded,failed,expired,cancelled" doc:"queued: stored. sent: written to a connection of the device. delivered: the device acknowledged it. The others are ends."`
	Result      AnyJSON    `json:"result" doc:"The device's, once it succeeded; null if there is none."`
	Error       *string    `json:"error" doc:"Why it failed; null unless it did." example:"the valve is jammed"`
	CreatedBy   string     `json:"created_by" format:"uuid" doc:"The user who sent it." example:"0195a1b2-0000-7e5f-8a9b-0c1d2e3f4a5b"`
	CreatedAt   rest.Time  `json:"created_at"`
	SentAt      *rest.Time `json:"sent_at" doc:"When it was sent last; null before."`
	DeliveredAt *rest.Time `json:"delivered_at" doc:"When the device acknowledged it; null before."`
	CompletedAt *rest.Time `json:"completed_at" doc:"When it ended, however; null before."`
	ExpiresAt   rest.Time  `json:"expires_at" doc:"When it ends by itself."`
	Attempts    int        `json:"attempts" doc:"How often it was sent." example:"1"`
}

func wireCommand(c hearth.Command) Command {
	return Command{
		ID: c.ID, DeviceID: c.DeviceID, Name: c.Name, Params: AnyJSON(c.Params), State: string(c.State), Result: AnyJSON(c.Result),
		Error: rest.TextOrNull(c.Error), CreatedBy: c.CreatedBy, CreatedAt: rest.Time(c.CreatedAt), SentAt: rest.TimeOrNull(c.SentAt),
		DeliveredAt: rest.TimeOrNull(c.DeliveredAt), CompletedAt: rest.TimeOrNull(c.CompletedAt), ExpiresAt: rest.Time(c.ExpiresAt), Attempts: c.Attempts,
	}
}

// NewCommand is a command to send.
type NewCommand struct {
	Name      string                 `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9_.:-]+$" doc:"What the device is to do: 1 to 64 letters, digits and _ . : -" example:"set-level"`
	Params    rest.Optional[AnyJSON] `json:"params,omitempty" doc:"Any JSON up to 16 KiB, nested up to 32 deep; the device gets it as it is."`
	ExpiresIn rest.Optional[int]     `json:"expires_in,omitempty" minimum:"1" maximum:"2592000" doc:"Seconds until it expires; 3600, if nothing is said." example:"3600"`
}

func (n NewCommand) order() commands.Order {
	return commands.Order{
		Name: n.Name, Params: json.RawMessage(n.Params.Or(nil)), ExpiresIn: time.Duration(n.ExpiresIn.Or(0)) * time.Second,
	}
}

// NewCommands is a command to many devices.
type NewCommands struct {
	DeviceIDs rest.Optional[rest.ShortTexts] `json:"device_ids,omitempty" maxItems:"10000" doc:"The devices. Not together with filter."`
	Filter    rest.Optional[CommandTarget]   `json:"filter,omitempty" doc:"All devices that it picks and you may edit, up to 10,000. Not together with device_ids."`
	NewCommand
}

// CommandTarget picks devices. Its fields hold together.
type CommandTarget struct {
	Type           rest.Optional[string] `json:"type,omitempty" minLength:"1" maxLength:"64" doc:"Only devices of this type." example:"lamp"`
	Tag            rest.Optional[string] `json:"tag,omitempty" minLength:"1" maxLength:"64" doc:"Only devices with this tag." example:"hall"`
	OrganizationID rest.Optional[string] `json:"organization_id,omitempty" minLength:"1" maxLength:"64" doc:"Only devices of this organization."`
}

func (n NewCommands) selection() (to commands.Selection) {
	if n.DeviceIDs.Has() {
		to.DeviceIDs = append([]string{}, n.DeviceIDs.Value...)
	}
	if n.Filter.Has() {
		f := n.Filter.Value
		to.Filter = &commands.Filter{Type: f.Type.Or(""), Tag: f.Tag.Or(""), OrganizationID: f.OrganizationID.Or("")}
	}
	return to
}

// CommandBatch is a command to many devices that is on its way.
type CommandBatch struct {
	ID    string `json:"id" format:"uuid" example:"0195a1b2-bbbb-7e5f-8a9b-0c1d2e3f4a5b"`
	Total int    `json:"total" doc:"How many devices it reaches." example:"1200"`
}

func wireBatch(b hearth.CommandBatch) CommandBatch { return CommandBatch{b.ID, b.Total} }

// CommandBatchState is how far a command to many devices is.
type CommandBatchState struct {
	CommandBatch
	ByState CommandCounts `json:"by_state" doc:"How many of its commands are in which state now; total in all. Those of deleted devices count as cancelled."`
}

// CommandCounts counts commands by state.
type CommandCounts struct {
	Queued    int64 `json:"queued" example:"100"`
	Sent      int64 `json:"sent" example:"40"`
	Delivered int64 `json:"delivered" example:"60"`
	Succeeded int64 `json:"succeeded" example:"990"`
	Failed    int64 `json:"failed" example:"10"`
	Expired   int64 `json:"expired" example:"0"`
	Cancelled int64 `json:"cancelled" example:"0"`
}

// CommandAnswer is what a device says that a command came to.
type CommandAnswer struct {
	OK     bool                   `json:"ok" doc:"Whether it succeeded."`
	Result rest.Optional[AnyJSON] `json:"result,omitempty" doc:"On success: any JSON up to 16 KiB."`
	Error  rest.Optional[string]  `json:"error,omitempty" doc:"On failure, and needed then: why, up to 1024 characters." example:"the valve is jammed"`
}

// WaitParam is how long a request may wait.
type WaitParam struct {
	Wait string `query:"wait" maxLength:"16" doc:"How long the answer may wait, up to 30s." example:"10s"`
}

// parseWait reads a duration from 0 to maxWait; "" is 0.
func parseWait(wait string) (time.Duration, error) {
	if wait == "" || wait == "0" || wait == "0s" {
		return 0, nil
	}
	d, err := timetext.ParseDuration(wait)
	switch {
	case err != nil:
		return 0, hearth.Invalid(hearth.FieldError{Location: "query.wait", Message: err.Error()})
	case d > maxWait:
		return 0, hearth.Invalid(hearth.FieldError{Location: "query.wait", Message: "must be at most 30s"})
	}
	return d, nil
}

// waited has the request's duration be without the time since start, which it waited for something to happen.
func waited(ctx context.Context, start time.Time) { rest.RequestOf(ctx).Waited += time.Since(start) }

type sendCommandInput struct {
	DevicePath
	WaitParam
	Body NewCommand
}

type sendCommandOutput struct {
	Status   int
	Location string `header:"Location" doc:"The path of the command."`
	Body     Command
}

type listCommandsInput struct {
	DevicePath
	State string `query:"state" enum:"queued,sent,delivered,succeeded,failed,expired,cancelled" doc:"Only commands in this state."`
	rest.PageParams
}

// CommandPath names a command in the path.
type CommandPath struct {
	ID string `path:"id" maxLength:"64" doc:"The command." example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
}

// DeviceCommandPath names a device and one of its commands in the path.
type DeviceCommandPath struct {
	DevicePath
	CommandID string `path:"command_id" maxLength:"64" doc:"The command." example:"0195a1b2-aaaa-7e5f-8a9b-0c1d2e3f4a5b"`
}

// registerCommands adds the operations of commands.
func (a *API) registerCommands() {
	s := a.options.Commands
	if s == nil {
		return
	}
	a.registerSendCommand(s)
	rest.Register(a.Router, rest.Operation{
		ID: "list-commands", Method: http.MethodGet, Path: "/devices/{id}/commands", Tag: tagCommands,
		Access: rest.ForUsers, Key: hearth.KeyCommandsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "List a device's commands",
		Description: "The newest first. A command is kept until 30 days after it expires.",
	}, func(ctx context.Context, in *listCommandsInput) (*rest.Body[rest.List[Command]], error) {
		page, err := in.Page("")
		if err != nil {
			return nil, err
		}
		filter := hearth.CommandFilter{DeviceID: in.ID, State: hearth.CommandState(in.State)}
		found, err := s.Commands(ctx, rest.CallerOf(ctx), filter, page)
		if err != nil {
			return nil, err
		}
		list, err := rest.ListOf(found, in.Fields, wireCommand)
		return &rest.Body[rest.List[Command]]{Body: list}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-command", Method: http.MethodGet, Path: "/commands/{id}", Tag: tagCommands,
		Access: rest.ForUsers, Key: hearth.KeyCommandsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Get a command",
		Description: "As it is now. The same comes live after each change of its state, as the event `device-command`.",
	}, func(ctx context.Context, in *struct{ CommandPath }) (*rest.Body[Command], error) {
		c, err := s.Command(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Command]{Body: wireCommand(c)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "cancel-command", Method: http.MethodPost, Path: "/commands/{id}/cancel", Tag: tagCommands,
		Access: rest.ForUsers, Key: hearth.KeyCommandsWrite,
		Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict}, Summary: "Cancel a command",
		Description: "It is not sent any more. A device that has it already may still carry it out; its answer changes nothing then. `conflict` once it has ended.",
	}, func(ctx context.Context, in *struct{ CommandPath }) (*rest.Body[Command], error) {
		c, err := s.Cancel(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[Command]{Body: wireCommand(c)}, err
	})
	a.registerCommandBatches(s)
	a.registerDeliveries(s)
}

func (a *API) registerSendCommand(s *commands.Service) {
	op := rest.Operation{
		ID: "send-command", Method: http.MethodPost, Path: "/devices/{id}/commands", Tag: tagCommands,
		Access: rest.ForUsers, Key: hearth.KeyCommandsWrite, Status: http.StatusAccepted,
		Creates: true, Location: true, At: "/commands", Codes: []hearth.Code{hearth.CodeNotFound, hearth.CodeConflict},
		Summary: "Send a command to a device",
		Description: "The command is stored when the answer comes. The device gets its commands in order, each again until it acknowledges it. " +
			"With `wait`, the answer comes when the command has ended (200), or as it stands when the time is over (202). With an " +
			"`Idempotency-Key`, a repetition is answered at once, with the command as it was created (202). `conflict`: 1000 commands of the " +
			"device have not ended.",
	}
	rest.Register(a.Router, op, func(ctx context.Context, in *sendCommandInput) (*sendCommandOutput, error) {
		wait, err := parseWait(in.Wait)
		if err != nil {
			return nil, err
		}
		if wait > 0 {
			defer waited(ctx, time.Now())
		}
		c, err := s.Send(ctx, rest.CallerOf(ctx), in.ID, in.Body.order(), wait, rest.Idempotency(ctx, wireCommand))
		if err != nil {
			return nil, err
		}
		out := &sendCommandOutput{Status: http.StatusAccepted, Location: rest.BasePath + "/commands/" + c.ID, Body: wireCommand(c)}
		if c.State.Ended() {
			out.Status = http.StatusOK
		}
		return out, nil
	})
	answers := a.Document().Paths[op.Pattern()].Post.Responses
	ended := *answers["202"]
	ended.Description = "With wait: the command, which has ended"
	answers["200"] = &ended
}

func (a *API) registerCommandBatches(s *commands.Service) {
	rest.Register(a.Router, rest.Operation{
		ID: "send-commands", Method: http.MethodPost, Path: "/commands", Tag: tagCommands,
		Access: rest.ForUsers, Key: hearth.KeyCommandsWrite, Status: http.StatusAccepted, Creates: true, Codes: []hearth.Code{hearth.CodeNotFound},
		Summary: "Send a command to many devices",
		Description: "To those that are named, or to all that a filter picks; exactly one of the two. The batch is stored when the answer comes; its " +
			"commands appear in the queues of the devices within seconds. A device that you may not edit is named by its index in `device_ids`, " +
			"like one that does not exist, and nothing is sent. For a device with 1000 commands that have not ended, its command has failed.",
	}, func(ctx context.Context, in *struct{ Body NewCommands }) (*rest.Body[CommandBatch], error) {
		b, err := s.SendMany(ctx, rest.CallerOf(ctx), in.Body.selection(), in.Body.order(), rest.Idempotency(ctx, wireBatch))
		return &rest.Body[CommandBatch]{Body: wireBatch(b)}, err
	})
	rest.Register(a.Router, rest.Operation{
		ID: "get-command-batch", Method: http.MethodGet, Path: "/command-batches/{id}", Tag: tagCommands,
		Access: rest.ForUsers, Key: hearth.KeyCommandsRead, ETag: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Count the commands of a batch by state", Description: "Your own batches; all for an admin.",
	}, func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64" doc:"The batch." example:"0195a1b2-bbbb-7e5f-8a9b-0c1d2e3f4a5b"`
	}) (*rest.Body[CommandBatchState], error) {
		b, n, err := s.Batch(ctx, rest.CallerOf(ctx), in.ID)
		return &rest.Body[CommandBatchState]{Body: CommandBatchState{wireBatch(b), CommandCounts{
			n[hearth.CommandQueued], n[hearth.CommandSent], n[hearth.CommandDelivered], n[hearth.CommandSucceeded], n[hearth.CommandFailed],
			n[hearth.CommandExpired], n[hearth.CommandCancelled],
		}}}, err
	})
}

// registerDeliveries adds the operations of devices.
func (a *API) registerDeliveries(s *commands.Service) {
	rest.RegisterRaw(a.Router, rest.Operation{
		ID: "next-command", Method: http.MethodGet, Path: "/devices/{id}/commands/next", Tag: tagCommands,
		Access: rest.ForDevices, Key: rest.ClosedToKeys, Plain: true, Claims: true,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Receive the next command",
		Description: "For the device itself: its oldest command that it has neither acknowledged nor answered, the same one again until it has. " +
			"With `wait`, the answer comes as soon as there is one. 204: there is none. Of one device four requests may wait at each instance; " +
			"a newer one ends the oldest. An answer that breaks off before its last byte is no delivery: ask again.",
	}, func(doc *huma.Operation) {
		doc.Parameters = append(doc.Parameters, deviceIDParam(), &huma.Param{
			Name: "wait", In: "query", Description: "How long the answer may wait, up to 30s.", Example: "30s",
			Schema: &huma.Schema{Type: huma.TypeString},
		})
		doc.Responses["200"] = jsonResponse("The command", rest.SchemaOf[Command](a.Router))
		doc.Responses["204"] = &huma.Response{Description: "There is none"}
	}, func(w http.ResponseWriter, r *http.Request) error { return a.nextCommand(s, w, r) })
	rest.Register(a.Router, rest.Operation{
		ID: "acknowledge-command", Method: http.MethodPost, Path: "/devices/{id}/commands/{command_id}/ack", Tag: tagCommands,
		Access: rest.ForDevices, Key: rest.ClosedToKeys, Status: http.StatusNoContent,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Acknowledge a command",
		Description: "For the device itself: it has the command, which is not sent again. Repeated, or after the end, it changes nothing.",
	}, func(ctx context.Context, in *struct{ DeviceCommandPath }) (*struct{}, error) {
		return nil, s.Acknowledge(ctx, rest.CallerOf(ctx), in.ID, in.CommandID)
	})
	rest.Register(a.Router, rest.Operation{
		ID: "answer-command", Method: http.MethodPost, Path: "/devices/{id}/commands/{command_id}/result", Tag: tagCommands,
		Access: rest.ForDevices, Key: rest.ClosedToKeys, Status: http.StatusNoContent,
		Codes: []hearth.Code{hearth.CodeNotFound}, Summary: "Report a command's result",
		Description: "For the device itself: ends the command, and acknowledges it where that was not done. Repeated, or after the end, it changes nothing.",
	}, func(ctx context.Context, in *struct {
		DeviceCommandPath
		Body CommandAnswer
	}) (*struct{}, error) {
		if in.Body.Error.Has() && in.Body.Error.Value == "" {
			return nil, hearth.Invalid(hearth.FieldError{Location: "body.error", Message: "must not be empty"})
		}
		return nil, s.Answer(ctx, rest.CallerOf(ctx), in.ID, in.CommandID, hearth.CommandAnswer{
			OK: in.Body.OK, Result: json.RawMessage(in.Body.Result.Or(nil)), Error: in.Body.Error.Or(""),
		})
	})
}

// nextCommand answers with a device's next command. What comes after the wait is a function of its own: thousands of requests wait,
// and each keeps the stack of those that it is in.
func (a *API) nextCommand(s *commands.Service, w http.ResponseWriter, r *http.Request) error {
	wait, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	start := time.Now()
	c, err := s.Next(r.Context(), rest.CallerOf(r.Context()), r.PathValue("id"), wait)
	waited(r.Context(), start)
	if err != nil {
		return err
	}
	if c == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return a.deliver(s, w, r, c)
}

// deliver writes a command to the connection of its device. It is sent once it is written, and the device may not act on it before
// that is stored: so the last byte, a line break, is written after.
//
//go:noinline
func (a *API) deliver(s *commands.Service, w http.ResponseWriter, r *http.Request, c *hearth.Command) error {
	ctx, now := r.Context(), a.Now()
	body, err := rest.EncodeBody(wireCommand(c.Sent(now)))
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	last := len(body) - 1
	if _, err = w.Write(body[:last]); err == nil { //nolint:gosec // JSON, and labelled so
		err = http.NewResponseController(w).Flush()
	}
	if err == nil {
		err = s.Sent(ctx, rest.CallerOf(ctx), *c, now)
	}
	if err != nil {
		// The answer stays without its end, and the device asks again.
		panic(http.ErrAbortHandler)
	}
	if a.options.AwaitPublished != nil {
		a.options.AwaitPublished(ctx)
	}
	_, _ = w.Write(body[last:]) //nolint:gosec // JSON; the device may have gone
	return nil
}
