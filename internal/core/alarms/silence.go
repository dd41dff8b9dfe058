package alarms

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"hearth"
	"hearth/internal/judge"
	"hearth/internal/newid"
	"hearth/internal/queue"
)

// Rules that watch for silence: which devices they watch, which signs of life count for them, and when hearth itself was down.

// lookTwice is when a rule looks again for devices that were made while other processes did not know the rule.
const lookTwice = 10 * time.Second

// watchPart is how many devices of a new rule are judged at once.
const watchPart = 32

// uptime is what this process knows of hearth's uptime.
type uptime struct {
	outages []hearth.Outage
	// known is up to when the outages are.
	known time.Time
}

// lifeOf returns what rules have to know of a device to judge its silence.
func (s *Service) lifeOf(d *hearth.Device) judge.Life {
	up := s.uptime.Load()
	return judge.Life{Created: d.CreatedAt, Heard: d.LastActiveAt, Until: d.OfflineAt, Outages: up.outages, Known: up.known}
}

// noteUptime notes again and again that hearth runs, while any rule watches for silence, until ctx ends.
func (s *Service) noteUptime(ctx context.Context) {
	ticker := time.NewTicker(aliveEvery)
	defer ticker.Stop()
	// Where this process starts, the next note of another one is due.
	for after := aliveEvery * 3 / 2; ; {
		err := s.alive(ctx, after)
		switch {
		case err == nil:
			after = outageAfter
		case ctx.Err() == nil:
			s.o.Logger.WarnContext(ctx, "that hearth runs could not be stored: silence is not judged", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// alive notes that hearth runs, unless another process has; a last note that is older than after means that none ran.
func (s *Service) alive(ctx context.Context, after time.Duration) error {
	rules, err := s.o.Rules.SilenceRules(ctx, 1)
	if err != nil {
		return err
	}
	up, err := s.o.Alarms.Uptime(ctx)
	if err != nil {
		return err
	}
	switch age := s.now().Sub(up.AliveAt); {
	case len(rules) == 0 && up.AliveAt.IsZero():
	case len(rules) == 0:
		up, err = s.o.Alarms.UpdateUptime(ctx, func(u hearth.Uptime) hearth.Uptime {
			u.AliveAt, u.Outages = time.Time{}, nil
			return u
		})
	case age < 0 || age >= aliveEvery:
		up, err = s.o.Alarms.UpdateUptime(ctx, func(u hearth.Uptime) hearth.Uptime { return aliveAt(u, s.now(), after) })
	}
	if err == nil {
		s.learnUptime(up)
	}
	return err
}

// readUptime learns of what is noted now.
func (s *Service) readUptime(ctx context.Context) error {
	up, err := s.o.Alarms.Uptime(ctx)
	if err == nil {
		s.learnUptime(up)
	}
	return err
}

func (s *Service) learnUptime(up hearth.Uptime) {
	known := s.now()
	if !up.AliveAt.IsZero() && known.Sub(up.AliveAt) > outageAfter {
		known = up.AliveAt // the next note says what came after
	}
	s.uptime.Store(&uptime{up.Outages, known})
}

// SilenceNote returns what makes the jobs that have rules watch devices which come into a scope, or are changed there; see
// hearth.SilenceNote.
func (s *Service) SilenceNote(ctx context.Context, scope hearth.Scope) (hearth.SilenceNote, error) {
	set, err := s.rulesOf(ctx, scope, false)
	if err != nil {
		return nil, err
	}
	return func(deviceIDs ...string) []hearth.OutboxJob {
		if !set.silence {
			return nil
		}
		return []hearth.OutboxJob{watchJob(watchPayload{DeviceIDs: deviceIDs}, s.now())}
	}, nil
}

// Heard is to be called before signs of life of devices are stored, with when each was heard before, and stored once they are: where an
// alarm of silence may be active, the device is judged.
func (s *Service) Heard(ctx context.Context, devices []*hearth.Device, before []time.Time) (stored func(), err error) {
	now := s.now()
	var signs []hearth.Unjudged
	for i, d := range devices {
		of, err := s.subjectOf(ctx, d)
		if err != nil {
			return nil, err
		}
		if of.offline > 0 && now.Sub(before[i]) >= of.offline {
			signs = append(signs, hearth.Unjudged{ID: newid.New(), DeviceID: d.ID, ReceivedAt: now})
		}
	}
	if len(signs) > 0 {
		err = s.o.Alarms.AddUnjudged(ctx, signs)
	}
	return func() { s.Wake(signs) }, err
}

// jobWatch is the kind of job that has rules watch devices for silence.
const jobWatch = "alarms.watch"

// watchPayload names a rule, all of whose devices are judged, or those of them that were made after a time; or it names devices.
type watchPayload struct {
	RuleID    string    `json:"rule_id,omitempty"`
	MadeAfter time.Time `json:"made_after,omitzero"`
	DeviceIDs []string  `json:"device_ids,omitempty"`
}

func watchJob(payload watchPayload, now time.Time) hearth.OutboxJob {
	data, err := json.Marshal(payload)
	if err != nil {
		panic("alarms: ids always encode: " + err.Error())
	}
	return hearth.OutboxJob{ID: queue.NewID(now), Kind: jobWatch, Queue: string(queue.Notification), Payload: data}
}

// watchJobs returns what has a new or changed rule watch its devices.
func watchJobs(r hearth.Rule, now time.Time) []hearth.OutboxJob {
	if !r.Enabled || r.Condition.Silence() == 0 {
		return nil
	}
	again := watchJob(watchPayload{RuleID: r.ID, MadeAfter: now.Add(-lookTwice)}, now)
	again.RunAt = now.Add(lookTwice)
	return []hearth.OutboxJob{watchJob(watchPayload{RuleID: r.ID}, now), again}
}

// watchSoon has some devices of a new or changed rule judged at once; the job judges all.
func (s *Service) watchSoon(ctx context.Context, rule hearth.Rule) {
	if len(watchJobs(rule, rule.UpdatedAt)) == 0 {
		return
	}
	left := hearth.MaxLimit
	err := s.eachDevice(context.WithoutCancel(ctx), rule, func(d hearth.Device) (bool, error) {
		s.work.add(d.ID)
		left--
		return left > 0, nil
	})
	if err != nil {
		s.o.Logger.WarnContext(ctx, "devices of a new rule are watched later", "rule", rule.ID, "err", err)
	}
}

func (s *Service) watchJob(ctx context.Context, task *queue.Task) error {
	var payload watchPayload
	if err := json.Unmarshal(task.Job.Payload, &payload); err != nil {
		return queue.Permanent(err)
	}
	if payload.RuleID == "" {
		ids := slices.Compact(slices.Sorted(slices.Values(payload.DeviceIDs)))
		for part := range slices.Chunk(ids, watchPart) {
			if err := s.judgeThese(ctx, part, true); err != nil {
				return err
			}
		}
		return nil
	}
	rule, err := s.o.Rules.Rule(ctx, payload.RuleID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err != nil || !rule.Enabled || rule.Condition.Silence() == 0 {
		return err
	}
	var ids []string
	judge := func() error {
		began := time.Now()
		err := s.judgeThese(ctx, ids, true)
		ids = ids[:0]
		select {
		case <-time.After(time.Since(began)): // others write meanwhile
		case <-ctx.Done():
		}
		return err
	}
	err = s.eachDevice(ctx, rule, func(d hearth.Device) (bool, error) { // the newest first
		if d.CreatedAt.Before(payload.MadeAfter) {
			return false, nil
		}
		if ids = append(ids, d.ID); len(ids) < watchPart {
			return true, nil
		}
		return true, judge()
	})
	if err != nil {
		return err
	}
	return judge()
}
