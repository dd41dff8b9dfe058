package storetest

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hearth"
	"hearth/internal/store/archive"
)

// ArchiveStore is what the suite for archives needs.
type ArchiveStore interface {
	archive.Archiver
	hearth.AuditStore
	hearth.DeviceStore
	hearth.LogStore
}

// Archive is the suite for archive.Archiver. open returns an empty store; it is called in parallel.
func Archive(t *testing.T, open func(*testing.T) ArchiveStore) {
	for name, test := range map[string]func(*testing.T, func(*testing.T) ArchiveStore){
		"gives back every record of every kind":            archiveRoundTrip,
		"an archive of an empty store restores":            archiveEmpty,
		"an archive is of one moment":                      archiveMoment,
		"what is gone or hidden is not archived":           archiveHidden,
		"only an empty store is restored into":             archiveIntoEmpty,
		"a restore goes on where it stopped":               archiveResume,
		"numbers are not used again after a restore":       archiveNumbers,
		"the audit goes on after a restore":                archiveAudit,
		"refuses an audit entry that does not follow":      archiveAuditGap,
		"gives back an audit that is being trimmed":        archiveAuditTrim,
		"refuses a log of a device that is not there":      archiveStrayLog,
		"rollups after a restore equal those of before":    archiveRollups,
		"a reader that has had enough ends the archive":    archiveStops,
		"nothing is restored into a store without a mark":  archiveWithoutMark,
		"a mark is found again, and gone after the ending": archiveMark,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

// readParts returns the parts of an archive.
func readParts(t *testing.T, s archive.Archiver) iter.Seq[ArchivePart] {
	return func(yield func(ArchivePart) bool) {
		for lines, err := range s.Archive(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			part, err := ReadPart(lines)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(part) {
				return
			}
		}
	}
}

// archived gathers an archive into one part, checking the order of kinds.
func archived(t *testing.T, s archive.Archiver) (all ArchivePart) {
	t.Helper()
	last := -1
	for part := range readParts(t, s) {
		kind, n := addPart(&all, part)
		if kind < last {
			t.Fatalf("records of kind %d come after those of kind %d", kind, last)
		}
		if last = kind; n < 1 || n > archive.MaxPart {
			t.Fatalf("a part of kind %d has %d records", kind, n)
		}
	}
	return all
}

// addPart adds a part's records and returns which kind and how many they were.
func addPart(all *ArchivePart, p ArchivePart) (kind, n int) {
	counts := []int{
		add(&all.Counters, p.Counters), add(&all.Users, p.Users), add(&all.Tries, p.Tries), add(&all.PasswordResets, p.PasswordResets),
		add(&all.Sessions, p.Sessions), add(&all.RefreshTokens, p.RefreshTokens), add(&all.Organizations, p.Organizations),
		add(&all.Members, p.Members), add(&all.Invitations, p.Invitations), add(&all.APIKeys, p.APIKeys),
		add(&all.ProvisioningKeys, p.ProvisioningKeys), add(&all.Devices, p.Devices), add(&all.DeviceTokens, p.DeviceTokens),
		add(&all.Twins, p.Twins), add(&all.MQTTSessions, p.MQTTSessions), add(&all.Provisioned, p.Provisioned), add(&all.ClaimCodes, p.ClaimCodes), add(&all.Notifications, p.Notifications), add(&all.Settings, p.Settings),
		add(&all.Channels, p.Channels), add(&all.Digests, p.Digests),
		add(&all.Watches, p.Watches), add(&all.Commands, p.Commands), add(&all.Batches, p.Batches), add(&all.Rules, p.Rules), add(&all.Alarms, p.Alarms),
		add(&all.AlarmWatches, p.AlarmWatches), add(&all.Unjudged, p.Unjudged), add(&all.Uptime, p.Uptime), add(&all.Schedules, p.Schedules), add(&all.Exports, p.Exports),
		add(&all.Webhooks, p.Webhooks), add(&all.Deliveries, p.Deliveries), add(&all.Lines, p.Lines), add(&all.Connections, p.Connections),
		add(&all.Integrations, p.Integrations), add(&all.Links, p.Links),
		add(&all.Checkpoints, p.Checkpoints), add(&all.Idempotency, p.Idempotency),
		add(&all.Outbox, p.Outbox), add(&all.Audit, p.Audit), add(&all.Logs, p.Logs),
	}
	for i, count := range counts {
		if count > 0 {
			kind, n = i, n+count
		}
	}
	return kind, n
}

func add[T any](to *[]T, more []T) int {
	*to = append(*to, more...)
	return len(more)
}

// sameRecords compares two archives whatever the order of their records; the audit's counts. They are sorted here: go-cmp would ask each
// option about each field of each record.
func sameRecords(want, got ArchivePart) string {
	for _, p := range []*ArchivePart{&want, &got} {
		sortBy(&p.Logs, func(v hearth.LogEntry) uint64 { return v.Seq })
		sortBy(&p.Commands, func(v hearth.Command) string { return v.ID })
		sortBy(&p.Batches, func(v hearth.CommandBatch) string { return v.ID })
		sortBy(&p.Users, func(v hearth.User) string { return v.ID })
		sortBy(&p.Tries, func(v ArchivedTries) string { return string(v.Key) })
		sortBy(&p.PasswordResets, func(v hearth.PasswordReset) string { return v.ID })
		sortBy(&p.Sessions, func(v hearth.Session) string { return v.ID })
		sortBy(&p.RefreshTokens, func(v ArchivedRefreshToken) string { return string(v.Hash) })
		sortBy(&p.Organizations, func(v hearth.Organization) string { return v.ID })
		sortBy(&p.Members, func(v hearth.Member) string { return v.OrganizationID + v.UserID })
		sortBy(&p.Invitations, func(v hearth.Invitation) string { return v.ID })
		sortBy(&p.APIKeys, func(v hearth.APIKey) string { return v.ID })
		sortBy(&p.Devices, func(v hearth.Device) string { return v.ID })
		sortBy(&p.ProvisioningKeys, func(v hearth.ProvisioningKey) string { return v.ID })
		sortBy(&p.Provisioned, func(v hearth.Provisioned) string { return string(v.Scope) + v.Serial })
		sortBy(&p.ClaimCodes, func(v hearth.ClaimCode) string { return string(v.Hash) })
		sortBy(&p.DeviceTokens, func(v hearth.DeviceToken) string { return v.ID })
		sortBy(&p.Twins, func(v hearth.Twin) string { return v.DeviceID })
		sortBy(&p.Notifications, func(v hearth.Notification) string { return v.ID })
		sortBy(&p.Channels, func(v hearth.NotificationChannel) string { return v.ID })
		sortBy(&p.Digests, func(v hearth.NotificationDigest) string { return v.ID })
		sortBy(&p.Settings, func(v ArchivedSettings) string { return v.UserID })
		sortBy(&p.Watches, func(v hearth.DeviceWatch) string { return v.DeviceID + v.UserID })
		sortBy(&p.Schedules, func(v hearth.ExportSchedule) string { return v.ID })
		sortBy(&p.Exports, func(v hearth.Export) string { return v.ID })
		sortBy(&p.Webhooks, func(v hearth.Webhook) string { return v.ID })
		sortBy(&p.Deliveries, func(v hearth.WebhookDelivery) string { return v.ID })
		sortBy(&p.Lines, func(v hearth.DeliveryLine) string { return v.ID })
		sortBy(&p.Connections, func(v hearth.DeviceConnection) string { return v.DeviceID })
		sortBy(&p.Integrations, func(v hearth.Integration) string { return v.ID })
		sortBy(&p.Links, func(v hearth.IntegrationDevice) string { return v.DeviceID })
		sortBy(&p.Checkpoints, func(v hearth.Checkpoint) string { return v.ID })
		sortBy(&p.Idempotency, func(v hearth.IdempotencyRecord) string { return v.Caller + v.Key })
		sortBy(&p.Outbox, func(v hearth.OutboxJob) string { return v.ID })
	}
	return gocmp.Diff(want, got, cmpopts.EquateEmpty())
}

// sortBy replaces a slice by a sorted copy.
func sortBy[T any, K cmp.Ordered](all *[]T, key func(T) K) {
	*all = slices.SortedStableFunc(slices.Values(*all), func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

const restoreSource = "test"

func beginRestore(t *testing.T, s archive.Archiver) archive.Restore {
	t.Helper()
	mark, err := s.BeginRestore(t.Context(), archive.Restore{Source: restoreSource, StartedAt: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

// restoreAll restores parts into an empty store.
func restoreAll(t *testing.T, s archive.Archiver, parts ...ArchivePart) {
	t.Helper()
	mark := beginRestore(t, s)
	for i, part := range parts {
		mark.Done["parts"] = int64(i + 1)
		if err := s.RestorePart(t.Context(), part.Part(), mark); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.EndRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func archiveRoundTrip(t *testing.T, open func(*testing.T) ArchiveStore) {
	parts := Everything(24)
	var want ArchivePart
	for _, p := range parts {
		addPart(&want, p)
	}
	first := open(t)
	restoreAll(t, first, parts...)
	got := archived(t, first)
	if diff := sameRecords(want, got); diff != "" {
		t.Fatalf("restored records differ (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(got, archived(t, first)); diff != "" {
		t.Errorf("a second archive differs, or has another order:\n%s", diff)
	}
	second := open(t)
	restoreAll(t, second, slices.Collect(splitParts(t, first))...)
	if diff := sameRecords(want, archived(t, second)); diff != "" {
		t.Errorf("restored twice, records differ (-want +got):\n%s", diff)
	}
}

// splitParts returns an archive in small parts, as another program may cut it.
func splitParts(t *testing.T, s archive.Archiver) func(func(ArchivePart) bool) {
	return func(yield func(ArchivePart) bool) {
		for part := range readParts(t, s) {
			if len(part.Logs) == 0 {
				if !yield(part) {
					return
				}
				continue
			}
			for logs := range slices.Chunk(part.Logs, 700) {
				if !yield(ArchivePart{Logs: logs}) {
					return
				}
			}
		}
	}
}

func archiveEmpty(t *testing.T, open func(*testing.T) ArchiveStore) {
	all := archived(t, open(t))
	if diff := gocmp.Diff(ArchivePart{Counters: []archive.Counters{{}}}, all); diff != "" {
		t.Errorf("the archive of an empty store (-want +got):\n%s", diff)
	}
	s := open(t)
	restoreAll(t, s, all)
	archiveDevice(t, s, 1)
}

// archiveDevice makes a device in the ordinary way.
func archiveDevice(t *testing.T, s ArchiveStore, n int) hearth.Device {
	t.Helper()
	d, err := s.CreateDevices(t.Context(), []hearth.Device{{
		ID: fmt.Sprintf("0195d000-0000-7000-8000-%012d", n), Name: "n", Type: "t", Status: hearth.StatusActive, Interval: 60, OwnerID: "u",
		CreatedAt: epoch, UpdatedAt: epoch,
	}}, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return d[0]
}

func archiveAppend(t *testing.T, s ArchiveStore, device int64, n int) uint64 {
	t.Helper()
	entries := make([]hearth.LogEntry, n)
	for i := range entries {
		entries[i] = hearth.LogEntry{Device: device, Event: "e", Value: hearth.Number(float64(i) / 4), At: epoch.UnixMilli() + int64(i)*1000}
	}
	first, err := s.AppendLogs(t.Context(), entries, nil, hearth.SideEffects{})
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func archiveMoment(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	device := archiveDevice(t, s, 1)
	archiveAppend(t, s, device.Key, 100)
	var all ArchivePart
	for part := range readParts(t, s) {
		if len(part.Counters) > 0 {
			// Beside the open archive everything goes on.
			archiveAppend(t, s, archiveDevice(t, s, 2).Key, 100)
			archiveAppend(t, s, device.Key, 100)
			appendAudit(t, s, auditEntry(1))
		}
		addPart(&all, part)
	}
	if len(all.Devices) != 1 || len(all.Logs) != 100 || len(all.Audit) != 0 {
		t.Errorf("the archive has %d devices, %d logs and %d audit entries; want 1, 100 and 0", len(all.Devices), len(all.Logs), len(all.Audit))
	}
	if later := archived(t, s); len(later.Devices) != 2 || len(later.Logs) != 300 {
		t.Errorf("a later archive has %d devices and %d logs; want 2 and 300", len(later.Devices), len(later.Logs))
	}
}

func archiveHidden(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	gone, kept := archiveDevice(t, s, 1), archiveDevice(t, s, 2)
	archiveAppend(t, s, gone.Key, 50)
	last := archiveAppend(t, s, kept.Key, 7200) + 7199
	if err := s.DeleteDevice(t.Context(), gone.ID, func(hearth.Device) error { return nil }, hearth.SideEffects{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.TrimLogs(t.Context(), epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	all := archived(t, s)
	if len(all.Devices) != 1 || len(all.Logs) != 3600 {
		t.Errorf("the archive has %d devices and %d logs; want 1 and 3600", len(all.Devices), len(all.Logs))
	}
	if c := all.Counters[0]; c.LastDevice < kept.Key || c.LastLog < last {
		t.Errorf("the counters are %+v; want at least device %d and log %d", c, kept.Key, last)
	}
}

func archiveIntoEmpty(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	archiveDevice(t, s, 1)
	before := archived(t, s)
	if _, err := s.BeginRestore(t.Context(), archive.Restore{Source: restoreSource}); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("BeginRestore into a store with a device gives %v; want %s", err, hearth.CodeConflict)
	}
	if diff := gocmp.Diff(before, archived(t, s)); diff != "" {
		t.Errorf("the refused restore changed the store:\n%s", diff)
	}
}

func archiveResume(t *testing.T, open func(*testing.T) ArchiveStore) {
	parts := Everything(10)
	s := open(t)
	mark := beginRestore(t, s)
	for i, part := range parts[:12] {
		mark.Done["parts"] = int64(i + 1)
		if err := s.RestorePart(t.Context(), part.Part(), mark); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.BeginRestore(t.Context(), archive.Restore{Source: "another"})
	if hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("another restore into a half restored store gives %v; want %s", err, hearth.CodeConflict)
	}
	found := beginRestore(t, s)
	if diff := gocmp.Diff(mark, found); diff != "" || found.Done["parts"] != 12 {
		t.Fatalf("the mark that is found differs (-want +got):\n%s", diff)
	}
	var want ArchivePart
	for i, part := range parts {
		if addPart(&want, part); i >= 12 {
			if err := s.RestorePart(t.Context(), part.Part(), found); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := sameRecords(want, archived(t, s)); diff != "" {
		t.Errorf("records differ (-want +got):\n%s", diff)
	}
}

func archiveNumbers(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	parts := Everything(10)
	restoreAll(t, s, parts...)
	counters := parts[0].Counters[0]
	device := archiveDevice(t, s, 1)
	if device.Key <= counters.LastDevice {
		t.Errorf("a new device has the key %d; want above %d", device.Key, counters.LastDevice)
	}
	if first := archiveAppend(t, s, device.Key, 5); first <= counters.LastLog {
		t.Errorf("a new log has the number %d; want above %d", first, counters.LastLog)
	}
}

func archiveAudit(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	restoreAll(t, s, Everything(10)...)
	appendAudit(t, s, auditEntry(1), auditEntry(2))
	var head hearth.AuditHead
	for _, e := range auditAll(t, s) {
		if e.Seq != head.Seq+1 || e.PrevHash != head.Hash || e.Sum() != e.Hash {
			t.Fatalf("entry %d breaks the chain: %+v", e.Seq, e)
		}
		head = hearth.AuditHead{Seq: e.Seq, Hash: e.Hash}
	}
	if stored, err := s.AuditHead(t.Context()); err != nil || stored != head || head.Seq != 32 {
		t.Errorf("the head is %+v, %v; want %+v of 32 entries", stored, err, head)
	}
}

func archiveAuditGap(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	mark := beginRestore(t, s)
	parts := Everything(10)
	entries := parts[len(parts)-2].Audit
	wrong := slices.Concat(entries[:3], entries[4:5])
	if err := s.RestorePart(t.Context(), ArchivePart{Audit: wrong}.Part(), mark); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("a gap in the audit gives %v; want %s", err, hearth.CodeConflict)
	}
}

func archiveStrayLog(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	mark := beginRestore(t, s)
	part := ArchivePart{Logs: []hearth.LogEntry{{Device: 5, Event: "e", At: 1, Seq: 1}}}
	if err := s.RestorePart(t.Context(), part.Part(), mark); hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("a log of no device gives %v; want %s", err, hearth.CodeConflict)
	}
}

func archiveRollups(t *testing.T, open func(*testing.T) ArchiveStore) {
	before := open(t)
	keys := []int64{archiveDevice(t, before, 1).Key, archiveDevice(t, before, 2).Key}
	for i := range 6 {
		archiveAppend(t, before, keys[i%2], 3700) // values are quarters: sums are exact in any order
	}
	after := open(t)
	restoreAll(t, after, slices.Collect(splitParts(t, before))...)
	all := hearth.Reach{All: true}
	for _, span := range []hearth.Span{
		{From: epoch.Add(-time.Hour), To: epoch.Add(24 * time.Hour)}, {From: epoch.Add(7 * time.Minute), To: epoch.Add(50 * time.Minute)},
	} {
		query := hearth.RollupQuery{Reach: all, Span: span, Groupings: []hearth.Grouping{
			{Sketch: true}, {ByDevice: true, ByEvent: true, Step: hearth.StepHour, Sketch: true}, {Step: hearth.StepDay}, {Step: hearth.StepMinute},
		}}
		want, err := before.Rollups(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := after.Rollups(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		if len(want[0]) == 0 {
			t.Fatal("there is nothing to compare")
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("rollups differ (-before +after):\n%s", diff)
		}
	}
	wantCount, err := before.CountLogs(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := after.CountLogs(t.Context(), all); err != nil || n != wantCount {
		t.Errorf("%d logs are counted, %v; want %d", n, err, wantCount)
	}
}

func archiveStops(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	restoreAll(t, s, Everything(10)...)
	for _, err := range s.Archive(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	archiveAppend(t, s, archiveDevice(t, s, 1).Key, 5) // nothing is held
}

func archiveWithoutMark(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	err := s.RestorePart(t.Context(), Everything(2)[1].Part(), archive.Restore{Source: restoreSource})
	if hearth.ErrorCode(err) != hearth.CodeConflict {
		t.Errorf("RestorePart without a mark gives %v; want %s", err, hearth.CodeConflict)
	}
	if all := archived(t, s); len(all.Users) != 0 {
		t.Errorf("%d users were stored", len(all.Users))
	}
}

func archiveMark(t *testing.T, open func(*testing.T) ArchiveStore) {
	s := open(t)
	if _, err := s.Restoring(t.Context()); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("Restoring of a new store gives %v; want %s", err, hearth.CodeNotFound)
	}
	beginRestore(t, s)
	if mark, err := s.Restoring(t.Context()); err != nil || mark.Source != restoreSource || !mark.StartedAt.Equal(epoch) {
		t.Errorf("Restoring gives %+v, %v", mark, err)
	}
	if err := s.EndRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restoring(t.Context()); hearth.ErrorCode(err) != hearth.CodeNotFound {
		t.Errorf("Restoring after the end gives %v; want %s", err, hearth.CodeNotFound)
	}
}

// archiveAuditTrim: what an archive has of entries that a trimming names, because they were not removed yet, is there until the restoring ends.
func archiveAuditTrim(t *testing.T, open func(*testing.T) ArchiveStore) {
	const named = 2
	from := open(t)
	for n := range named + 2 {
		appendAudit(t, from, auditEntry(n+1))
	}
	trimmed := auditAll(t, from)[named-1]
	appendAudit(t, from, hearth.TrimEntry(epoch, hearth.AuditHead{Seq: trimmed.Seq, Hash: trimmed.Hash}))
	part := ArchivePart{Audit: auditAll(t, from)}
	to := open(t)
	mark := beginRestore(t, to)
	if err := to.RestorePart(t.Context(), part.Part(), mark); err != nil {
		t.Fatal(err)
	}
	if got := archived(t, to); len(got.Audit) != len(part.Audit) {
		t.Errorf("the store that is restored has %d entries, want %d", len(got.Audit), len(part.Audit))
	}
	if err := to.EndRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
}
