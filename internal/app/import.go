package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"hearth"
	"hearth/internal/core/archive"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/filelock"
	"hearth/internal/importcsv"
)

// The parts of an import that commands name.
type (
	// ImportColumns are the names of a file's columns.
	ImportColumns = importcsv.Columns
	// ImportProgress is how far an import has come.
	ImportProgress = importcsv.Progress
)

// Import says what is imported for whom.
type Import struct {
	// File is the path of a CSV file, gzip or not, or of a Parquet file of the archive or of an export of logs; or the key of
	// a file of the archive. A Parquet file names its devices by id, so that of the rest SkipInvalid and Progress count alone,
	// and Owner for whose devices may be written.
	File string
	// Owner is the e-mail address of whom the devices belong to; "" is the first admin. With OrganizationID the devices
	// belong to that organization of the owner's.
	Owner          string
	OrganizationID string
	Columns        ImportColumns
	// Event and Type, if set, stand for the columns.
	Event string
	Type  string
	// SkipInvalid passes over wrong rows.
	SkipInvalid bool
	Progress    func(ImportProgress)
}

// Import brings the logs of a file in, making the devices that a CSV file names. One import at a time works on a data
// directory; a server may run beside it. What was imported before is not imported again.
func (a *App) Import(ctx context.Context, o Import) (_ ImportProgress, err error) {
	// Two imports of one file would both add its rows.
	unlock, err := filelock.Lock(filepath.Join(a.config.DataDir, "import.lock"), "another import works on "+a.config.DataDir)
	if err != nil {
		return ImportProgress{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	// Old logs are let in whatever retention removed before.
	if err := a.telemetry.LetOldIn(ctx); err != nil {
		return ImportProgress{}, err
	}
	if strings.HasSuffix(o.File, archive.Suffix) {
		return a.importArchive(ctx, o)
	}
	info, err := os.Stat(o.File)
	if err != nil {
		return ImportProgress{}, err
	}
	return a.importFrom(ctx, o, source{size: info.Size(), open: func() (io.ReadCloser, error) { return os.Open(o.File) }})
}

// source is where an import's text comes from.
type source struct {
	open func() (io.ReadCloser, error)
	size int64
}

func (a *App) importFrom(ctx context.Context, o Import, from source) (ImportProgress, error) {
	owner, caller, err := a.importCaller(ctx, o.Owner)
	if err != nil {
		return ImportProgress{}, err
	}
	sink := &importSink{app: a, caller: caller, organization: o.OrganizationID}
	if sink.scope = hearth.UserScope(owner.ID); o.OrganizationID != "" {
		if !caller.Orgs[o.OrganizationID].Valid() {
			return ImportProgress{}, fmt.Errorf("%s is in no organization %s", owner.Email, o.OrganizationID)
		}
		sink.scope = hearth.OrgScope(o.OrganizationID)
	}
	return importcsv.Run(ctx, importcsv.Options{
		Open: from.open, Size: from.size, Sink: sink, Target: string(sink.scope), Columns: o.Columns, Event: o.Event, Type: o.Type,
		SkipInvalid: o.SkipInvalid, Clock: a.options.Clock, Progress: o.Progress,
	})
}

// importCaller returns whom an import is for, with their rights.
func (a *App) importCaller(ctx context.Context, email string) (owner hearth.User, caller hearth.Caller, err error) {
	if owner, err = a.importOwner(ctx, email); err != nil {
		return owner, caller, err
	}
	caller = hearth.Caller{UserID: owner.ID, Role: owner.Role}
	caller.Orgs, err = a.orgs.Roles(ctx, owner.ID)
	return owner, caller, err
}

// importOwner finds whom an import is for.
func (a *App) importOwner(ctx context.Context, email string) (hearth.User, error) {
	if email != "" {
		normalized, ok := hearth.NormalizeEmail(email)
		if !ok {
			return hearth.User{}, fmt.Errorf("%q is not an e-mail address", email)
		}
		user, err := a.store.UserByEmail(ctx, normalized)
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return hearth.User{}, fmt.Errorf("there is no user %s", normalized)
		}
		return user, err
	}
	page := hearth.Page{Limit: hearth.MaxLimit}
	var first hearth.User
	for {
		list, err := a.store.Users(ctx, hearth.UserFilter{Role: hearth.RoleAdmin}, page)
		if err != nil {
			return hearth.User{}, err
		}
		if n := len(list.Items); n > 0 {
			first = list.Items[n-1] // newest first
		}
		if list.Next.IsZero() {
			break
		}
		page.Cursor = list.Next
	}
	if first.ID == "" {
		return hearth.User{}, errors.New("there is no admin whom the devices could belong to: name a user with --owner, or make one with hearth user create")
	}
	return first, nil
}

// importSink stores what an import reads by the same rules as everything else.
type importSink struct {
	app          *App
	caller       hearth.Caller
	organization string
	scope        hearth.Scope
}

// Devices implements importcsv.Sink: the oldest device of a name counts.
func (s *importSink) Devices(ctx context.Context) (map[string]string, error) {
	byName := map[string]string{}
	page := hearth.Page{Limit: hearth.MaxLimit, Sort: "created_at"}
	filter := hearth.DeviceFilter{Reach: hearth.Reach{Scopes: []hearth.Scope{s.scope}}, Now: s.app.options.Clock.Now()}
	for {
		list, err := s.app.store.Devices(ctx, filter, page)
		if err != nil {
			return nil, err
		}
		for _, device := range list.Items {
			if byName[device.Name] == "" {
				byName[device.Name] = device.ID
			}
		}
		if list.Next.IsZero() {
			return byName, nil
		}
		page.Cursor = list.Next
	}
}

// Create implements importcsv.Sink.
func (s *importSink) Create(ctx context.Context, wanted []importcsv.Device) ([]string, error) {
	inputs := make([]devices.NewDevice, len(wanted))
	for i, device := range wanted {
		inputs[i] = devices.NewDevice{Name: device.Name, Type: device.Type, OrganizationID: s.organization}
	}
	made, err := s.app.fleet.CreateBatch(ctx, s.caller, inputs, nil)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(made))
	for i, device := range made {
		ids[i] = device.ID
	}
	return ids, nil
}

// Ingest implements importcsv.Sink.
func (s *importSink) Ingest(ctx context.Context, batch importcsv.Batch) error {
	return s.app.telemetry.Ingest(ctx, s.caller, telemetry.Batch{
		Devices: batch.Devices, Entries: batch.Entries, Checkpoint: &batch.Checkpoint,
		Place: func(index int) string { return fmt.Sprintf("line %d", batch.Lines[index]) },
	})
}

// Checkpoint implements importcsv.Sink.
func (s *importSink) Checkpoint(ctx context.Context, id string) (hearth.Checkpoint, error) {
	return s.app.store.ImportCheckpoint(ctx, id)
}
