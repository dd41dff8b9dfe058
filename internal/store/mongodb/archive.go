package mongodb

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
)

var _ hearth.Archiver = (*Store)(nil)

// archiveRows is how many records other than logs come in one part, archiveLogs how many logs.
const (
	archiveRows = 1000
	archiveLogs = 1 << 15
)

var errArchiveEnded = errors.New("the reader of the archive has had enough")

// Archive implements hearth.Archiver. Devices, logs and the audit are as they were when it began. Without transactions
// there is no one moment for the rest: of a record that changes meanwhile the archive has the form before or after, and what
// is new meanwhile and hangs on something new is left out, so that an archive always restores. An archive of exactly one
// moment is made while no instance writes.
func (s *Store) Archive(ctx context.Context) iter.Seq2[hearth.ArchivePart, error] {
	return func(yield func(hearth.ArchivePart, error) bool) {
		err := s.doLong(ctx, "Archive", func(ctx context.Context) error {
			// The scan comes first: whatever its logs are of is still to be read.
			logs, stop := iter.Pull2(s.ScanLogs(ctx, hearth.LogScan{Reach: hearth.Reach{All: true}, Span: everSpan()}))
			defer stop()
			a := &archiver{ctx: ctx, s: s, yield: func(p hearth.ArchivePart) bool { return yield(p, nil) }, keys: map[int64]bool{}}
			first, err, more := logs()
			if err != nil {
				return err
			}
			for _, step := range []func() error{
				a.counters, a.people, a.sessions, a.organizations, a.devices, a.notifications, a.exports, a.journals,
			} {
				if err := step(); err != nil {
					return err
				}
			}
			return a.logs(first, more, logs)
		})
		if err != nil && !errors.Is(err, errArchiveEnded) {
			yield(hearth.ArchivePart{}, err)
		}
	}
}

// archiver returns the parts of one archive.
type archiver struct {
	ctx   context.Context //nolint:containedctx // it lives no longer than the archive
	s     *Store
	yield func(hearth.ArchivePart) bool

	lastDevice int64
	head       hearth.AuditHead
	// lastUser, lastOrg and lastSession are the highest ids that were given. Ids ascend with time: what hangs on a higher one
	// is too new.
	lastUser, lastOrg, lastSession string
	// keys are the devices that were given.
	keys map[int64]bool
}

func (a *archiver) give(p hearth.ArchivePart) error {
	if !a.yield(p) {
		return errArchiveEnded
	}
	return a.ctx.Err()
}

// archiveEach returns the documents of a collection that match, in the order of _id. Records turns some of them into records.
func archiveEach[D, T any](
	a *archiver, coll string, filter bson.D, records func([]D) ([]T, error), part func([]T) hearth.ArchivePart,
) error {
	cursor, err := a.s.db.Collection(coll).Find(a.ctx, filter, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetBatchSize(archiveRows))
	if err != nil {
		return err
	}
	defer cursor.Close(context.WithoutCancel(a.ctx))
	var docs []D
	flush := func() error {
		if len(docs) == 0 {
			return nil
		}
		all, err := records(docs)
		docs = docs[:0]
		for some := range slices.Chunk(all, archiveRows) {
			if err == nil {
				err = a.give(part(some))
			}
		}
		return err
	}
	for cursor.Next(a.ctx) {
		var d D
		if err := cursor.Decode(&d); err != nil {
			return err
		}
		if docs = append(docs, d); len(docs) == archiveRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := cursor.Err(); err != nil {
		return err
	}
	return flush()
}

// eachOf makes records of one document at a time.
func eachOf[D, T any](records func(D) []T) func([]D) ([]T, error) {
	return func(docs []D) (all []T, _ error) {
		for _, d := range docs {
			all = append(all, records(d)...)
		}
		return all, nil
	}
}

func (a *archiver) counters() (err error) {
	if a.head, err = a.s.readHead(a.ctx); err != nil {
		return err
	}
	counters, err := findAll[struct {
		ID   string `bson:"_id"`
		Last int64  `bson:"last"`
	}](a.ctx, a.s.db.Collection(collCounters), bson.D{})
	if err != nil {
		return err
	}
	var c hearth.StoreCounters
	for _, counter := range counters {
		switch counter.ID {
		case collDevices:
			c.LastDevice = counter.Last
		case collBatches:
			c.LastLog = uint64(counter.Last)
		}
	}
	a.lastDevice = c.LastDevice
	return a.give(hearth.ArchivePart{Counters: []hearth.StoreCounters{c}})
}

func (a *archiver) people() error {
	if err := archiveEach(a, collUsers, live(), eachOf(func(d userDoc) []hearth.User {
		a.lastUser = d.ID
		return []hearth.User{d.user()}
	}), func(v []hearth.User) hearth.ArchivePart { return hearth.ArchivePart{Users: v} }); err != nil {
		return err
	}
	if err := archiveEach(a, collTries, live(), eachOf(func(d triesDoc) []hearth.ArchivedTries {
		return []hearth.ArchivedTries{{Key: d.ID, Tries: d.tries()}}
	}), func(v []hearth.ArchivedTries) hearth.ArchivePart { return hearth.ArchivePart{Tries: v} }); err != nil {
		return err
	}
	return archiveEach(a, collUsers, live(bson.E{Key: "reset.hash", Value: bson.D{{Key: "$exists", Value: true}}}),
		eachOf(func(d userDoc) []hearth.PasswordReset {
			reset, err := d.reset()
			if err != nil || d.ID > a.lastUser {
				return nil
			}
			return []hearth.PasswordReset{reset}
		}), func(v []hearth.PasswordReset) hearth.ArchivePart { return hearth.ArchivePart{PasswordResets: v} })
}

func (a *archiver) sessions() error {
	if err := archiveEach(a, collSessions, live(), eachOf(func(d sessionDoc) []hearth.Session {
		if d.User > a.lastUser {
			return nil
		}
		a.lastSession = d.ID
		return []hearth.Session{d.session()}
	}), func(v []hearth.Session) hearth.ArchivePart { return hearth.ArchivePart{Sessions: v} }); err != nil {
		return err
	}
	return archiveEach(a, collRefresh, bson.D{}, a.refreshTokens,
		func(v []hearth.ArchivedRefreshToken) hearth.ArchivePart { return hearth.ArchivePart{RefreshTokens: v} })
}

// refreshTokens finds out which tokens are spent. One without a session means nothing to anybody.
func (a *archiver) refreshTokens(docs []refreshDoc) (tokens []hearth.ArchivedRefreshToken, err error) {
	ids := make(bson.A, 0, len(docs))
	for _, d := range docs {
		ids = append(ids, d.Session)
	}
	sessions, err := findAll[sessionDoc](a.ctx, a.s.db.Collection(collSessions), live(bson.E{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}))
	if err != nil {
		return nil, err
	}
	known := map[string]sessionDoc{}
	for _, d := range sessions {
		if d.User <= a.lastUser && d.ID <= a.lastSession {
			known[d.ID] = d
		}
	}
	for _, d := range docs {
		if session, ok := known[d.Session]; ok {
			tokens = append(tokens, hearth.ArchivedRefreshToken{Hash: d.Hash, SessionID: d.Session, Spent: !session.isGood(d.Hash)})
		}
	}
	return tokens, nil
}

func (a *archiver) organizations() error {
	if err := archiveEach(a, collOrganizations, live(), eachOf(func(d orgDoc) []hearth.Organization {
		a.lastOrg = d.ID
		return []hearth.Organization{d.organization()}
	}), func(v []hearth.Organization) hearth.ArchivePart { return hearth.ArchivePart{Organizations: v} }); err != nil {
		return err
	}
	if err := archiveEach(a, collOrganizations, live(), eachOf(func(d orgDoc) (members []hearth.Member) {
		for _, m := range d.Members {
			if d.ID <= a.lastOrg && m.User <= a.lastUser {
				members = append(members, hearth.Member{OrganizationID: d.ID, UserID: m.User, Role: m.Role, JoinedAt: fromMillis(m.Joined)})
			}
		}
		return members
	}), func(v []hearth.Member) hearth.ArchivePart { return hearth.ArchivePart{Members: v} }); err != nil {
		return err
	}
	return archiveEach(a, collOrganizations, live(), eachOf(func(d orgDoc) (invitations []hearth.Invitation) {
		for _, i := range d.Invites {
			if d.ID <= a.lastOrg {
				invitations = append(invitations, i.invitation(d.ID))
			}
		}
		return invitations
	}), func(v []hearth.Invitation) hearth.ArchivePart { return hearth.ArchivePart{Invitations: v} })
}

func (a *archiver) devices() error {
	ids := map[string]bool{}
	if err := archiveEach(a, collDevices, alive(bson.E{Key: "key", Value: bson.D{{Key: "$lte", Value: a.lastDevice}}}),
		eachOf(func(d deviceDoc) []hearth.Device {
			a.keys[d.Key], ids[d.ID] = true, true
			return []hearth.Device{d.device()}
		}), func(v []hearth.Device) hearth.ArchivePart { return hearth.ArchivePart{Devices: v} }); err != nil {
		return err
	}
	return archiveEach(a, collDeviceTokens, live(), eachOf(func(d deviceTokenDoc) []hearth.DeviceToken {
		if !ids[d.Device] {
			return nil
		}
		return []hearth.DeviceToken{d.token()}
	}), func(v []hearth.DeviceToken) hearth.ArchivePart { return hearth.ArchivePart{DeviceTokens: v} })
}

func (a *archiver) notifications() error {
	if err := archiveEach(a, collNotifications, live(), eachOf(func(d notificationDoc) []hearth.Notification {
		if d.User > a.lastUser {
			return nil
		}
		return []hearth.Notification{d.notification()}
	}), func(v []hearth.Notification) hearth.ArchivePart { return hearth.ArchivePart{Notifications: v} }); err != nil {
		return err
	}
	if err := archiveEach(a, collSettings, live(), eachOf(func(d settingsDoc) []hearth.ArchivedSettings {
		if d.ID > a.lastUser || d.Types == nil {
			return nil
		}
		settings := hearth.ArchivedSettings{UserID: d.ID, Types: map[hearth.NotificationType]hearth.Delivery{}}
		for kind, way := range d.Types {
			settings.Types[kind] = hearth.Delivery(way)
		}
		return []hearth.ArchivedSettings{settings}
	}), func(v []hearth.ArchivedSettings) hearth.ArchivePart { return hearth.ArchivePart{Settings: v} }); err != nil {
		return err
	}
	return archiveEach(a, collSettings, live(), a.watches,
		func(v []hearth.DeviceWatch) hearth.ArchivePart { return hearth.ArchivePart{Watches: v} })
}

// watches leaves out those of devices that are not in the archive.
func (a *archiver) watches(docs []settingsDoc) (watches []hearth.DeviceWatch, err error) {
	wanted := map[string]bool{}
	for _, d := range docs {
		for _, w := range d.Watches {
			wanted[w.Device] = true
		}
	}
	existing, err := findAll[deviceDoc](a.ctx, a.s.db.Collection(collDevices),
		alive(among("_id", slices.Collect(maps.Keys(wanted)))), options.Find().SetProjection(bson.D{{Key: "key", Value: 1}}))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, d := range existing {
		known[d.ID] = a.keys[d.Key]
	}
	for _, d := range docs {
		for _, w := range d.Watches {
			if d.ID <= a.lastUser && known[w.Device] {
				watches = append(watches, hearth.DeviceWatch{UserID: d.ID, DeviceID: w.Device, Told: w.Told})
			}
		}
	}
	return watches, nil
}

func (a *archiver) exports() error {
	if err := archiveEach(a, collSchedules, live(), eachOf(func(d scheduleDoc) []hearth.ExportSchedule { return []hearth.ExportSchedule{d.schedule()} }),
		func(v []hearth.ExportSchedule) hearth.ArchivePart { return hearth.ArchivePart{Schedules: v} }); err != nil {
		return err
	}
	if err := archiveEach(a, collExports, live(), eachOf(func(d exportDoc) []hearth.Export { return []hearth.Export{d.export()} }),
		func(v []hearth.Export) hearth.ArchivePart { return hearth.ArchivePart{Exports: v} }); err != nil {
		return err
	}
	return a.checkpoints()
}

// checkpoints returns the newest of each import: it may still be in its batch, which is looked at first, because it is kept
// elsewhere before it leaves there. Imports are few.
func (a *archiver) checkpoints() error {
	batches, err := findAll[batchDoc](a.ctx, a.s.db.Collection(collBatches),
		live(bson.E{Key: "checkpoint", Value: bson.D{{Key: "$exists", Value: true}}}), options.Find().SetProjection(bson.D{{Key: "checkpoint", Value: 1}}))
	if err != nil {
		return err
	}
	kept, err := findAll[checkpointDoc](a.ctx, a.s.db.Collection(collCheckpoints), bson.D{})
	if err != nil {
		return err
	}
	for _, b := range batches {
		kept = append(kept, *b.Checkpoint)
	}
	newest := map[string]checkpointDoc{}
	for _, c := range kept {
		if c.Order >= newest[c.ID].Order {
			newest[c.ID] = c
		}
	}
	var all []hearth.Checkpoint
	for _, id := range slices.Sorted(maps.Keys(newest)) {
		all = append(all, hearth.Checkpoint{ID: id, Rows: newest[id].Rows, Mark: newest[id].Mark})
	}
	for some := range slices.Chunk(all, archiveRows) {
		if err := a.give(hearth.ArchivePart{Checkpoints: some}); err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) journals() error {
	if err := archiveEach(a, collCommits, bson.D{{Key: "once", Value: bson.D{{Key: "$exists", Value: true}}}, {Key: "open", Value: nil}},
		eachOf(func(d commitDoc) []hearth.IdempotencyRecord {
			return []hearth.IdempotencyRecord{d.idempotencyRecord()}
		}), func(v []hearth.IdempotencyRecord) hearth.ArchivePart { return hearth.ArchivePart{Idempotency: v} }); err != nil {
		return err
	}
	if err := archiveEach(a, collOutbox, bson.D{}, eachOf(func(d jobDoc) []hearth.OutboxJob { return []hearth.OutboxJob{d.job()} }),
		func(v []hearth.OutboxJob) hearth.ArchivePart { return hearth.ArchivePart{Outbox: v} }); err != nil {
		return err
	}
	return archiveEach(a, collAudit, bson.D{{Key: "_id", Value: bson.D{{Key: "$lte", Value: a.head.Seq}}}},
		eachOf(func(d auditDoc) []hearth.AuditEntry {
			e := d.entry()
			e.Changes = nil
			return []hearth.AuditEntry{e}
		}), func(v []hearth.AuditEntry) hearth.ArchivePart { return hearth.ArchivePart{Audit: v} })
}

// logs returns the logs of the devices that were given.
func (a *archiver) logs(entry hearth.LogEntry, more bool, next func() (hearth.LogEntry, error, bool)) error {
	var logs []hearth.LogEntry
	for more {
		if a.keys[entry.Device] {
			logs = append(logs, entry)
		}
		if len(logs) == archiveLogs {
			if err := a.give(hearth.ArchivePart{Logs: logs}); err != nil {
				return err
			}
			logs = nil
		}
		var err error
		if entry, err, more = next(); err != nil {
			return err
		}
	}
	if len(logs) == 0 {
		return nil
	}
	return a.give(hearth.ArchivePart{Logs: logs})
}
