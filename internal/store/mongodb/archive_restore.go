package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth"
	"hearth/internal/tsdb"
)

const (
	collRestore = "restore"
	restoreID   = "restore"
)

// restoreDoc is the mark of a restore that has not ended.
type restoreDoc struct {
	ID      string `bson:"_id"`
	Meta    `bson:",inline"`
	Source  string           `bson:"source"`
	Started int64            `bson:"started"`
	Done    map[string]int64 `bson:"done"`
}

func (d restoreDoc) restore() hearth.Restore {
	if d.Done == nil {
		d.Done = map[string]int64{}
	}
	return hearth.Restore{Source: d.Source, StartedAt: fromMillis(d.Started), Done: d.Done}
}

// BeginRestore implements hearth.Archiver.
func (s *Store) BeginRestore(ctx context.Context, restore hearth.Restore) (mark hearth.Restore, err error) {
	err = s.commit(ctx, writing{name: "BeginRestore"}, func(ctx context.Context, st *step) error {
		d, err := load[restoreDoc](ctx, st, collRestore, byID(restoreID))
		switch {
		case err == nil && d.Source == restore.Source:
			mark = d.restore()
			return nil
		case err == nil:
			return hearth.Errorf(hearth.CodeConflict, "the store is half restored from something else (%s): empty it first", d.Source)
		case !errors.Is(err, errGone):
			return err
		}
		for _, coll := range []string{
			collUsers, collOrganizations, collDevices, collAudit, collExports, collSchedules, collCheckpoints, collCommits, collOutbox,
			collTries, collBatches, collLogs, collCounters,
		} {
			used, err := s.exists(ctx, coll, bson.D{{Key: "aborted", Value: nil}})
			if err != nil {
				return err
			}
			if used {
				return hearth.Errorf(hearth.CodeConflict, "the store is not empty")
			}
		}
		d = restoreDoc{ID: restoreID, Meta: Meta{V: 1}, Source: restore.Source, Started: millis(restore.StartedAt)}
		mark = d.restore()
		st.insert(collRestore, restoreID, d, errStale)
		return nil
	})
	return mark, err
}

// Restoring implements hearth.Archiver.
func (s *Store) Restoring(ctx context.Context) (mark hearth.Restore, err error) {
	err = s.do(ctx, "Restoring", func(ctx context.Context) error {
		var d restoreDoc
		err := s.db.Collection(collRestore).FindOne(ctx, live(bson.E{Key: "_id", Value: restoreID})).Decode(&d)
		mark = d.restore()
		return found(err, "unfinished restore")
	})
	if err != nil {
		return hearth.Restore{}, err
	}
	return mark, nil
}

// EndRestore implements hearth.Archiver.
func (s *Store) EndRestore(ctx context.Context) error {
	return s.do(ctx, "EndRestore", func(ctx context.Context) error {
		_, err := s.db.Collection(collRestore).DeleteOne(ctx, byID(restoreID))
		return err
	})
}

// RestorePart implements hearth.Archiver. Logs and the mark are one atomic step; of other records the mark comes last, and
// those that are stored already stay as they are.
func (s *Store) RestorePart(ctx context.Context, part hearth.ArchivePart, restore hearth.Restore) error {
	if len(part.Logs) == 0 {
		err := s.doLong(ctx, "RestorePart", func(ctx context.Context) error {
			if err := s.checkMark(ctx, restore); err != nil {
				return err
			}
			for _, records := range []func(context.Context, *hearth.ArchivePart) error{
				s.restoreCounters, s.restorePeople, s.restoreSessions, s.restoreOrganizations, s.restoreDevices, s.restoreNotifications,
				s.restoreExports, s.restoreJournals, s.restoreAudit,
			} {
				if err := records(ctx, &part); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	call := &appendCall{entries: part.Logs}
	if len(part.Logs) > 0 {
		if err := s.logs.prepare(ctx, call); err != nil {
			return translate(ctx, err)
		}
	}
	var drafts []*draft
	err := s.commit(ctx, writing{name: "RestorePart"}, func(ctx context.Context, st *step) error {
		d, err := load[restoreDoc](ctx, st, collRestore, byID(restoreID))
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
		if err != nil || d.Source != restore.Source {
			return notRestoring()
		}
		drafts = nil
		for logs := range slices.Chunk(part.Logs, maxGroup) {
			filled, err := s.logs.fillGiven(call, logs)
			if err != nil {
				return err
			}
			drafts = append(drafts, filled)
			st.insert(collBatches, filled.doc.First, filled.doc, nil)
		}
		st.update(collRestore, restoreID, d.V, set(bson.D{{Key: "done", Value: restore.Done}}))
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range drafts {
		s.logs.stored(d)
	}
	return nil
}

func notRestoring() error {
	return hearth.Errorf(hearth.CodeConflict, "the store is not being restored from this source")
}

func (s *Store) checkMark(ctx context.Context, restore hearth.Restore) error {
	marked, err := s.exists(ctx, collRestore, live(bson.E{Key: "_id", Value: restoreID}, bson.E{Key: "source", Value: restore.Source}))
	if err == nil && !marked {
		err = notRestoring()
	}
	return err
}

// fillGiven encodes logs that have their numbers.
func (e *logEngine) fillGiven(call *appendCall, logs []hearth.LogEntry) (*draft, error) {
	d := &draft{lanes: map[int64]int{}}
	first := logs[0].Seq
	index := map[tsdb.Series]uint32{}
	var chunk tsdb.Chunk
	for i := range logs {
		entry := &logs[i]
		scope, alive := call.homes[entry.Device]
		if !alive {
			return nil, hearth.Errorf(hearth.CodeConflict, "log %s is of device %d, which is not in the archive", hearth.LogID(entry.Seq), entry.Device)
		}
		series := tsdb.Series{Scope: scope, Device: entry.Device, Event: call.events[eventName+entry.Event]}
		at, ok := index[series]
		if !ok {
			at = uint32(len(chunk.Series))
			chunk.Series = append(chunk.Series, series)
			index[series] = at
		}
		d.lanes[laneOf(scope)]++
		chunk.Entries = append(chunk.Entries, tsdb.Entry{At: entry.At, Seq: entry.Seq, Value: entry.Value, Series: at})
		first = min(first, entry.Seq)
	}
	e.encode(d, int64(first), chunk)
	return d, nil
}

func (s *Store) restoreCounters(ctx context.Context, part *hearth.ArchivePart) error {
	for _, c := range part.Counters {
		for name, last := range map[string]int64{collDevices: c.LastDevice, collBatches: int64(c.LastLog)} {
			_, err := s.db.Collection(collCounters).UpdateOne(ctx, byID(name),
				bson.D{{Key: "$max", Value: bson.D{{Key: "last", Value: last}}}}, options.UpdateOne().SetUpsert(true))
			if err != nil {
				return err
			}
		}
		// What was taken of the numbers before does not hold any more.
		s.logs.numbers.mu.Lock()
		s.logs.numbers.next, s.logs.numbers.end = 0, 0
		s.logs.numbers.mu.Unlock()
	}
	return nil
}

// restoreEach stores a document for each record, unless there is one with its _id.
func restoreEach[T, D any](ctx context.Context, s *Store, coll string, records []T, doc func(T) D) error {
	for some := range slices.Chunk(records, archiveRows) {
		docs := make([]D, 0, len(some))
		for _, r := range some {
			docs = append(docs, doc(r))
		}
		if err := s.insertMissing(ctx, coll, docs); err != nil {
			return err
		}
	}
	return nil
}

// restoreInto updates a document for each record that belongs into one.
func restoreInto[T any](ctx context.Context, s *Store, coll string, records []T, update func(T) (filter, update bson.D)) error {
	for some := range slices.Chunk(records, archiveRows) {
		models := make([]mongo.WriteModel, 0, len(some))
		for _, r := range some {
			filter, change := update(r)
			models = append(models, mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(change))
		}
		if _, err := s.db.Collection(coll).BulkWrite(ctx, models); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) restorePeople(ctx context.Context, part *hearth.ArchivePart) error {
	return errors.Join(
		restoreEach(ctx, s, collEmails, part.Users, func(u hearth.User) emailDoc {
			return emailDoc{Email: u.Email, Meta: Meta{V: 1}, User: u.ID}
		}),
		restoreEach(ctx, s, collUsers, part.Users, func(u hearth.User) userDoc {
			return userDoc{ID: u.ID, Meta: Meta{V: 1}, UserFields: newUserFields(u)}
		}),
		restoreEach(ctx, s, collTries, part.Tries, func(r hearth.ArchivedTries) triesDoc {
			return triesDoc{ID: r.Key, Meta: Meta{V: 1}, TriesFields: s.triesFields(r.Tries)}
		}),
		restoreInto(ctx, s, collUsers, part.PasswordResets, func(r hearth.PasswordReset) (bson.D, bson.D) {
			return byID(r.UserID), set(bson.D{{Key: "reset", Value: resetDoc{ID: r.ID, Hash: r.Hash, Expires: millis(r.ExpiresAt)}}})
		}),
	)
}

func (s *Store) restoreSessions(ctx context.Context, part *hearth.ArchivePart) error {
	purge := map[string]*time.Time{}
	good := []hearth.ArchivedRefreshToken{}
	ids := bson.A{}
	for _, r := range part.RefreshTokens {
		ids = append(ids, r.SessionID)
		if !r.Spent {
			good = append(good, r)
		}
	}
	if len(ids) > 0 {
		sessions, err := findAll[sessionDoc](ctx, s.db.Collection(collSessions), bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
		if err != nil {
			return err
		}
		for _, d := range sessions {
			purge[d.ID] = d.PurgeAt
		}
	}
	return errors.Join(
		restoreEach(ctx, s, collSessions, part.Sessions, func(v hearth.Session) sessionDoc { return s.sessionDoc(v) }),
		restoreEach(ctx, s, collRefresh, part.RefreshTokens, func(r hearth.ArchivedRefreshToken) refreshDoc {
			return refreshDoc{Hash: r.Hash, Session: r.SessionID, PurgeAt: purge[r.SessionID]}
		}),
		restoreInto(ctx, s, collSessions, good, func(r hearth.ArchivedRefreshToken) (bson.D, bson.D) {
			return byID(r.SessionID), bson.D{{Key: "$addToSet", Value: bson.D{{Key: "good", Value: r.Hash}}}}
		}),
	)
}

func (s *Store) restoreOrganizations(ctx context.Context, part *hearth.ArchivePart) error {
	push := func(field string, value any) bson.D {
		return bson.D{{Key: "$push", Value: bson.D{{Key: field, Value: value}}}}
	}
	return errors.Join(
		restoreEach(ctx, s, collOrganizations, part.Organizations, func(o hearth.Organization) orgDoc {
			return orgDoc{
				ID: o.ID, Meta: Meta{V: 1}, Name: o.Name, Created: millis(o.CreatedAt), Updated: millis(o.UpdatedAt),
				Members: []memberDoc{}, Invites: []inviteDoc{},
			}
		}),
		restoreInto(ctx, s, collOrganizations, part.Members, func(m hearth.Member) (bson.D, bson.D) {
			return bson.D{{Key: "_id", Value: m.OrganizationID}, {Key: "members.user", Value: bson.D{{Key: "$ne", Value: m.UserID}}}},
				push("members", memberDoc{User: m.UserID, Role: m.Role, Joined: millis(m.JoinedAt)})
		}),
		restoreInto(ctx, s, collOrganizations, part.Invitations, func(i hearth.Invitation) (bson.D, bson.D) {
			return bson.D{{Key: "_id", Value: i.OrganizationID}, {Key: "invites.id", Value: bson.D{{Key: "$ne", Value: i.ID}}}},
				push("invites", newInviteDoc(i))
		}),
	)
}

func (s *Store) restoreDevices(ctx context.Context, part *hearth.ArchivePart) error {
	return errors.Join(
		restoreEach(ctx, s, collDevices, part.Devices, newDeviceDoc),
		restoreEach(ctx, s, collDeviceTokens, part.DeviceTokens, func(t hearth.DeviceToken) deviceTokenDoc {
			return deviceTokenDoc{
				ID: t.ID, Meta: Meta{V: 1}, Device: t.DeviceID, Hash: t.Hash, Created: millis(t.CreatedAt), Used: millis(t.LastUsedAt),
			}
		}),
	)
}

func (s *Store) restoreNotifications(ctx context.Context, part *hearth.ArchivePart) error {
	return errors.Join(
		restoreEach(ctx, s, collNotifications, part.Notifications, newNotificationDoc),
		restoreEach(ctx, s, collSettings, part.Settings, func(v hearth.ArchivedSettings) settingsDoc {
			types := map[hearth.NotificationType]delivery{}
			for kind, way := range v.Types {
				types[kind] = delivery(way)
			}
			return settingsDoc{ID: v.UserID, Meta: Meta{V: 1}, Types: types, Watches: []watchDoc{}}
		}),
		// Somebody who watches a device need not have settings.
		restoreEach(ctx, s, collSettings, part.Watches, func(w hearth.DeviceWatch) settingsDoc {
			return settingsDoc{ID: w.UserID, Meta: Meta{V: 1}, Watches: []watchDoc{}}
		}),
		restoreInto(ctx, s, collSettings, part.Watches, func(w hearth.DeviceWatch) (bson.D, bson.D) {
			return bson.D{{Key: "_id", Value: w.UserID}, {Key: "watches.device", Value: bson.D{{Key: "$ne", Value: w.DeviceID}}}},
				bson.D{{Key: "$push", Value: bson.D{{Key: "watches", Value: watchDoc{Device: w.DeviceID, Told: w.Told}}}}}
		}),
	)
}

func (s *Store) restoreExports(ctx context.Context, part *hearth.ArchivePart) error {
	for _, schedule := range part.Schedules {
		slot, err := s.slotOf(ctx, collSchedules, schedule.ID, schedule.UserID, hearth.MaxExportSchedules)
		if err != nil {
			return err
		}
		d := scheduleDoc{ID: schedule.ID, Meta: Meta{V: 1}, ScheduleFields: newScheduleFields(schedule)}
		if slot != nil {
			d.Slot = *slot
		}
		if err := s.insertMissing(ctx, collSchedules, []scheduleDoc{d}); err != nil {
			return err
		}
	}
	for _, e := range part.Exports {
		d := exportDoc{ID: e.ID, Meta: Meta{V: 1}, ExportFields: newExportFields(e)}
		if !e.Status.Ended() {
			slot, err := s.slotOf(ctx, collExports, e.ID, e.UserID, hearth.MaxOpenExports)
			if err != nil {
				return err
			}
			d.Slot = slot
		}
		if err := s.insertMissing(ctx, collExports, []exportDoc{d}); err != nil {
			return err
		}
	}
	return restoreEach(ctx, s, collCheckpoints, part.Checkpoints, func(c hearth.Checkpoint) checkpointDoc {
		return checkpointDoc{ID: c.ID, Rows: c.Rows, Mark: c.Mark, Order: 1}
	})
}

// slotOf returns a free slot for a document; nil if the document is stored.
func (s *Store) slotOf(ctx context.Context, coll, id, userID string, most int) (*int, error) {
	stored, err := s.exists(ctx, coll, byID(id))
	if err != nil || stored {
		return nil, err
	}
	slot, err := s.freeSlot(ctx, coll, userID, most)
	if errors.Is(err, errNoSlot) {
		err = hearth.Errorf(hearth.CodeConflict, "the archive has more than %d of %s of one person", most, coll)
	}
	return &slot, err
}

func (s *Store) restoreJournals(ctx context.Context, part *hearth.ArchivePart) error {
	jobs := make([]jobDoc, 0, len(part.Outbox))
	for _, j := range part.Outbox {
		jobs = append(jobs, newJobDoc(j))
	}
	err := restoreEach(ctx, s, collCommits, part.Idempotency, func(r hearth.IdempotencyRecord) commitDoc {
		c := commitDoc{ID: uuid.NewString(), PurgeAt: s.purgeAt(r.ExpiresAt)}
		c.setIdempotency(r)
		return c
	})
	if err != nil || len(jobs) == 0 {
		return err
	}
	return s.storeJobs(ctx, jobs)
}

// restoreAudit stores entries as they are, behind those that are there.
func (s *Store) restoreAudit(ctx context.Context, part *hearth.ArchivePart) error {
	if len(part.Audit) == 0 {
		return nil
	}
	head, err := s.readHead(ctx)
	if err != nil {
		return err
	}
	for entries := range slices.Chunk(part.Audit, archiveRows) {
		var docs []auditDoc
		for _, e := range entries {
			if e.Seq <= head.Seq && len(docs) == 0 {
				stored, err := s.auditChain(ctx, e.Seq-1, 1)
				if err != nil {
					return err
				}
				if len(stored) == 1 && stored[0].Seq == e.Seq && stored[0].Hash == e.Hash {
					continue // it was stored before
				}
			}
			if e.Seq != head.Seq+1 || e.PrevHash != head.Hash {
				return hearth.Errorf(hearth.CodeConflict, "audit entry %d does not follow entry %d", e.Seq, head.Seq)
			}
			head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
			docs = append(docs, auditDoc{
				Seq: e.Seq, Ref: fmt.Sprintf("restored/%d", e.Seq), PrevHash: e.PrevHash, Hash: e.Hash, At: e.At.UnixMilli(), ActorID: e.ActorID,
				Action: e.Action, Target: e.Target, Result: e.Result, IP: e.IP, UserAgent: e.UserAgent, RequestID: e.RequestID, Changes: e.ChangesText,
			})
		}
		if len(docs) == 0 {
			continue
		}
		if _, err := s.db.Collection(collAudit).InsertMany(ctx, docs); err != nil {
			return err
		}
		if err := s.moveHead(ctx, head); err != nil {
			return err
		}
	}
	return nil
}
