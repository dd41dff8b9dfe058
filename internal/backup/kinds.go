package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"

	"hearth"
)

// kind is how the records of one kind are written and read. The order of kinds is the order in an archive: what is named by
// others comes before them.
type kind struct {
	name string
	// count returns the number of records of a part, and drop takes the first n out of it.
	count func(*hearth.ArchivePart) int
	drop  func(part *hearth.ArchivePart, n int)
	// lines appends a part's records to dst, a line each, and adds them to the digest. nil for logs.
	lines func(dst []byte, part *hearth.ArchivePart, d *digest) ([]byte, error)
	// line reads one record into part.
	line func(line []byte, part *hearth.ArchivePart) error
}

// logStream is the name of the kind that is not lines.
const logStream = "logs"

func kinds() []kind {
	return []kind{
		lines("counters", func(p *hearth.ArchivePart) *[]hearth.StoreCounters { return &p.Counters },
			func(r hearth.StoreCounters) counters { return counters(r) }, func(r counters) hearth.StoreCounters { return hearth.StoreCounters(r) }),
		lines("users", func(p *hearth.ArchivePart) *[]hearth.User { return &p.Users },
			func(r hearth.User) user { return user(r) }, func(r user) hearth.User { return hearth.User(r) }),
		lines("login_tries", func(p *hearth.ArchivePart) *[]hearth.ArchivedTries { return &p.Tries },
			func(r hearth.ArchivedTries) tries { return tries{r.Key, r.Failed, r.LockedUntil, r.UpdatedAt} },
			func(r tries) hearth.ArchivedTries {
				return hearth.ArchivedTries{Key: r.Key, Tries: hearth.Tries{Failed: r.Failed, LockedUntil: r.LockedUntil, UpdatedAt: r.UpdatedAt}}
			}),
		lines("password_resets", func(p *hearth.ArchivePart) *[]hearth.PasswordReset { return &p.PasswordResets },
			func(r hearth.PasswordReset) passwordReset { return passwordReset(r) },
			func(r passwordReset) hearth.PasswordReset { return hearth.PasswordReset(r) }),
		lines("sessions", func(p *hearth.ArchivePart) *[]hearth.Session { return &p.Sessions },
			func(r hearth.Session) session { return session(r) }, func(r session) hearth.Session { return hearth.Session(r) }),
		lines("refresh_tokens", func(p *hearth.ArchivePart) *[]hearth.ArchivedRefreshToken { return &p.RefreshTokens },
			func(r hearth.ArchivedRefreshToken) refreshToken { return refreshToken(r) },
			func(r refreshToken) hearth.ArchivedRefreshToken { return hearth.ArchivedRefreshToken(r) }),
		lines("organizations", func(p *hearth.ArchivePart) *[]hearth.Organization { return &p.Organizations },
			func(r hearth.Organization) organization { return organization(r) },
			func(r organization) hearth.Organization { return hearth.Organization(r) }),
		lines("members", func(p *hearth.ArchivePart) *[]hearth.Member { return &p.Members },
			func(r hearth.Member) member { return member{r.OrganizationID, r.UserID, r.Role, r.JoinedAt} },
			func(r member) hearth.Member {
				return hearth.Member{OrganizationID: r.OrganizationID, UserID: r.UserID, Role: r.Role, JoinedAt: r.JoinedAt}
			}),
		lines("invitations", func(p *hearth.ArchivePart) *[]hearth.Invitation { return &p.Invitations },
			func(r hearth.Invitation) invitation { return invitation(r) }, func(r invitation) hearth.Invitation { return hearth.Invitation(r) }),
		lines("devices", func(p *hearth.ArchivePart) *[]hearth.Device { return &p.Devices }, writeDevice, readDevice),
		lines("device_tokens", func(p *hearth.ArchivePart) *[]hearth.DeviceToken { return &p.DeviceTokens },
			func(r hearth.DeviceToken) deviceToken { return deviceToken(r) }, func(r deviceToken) hearth.DeviceToken { return hearth.DeviceToken(r) }),
		lines("notifications", func(p *hearth.ArchivePart) *[]hearth.Notification { return &p.Notifications },
			func(r hearth.Notification) notification { return notification(r) },
			func(r notification) hearth.Notification { return hearth.Notification(r) }),
		lines("notification_settings", func(p *hearth.ArchivePart) *[]hearth.ArchivedSettings { return &p.Settings }, writeSettings, readSettings),
		lines("device_watches", func(p *hearth.ArchivePart) *[]hearth.DeviceWatch { return &p.Watches },
			func(r hearth.DeviceWatch) watch { return watch(r) }, func(r watch) hearth.DeviceWatch { return hearth.DeviceWatch(r) }),
		lines("export_schedules", func(p *hearth.ArchivePart) *[]hearth.ExportSchedule { return &p.Schedules }, writeSchedule, readSchedule),
		lines("exports", func(p *hearth.ArchivePart) *[]hearth.Export { return &p.Exports }, writeExport, readExport),
		lines("import_checkpoints", func(p *hearth.ArchivePart) *[]hearth.Checkpoint { return &p.Checkpoints },
			func(r hearth.Checkpoint) checkpoint { return checkpoint(r) }, func(r checkpoint) hearth.Checkpoint { return hearth.Checkpoint(r) }),
		lines("idempotency", func(p *hearth.ArchivePart) *[]hearth.IdempotencyRecord { return &p.Idempotency }, writeIdempotencyRecord, readOnce),
		lines("outbox", func(p *hearth.ArchivePart) *[]hearth.OutboxJob { return &p.Outbox },
			func(r hearth.OutboxJob) outboxJob { return outboxJob(r) }, func(r outboxJob) hearth.OutboxJob { return hearth.OutboxJob(r) }),
		lines("audit", func(p *hearth.ArchivePart) *[]hearth.AuditEntry { return &p.Audit }, writeAudit, readAudit),
		{
			name:  logStream,
			count: func(p *hearth.ArchivePart) int { return len(p.Logs) },
			drop:  func(p *hearth.ArchivePart, n int) { p.Logs = p.Logs[n:] },
		},
	}
}

// lines makes the kind of R, whose records are written as W.
func lines[R, W any](name string, of func(*hearth.ArchivePart) *[]R, to func(R) W, from func(W) R) kind {
	return kind{
		name:  name,
		count: func(p *hearth.ArchivePart) int { return len(*of(p)) },
		drop:  func(p *hearth.ArchivePart, n int) { *of(p) = (*of(p))[n:] },
		lines: func(dst []byte, p *hearth.ArchivePart, d *digest) ([]byte, error) {
			out := bytes.NewBuffer(dst)
			encoder := json.NewEncoder(out)
			encoder.SetEscapeHTML(false)
			for _, record := range *of(p) {
				start := out.Len()
				if err := encoder.Encode(to(record)); err != nil {
					return nil, err
				}
				d.add(out.Bytes()[start:])
			}
			return out.Bytes(), nil
		},
		line: func(line []byte, p *hearth.ArchivePart) error {
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			var record W
			if err := decoder.Decode(&record); err != nil {
				return damaged("a record of %s: %v", name, err)
			}
			*of(p) = append(*of(p), from(record))
			return nil
		},
	}
}

// add counts one record.
func (d *digest) add(record []byte) {
	sum := sha256.Sum256(record)
	d.records++
	d.low += binary.LittleEndian.Uint64(sum[:8])
	d.top += binary.LittleEndian.Uint64(sum[8:16])
}

// addLogs counts logs: time, number, device, value (8 bytes each, little-endian) and event.
func (d *digest) addLogs(entries []hearth.LogEntry) {
	var buffer [32 + hearth.MaxEvent]byte
	for i := range entries {
		e := &entries[i]
		binary.LittleEndian.PutUint64(buffer[0:], uint64(e.At))
		binary.LittleEndian.PutUint64(buffer[8:], e.Seq)
		binary.LittleEndian.PutUint64(buffer[16:], uint64(e.Device))
		binary.LittleEndian.PutUint64(buffer[24:], math.Float64bits(e.Value))
		d.add(buffer[:32+copy(buffer[32:], e.Event)])
	}
}
