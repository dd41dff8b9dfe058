// Package importer brings logs out of CSV and Parquet files into hearth: in batches, resumable at every moment, nothing twice.
package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hearth"
	"hearth/internal/blob"
	"hearth/internal/core/archive"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/filelock"
)

// Store is what an import reads of the store.
type Store interface {
	UserByEmail(ctx context.Context, email string) (hearth.User, error)
	Users(ctx context.Context, filter hearth.UserFilter, page hearth.Page) (hearth.List[hearth.User], error)
	Devices(ctx context.Context, filter hearth.DeviceFilter, page hearth.Page) (hearth.List[hearth.Device], error)
	ImportCheckpoint(ctx context.Context, id string) (hearth.Checkpoint, error)
}

// Importer stores what files hold by the same rules as everything else. All fields but Retention are required.
type Importer struct {
	Store     Store
	Roles     func(ctx context.Context, userID string) (map[string]hearth.OrgRole, error)
	Devices   *devices.Service
	Telemetry *telemetry.Service
	// Files is where the archive keeps its files.
	Files blob.Store
	// DataDir has the lock of imports, and temporary files.
	DataDir string
	// Retention is how long logs are kept; 0: for ever.
	Retention time.Duration
	Clock     hearth.Clock
}

// Import says what is imported for whom.
type Import struct {
	// File is Stdin, or the path of a CSV file, packed by gzip or zstd or not; of an export of logs in any format; or of a Parquet file of the
	// archive, or its key. An export and an archive name their devices by id: Columns, Event and Type do not count for them.
	File  string
	Stdin io.Reader
	// Owner is the e-mail address of the user whom the devices belong to; "" is the first admin. With OrganizationID the devices
	// belong to that organization of the owner's.
	Owner          string
	OrganizationID string
	Columns        Columns
	// Event and Type, if set, stand for the columns.
	Event string
	Type  string
	// Format is how a text is read.
	Format Format
	// SkipInvalid passes over wrong rows.
	SkipInvalid bool
	Progress    func(Progress)
}

// File imports the logs of a file, making the devices that a CSV file names. One import at a time works on a data directory;
// a server may run meanwhile. What was imported before is not imported again.
func (i *Importer) File(ctx context.Context, o Import) (_ Progress, err error) {
	// Two imports of one file would both add its rows.
	unlock, err := filelock.Lock(filepath.Join(i.DataDir, "import.lock"), "another import works on "+i.DataDir)
	if err != nil {
		return Progress{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	// Old logs are accepted whatever retention removed before.
	if err := i.Telemetry.LetOldIn(ctx); err != nil {
		return Progress{}, err
	}
	switch {
	case o.File == Stdin:
		return i.stdin(ctx, o)
	case strings.HasSuffix(o.File, archive.Suffix):
		return i.parquet(ctx, o)
	}
	info, err := os.Stat(o.File)
	if err != nil {
		return Progress{}, err
	}
	return i.csv(ctx, o, info.Size(), func() (io.ReadCloser, error) { return os.Open(o.File) })
}

// CSV is File for a text that open opens, which may be called twice.
func (i *Importer) CSV(ctx context.Context, o Import, open func() (io.ReadCloser, error)) (Progress, error) {
	return i.csv(ctx, o, 0, open)
}

func (i *Importer) csv(ctx context.Context, o Import, size int64, open func() (io.ReadCloser, error)) (Progress, error) {
	owner, caller, err := i.caller(ctx, o.Owner)
	if err != nil {
		return Progress{}, err
	}
	sink := &storeSink{Importer: i, caller: caller, organization: o.OrganizationID, scope: hearth.UserScope(owner.ID)}
	if o.OrganizationID != "" {
		if !caller.Orgs[o.OrganizationID].Valid() {
			return Progress{}, fmt.Errorf("%s is in no organization %s", owner.Email, o.OrganizationID)
		}
		sink.scope = hearth.OrgScope(o.OrganizationID)
	}
	return csvImport{
		Open: open, Size: size, Sink: sink, Target: string(sink.scope), Columns: o.Columns, Event: o.Event, Type: o.Type,
		Format: o.Format, SkipInvalid: o.SkipInvalid, Clock: i.Clock, Progress: o.Progress,
	}.run(ctx)
}

// caller returns the user whom an import is for, and as a caller with their rights.
func (i *Importer) caller(ctx context.Context, email string) (owner hearth.User, caller hearth.Caller, err error) {
	if owner, err = i.owner(ctx, email); err != nil {
		return owner, caller, err
	}
	caller = hearth.Caller{UserID: owner.ID, Role: owner.Role}
	caller.Orgs, err = i.Roles(ctx, owner.ID)
	return owner, caller, err
}

// owner returns the user whom an import is for.
func (i *Importer) owner(ctx context.Context, email string) (hearth.User, error) {
	if email != "" {
		normalized, ok := hearth.NormalizeEmail(email)
		if !ok {
			return hearth.User{}, fmt.Errorf("%q is not an e-mail address", email)
		}
		user, err := i.Store.UserByEmail(ctx, normalized)
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return hearth.User{}, fmt.Errorf("there is no user %s", normalized)
		}
		return user, err
	}
	page := hearth.Page{Limit: hearth.MaxLimit}
	var first hearth.User
	for {
		list, err := i.Store.Users(ctx, hearth.UserFilter{Role: hearth.RoleAdmin}, page)
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

// storeSink stores rows with the rights of a caller.
type storeSink struct {
	*Importer
	caller       hearth.Caller
	organization string
	scope        hearth.Scope
}

var (
	_ csvSink      = (*storeSink)(nil)
	_ archive.Sink = archiveSink{}
)

// Devices implements csvSink.
func (s *storeSink) Devices(ctx context.Context) (map[string]string, error) {
	return s.DevicesOf(ctx, s.scope)
}

// DevicesOf returns the ids of the devices of a scope by name; of several with a name, the oldest.
func (i *Importer) DevicesOf(ctx context.Context, scope hearth.Scope) (map[string]string, error) {
	byName := map[string]string{}
	page := hearth.Page{Limit: hearth.MaxLimit, Sort: "created_at"}
	filter := hearth.DeviceFilter{Reach: hearth.Reach{Scopes: []hearth.Scope{scope}}, Now: i.Clock.Now()}
	for {
		list, err := i.Store.Devices(ctx, filter, page)
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

// Writable implements csvSink and archive.Sink.
func (s *storeSink) Writable(ctx context.Context, ids []string) (map[string]bool, error) {
	devices, err := s.Importer.Devices.Resolve(ctx, s.caller, ids)
	if err != nil {
		return nil, err
	}
	writable := map[string]bool{}
	for i, device := range devices {
		writable[ids[i]] = device != nil && s.caller.Access(*device)&hearth.MayReport != 0
	}
	return writable, nil
}

// Create implements csvSink.
func (s *storeSink) Create(ctx context.Context, wanted []csvDevice) ([]string, error) {
	inputs := make([]devices.NewDevice, len(wanted))
	for i, device := range wanted {
		inputs[i] = devices.NewDevice{ID: device.ID, Name: device.Name, Type: device.Type, OrganizationID: s.organization}
	}
	made, err := s.Importer.Devices.CreateBatch(ctx, s.caller, inputs, nil)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(made))
	for i, device := range made {
		ids[i] = device.ID
	}
	return ids, nil
}

// Ingest implements csvSink.
func (s *storeSink) Ingest(ctx context.Context, batch csvBatch) error {
	_, err := s.Telemetry.Ingest(ctx, s.caller, telemetry.Batch{
		Devices: batch.Devices, Entries: batch.Entries, Checkpoint: &batch.Checkpoint,
		Place: func(index int) string { return fmt.Sprintf("line %d", batch.Lines[index]) },
	})
	return err
}

// Checkpoint implements csvSink and archive.Sink.
func (s *storeSink) Checkpoint(ctx context.Context, id string) (hearth.Checkpoint, error) {
	return s.Store.ImportCheckpoint(ctx, id)
}
