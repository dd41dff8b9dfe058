package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"hearth"
	"hearth/internal/audited"
	"hearth/internal/guardedhttp"
	"hearth/internal/queue"
)

const (
	// atOnce bounds the requests to one webhook that this process makes at once, inAll those to all.
	atOnce = 8
	inAll  = 2000
	// claimFor is how long a process has a line for one attempt: longer than that takes.
	claimFor = guardedhttp.SendTimeout + 5*time.Second
	// inARow is how many deliveries of a line go out before other lines of the webhook have their turn.
	inARow = 20
	// lookEvery is how often lines are looked for that no signal came for: another process left them, or the clock jumped.
	lookEvery = time.Second
	// stopTimeout is how long a stop waits for the requests under way.
	stopTimeout = 5 * time.Second
)

// retries are the pauses after the attempts that failed.
var retries = [hearth.MaxDeliveryAttempts - 1]time.Duration{ // never written to
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour,
	24 * time.Hour,
}

// pauseAfter returns how long to wait after so many failed attempts: up to a tenth longer than said, so that not all come at once.
func pauseAfter(tries int) time.Duration {
	pause := retries[min(tries, len(retries))-1]
	return pause + rand.N(pause/10)
}

// couriers are those at work, one for each webhook with lines.
type couriers struct {
	mu sync.Mutex
	// wakes are signalled when a line of the webhook may be due.
	wakes map[string]chan struct{}
	// hire starts a courier; nil while nothing is sent.
	hire func(webhookID string, wake chan struct{})
}

// wake has a courier look at the lines of a webhook.
func (c *couriers) wake(webhookID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hire == nil {
		return
	}
	wake := c.wakes[webhookID]
	if wake == nil {
		wake = make(chan struct{}, 1)
		c.wakes[webhookID] = wake
		c.hire(webhookID, wake)
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// leave ends the courier of a webhook, unless it was signalled meanwhile.
func (c *couriers) leave(webhookID string, wake chan struct{}) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(wake) > 0 {
		return false
	}
	delete(c.wakes, webhookID)
	return true
}

// close lets no courier begin any more.
func (c *couriers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hire = nil
}

// Start begins to make deliveries of events and to send them.
func (s *Service) Start() {
	s.startOnce.Do(func() {
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(context.Background())
		slots := make(chan struct{}, inAll)
		s.couriers.mu.Lock()
		s.couriers.hire = func(id string, wake chan struct{}) {
			s.running.Go(func() {
				(&courier{s: s, webhook: id, wake: wake, slots: slots, under: map[string]bool{}, done: make(chan string, atOnce)}).work(ctx)
			})
		}
		s.couriers.mu.Unlock()
		s.running.Go(func() { s.follow(ctx) })
		s.running.Go(func() { s.look(ctx) })
	})
}

// Stop ends what Start began: requests under way have some seconds to end. It may be called twice.
func (s *Service) Stop() {
	s.stopOnce.Do(func() {
		s.startOnce.Do(func() {}) // never started: nothing to cancel
		s.couriers.close()
		close(s.stopping)
		if s.cancel != nil {
			defer time.AfterFunc(stopTimeout, s.cancel).Stop()
			defer s.cancel()
		}
		s.running.Wait()
	})
}

// look hires couriers for webhooks with lines that are due, until the service stops.
func (s *Service) look(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stopping:
			return
		case <-timer.C:
		}
		start := time.Now()
		if s.clock.Seen(s.now()) {
			s.running.Go(func() { s.putBack(ctx) })
		}
		waiting, err := s.o.Store.WaitingWebhooks(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "webhooks with deliveries could not be looked for", "err", err)
		}
		now := s.now()
		for id, due := range waiting {
			if !due.After(now) {
				s.couriers.wake(id)
			}
		}
		timer.Reset(max(lookEvery, 20*time.Since(start))) // many lines take a while to look at
	}
}

// mostPutBack bounds the lines of one webhook that are looked at when the clock was put back.
const mostPutBack = 10_000

// putBack has the lines go on at once whose first delivery is of a time when the clock was ahead.
func (s *Service) putBack(ctx context.Context) {
	waiting, err := s.o.Store.WaitingWebhooks(ctx)
	var lines []hearth.DeliveryLine
	for id := range waiting {
		if err == nil {
			lines, err = s.o.Store.DeliveryLines(ctx, id, mostPutBack)
		}
		for _, line := range lines {
			if err == nil && line.NextAt.After(s.now()) {
				err = s.putBackLine(ctx, line)
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		s.clock.Forget()
		s.o.Logger.WarnContext(ctx, "deliveries of a time when the clock was ahead still wait", "err", err)
	}
}

func (s *Service) putBackLine(ctx context.Context, line hearth.DeliveryLine) error {
	d, err := s.o.Store.FirstDelivery(ctx, line.ID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	latest := d.CreatedAt
	for _, attempt := range d.Attempts {
		if attempt.At.After(latest) {
			latest = attempt.At
		}
	}
	now := s.now()
	if err != nil || !latest.After(now.Add(hearth.MaxSkew)) {
		return err
	}
	_, err = s.o.Store.ClaimLine(ctx, line, now)
	return err
}

// courier sends the deliveries of one webhook.
type courier struct {
	s       *Service
	webhook string
	wake    chan struct{}
	// slots are all couriers'. under are the lines that this one claims or has; done gets each that it has let go.
	slots chan struct{}
	under map[string]bool
	done  chan string
}

// work sends until no line of the webhook is due soon.
func (c *courier) work(ctx context.Context) {
	var lines sync.WaitGroup
	defer lines.Wait()
	for {
		next, err := c.begin(ctx, &lines)
		if err != nil {
			if ctx.Err() == nil {
				c.s.o.Logger.WarnContext(ctx, "deliveries of a webhook could not be read", "webhook", c.webhook, "err", err)
			}
			next = lookEvery
		}
		if len(c.under) == 0 && (next < 0 || next > lookEvery) && c.s.couriers.leave(c.webhook, c.wake) {
			return // it is looked for what is due later
		}
		if next < 0 || next > lookEvery {
			next = lookEvery
		}
		timer := time.NewTimer(next)
		select {
		case <-c.s.stopping:
			timer.Stop()
			return
		case <-c.wake:
		case <-timer.C:
		case id := <-c.done:
			delete(c.under, id)
		}
		timer.Stop()
	}
}

// begin begins lines that are due, as many as there is room for, and returns when the next one is: negative for none.
func (c *courier) begin(ctx context.Context, running *sync.WaitGroup) (next time.Duration, err error) {
	for len(c.done) > 0 {
		delete(c.under, <-c.done)
	}
	if len(c.under) == atOnce {
		return -1, nil
	}
	lines, err := c.s.o.Store.DeliveryLines(ctx, c.webhook, atOnce+1)
	if err != nil {
		return 0, err
	}
	now := c.s.now()
	for _, line := range lines {
		if c.under[line.ID] {
			continue
		}
		if wait := line.NextAt.Sub(now); wait > 0 {
			return wait, nil
		}
		if len(c.under) == atOnce {
			return -1, nil
		}
		select {
		case c.slots <- struct{}{}:
		default:
			return lookEvery / 10, nil
		}
		c.under[line.ID] = true
		running.Go(func() {
			c.carry(ctx, line)
			<-c.slots
			c.done <- line.ID
		})
	}
	return -1, nil
}

// carry claims a line and sends its deliveries, unless another process was first. Claims of several lines share a commit of the store.
func (c *courier) carry(ctx context.Context, line hearth.DeliveryLine) {
	until := c.s.now().Add(claimFor)
	claimed, err := c.s.o.Store.ClaimLine(ctx, line, until)
	switch {
	case err != nil && ctx.Err() == nil:
		c.s.o.Logger.WarnContext(ctx, "a line of deliveries could not be claimed", "webhook", c.webhook, "line", line.ID, "err", err)
		select {
		case <-time.After(lookEvery):
		case <-c.s.stopping:
		}
	case claimed:
		line.NextAt = until
		c.walk(ctx, line)
	}
}

// walk sends deliveries of a line that this process has claimed.
func (c *courier) walk(ctx context.Context, line hearth.DeliveryLine) {
	for range inARow {
		more, err := c.s.advance(ctx, &line)
		if err != nil && hearth.ErrorCode(err) != hearth.CodeConflict && ctx.Err() == nil {
			c.s.o.Logger.WarnContext(ctx, "a delivery could not go on: it does when the claim of its line is over",
				"webhook", c.webhook, "line", line.ID, "err", err)
		}
		if err != nil || !more {
			return
		}
		select {
		case <-c.s.stopping:
			c.release(ctx, line)
			return
		default:
		}
	}
	c.release(ctx, line)
}

// release lets others have a line at once.
func (c *courier) release(ctx context.Context, line hearth.DeliveryLine) {
	if _, err := c.s.o.Store.ClaimLine(ctx, line, c.s.now()); err != nil && ctx.Err() == nil {
		c.s.o.Logger.WarnContext(ctx, "a line of deliveries could not be released", "webhook", c.webhook, "line", line.ID, "err", err)
	}
}

// advance attempts the first delivery of a line, and reports whether there is another one in it, for which it holds the line.
func (s *Service) advance(ctx context.Context, line *hearth.DeliveryLine) (more bool, err error) {
	d, err := s.o.Store.FirstDelivery(ctx, line.ID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return false, s.o.Store.DropLine(ctx, *line)
	}
	if err != nil {
		return false, err
	}
	w, err := s.o.Store.Webhook(ctx, d.WebhookID)
	if hearth.ErrorCode(err) == hearth.CodeNotFound { // deleted while this was on its way
		w, err = hearth.Webhook{}, nil
	}
	if err != nil {
		return false, err
	}
	if !w.Enabled && d.Event != hearth.WebhookTest || w.ID == "" {
		end(&d, hearth.DeliveryFailed, hearth.DeliveryAttempt{At: s.now(), Error: "the webhook is not enabled"})
		return s.endAttempt(ctx, line, d)
	}
	out, err := s.attempt(ctx, w, d)
	if err != nil {
		return false, err
	}
	s.judge(&d, out)
	if more, err = s.endAttempt(ctx, line, d); err != nil {
		return false, err
	}
	s.attempts[d.State].Add(1)
	if err := s.note(ctx, w, out); err != nil && ctx.Err() == nil {
		s.o.Logger.WarnContext(ctx, "what came of a delivery was not noted of its webhook", "webhook", w.ID, "err", err)
	}
	return more, nil
}

func (s *Service) endAttempt(ctx context.Context, line *hearth.DeliveryLine, d hearth.WebhookDelivery) (more bool, err error) {
	until := s.now().Add(claimFor)
	more, err = s.o.Store.EndAttempt(ctx, *line, d, until)
	line.NextAt = until
	return more, err
}

// attempt makes one request. An error says that none was made.
func (s *Service) attempt(ctx context.Context, w hearth.Webhook, d hearth.WebhookDelivery) (guardedhttp.Outcome, error) {
	now := s.now()
	sealed := [][]byte{w.Secret}
	if now.Before(w.OldSecretUntil) {
		sealed = append(sealed, w.OldSecret)
	}
	secrets := make([][]byte, len(sealed))
	for i, secret := range sealed {
		var err error
		if secrets[i], err = s.o.Sealer.Open(secret); err != nil {
			s.o.Logger.ErrorContext(ctx, "the secret of a webhook cannot be opened: rotate it", "webhook", w.ID, "err", err)
			return guardedhttp.Outcome{DeliveryAttempt: hearth.DeliveryAttempt{At: now, Error: "the secret cannot be opened: rotate it"}}, nil
		}
	}
	request := guardedhttp.Request{URL: w.URL, Body: d.Body, Header: guardedhttp.Sign(d.ID, now, d.Body, secrets...)}
	out := s.o.Client.Post(ctx, request, now)
	return out, ctx.Err()
}

// judge makes of a delivery what came of an attempt.
func (s *Service) judge(d *hearth.WebhookDelivery, out guardedhttp.Outcome) {
	d.Tries++
	switch {
	case out.Succeeded():
		end(d, hearth.DeliverySucceeded, out.DeliveryAttempt)
		return
	case out.Status == gone, d.Tries >= hearth.MaxDeliveryAttempts:
		end(d, hearth.DeliveryFailed, out.DeliveryAttempt)
		return
	}
	keep(d, out.DeliveryAttempt)
	now := s.now()
	s.clock.Note(now)
	d.NextAt = now.Add(max(pauseAfter(d.Tries), out.RetryAfter)).Truncate(time.Millisecond)
	if d.Tries >= hearth.OrderedAttempts { // the next ones of its device go first
		d.Line = lineOf(d.WebhookID, d.ID)
	}
}

// gone is the status of a receiver that wants no more deliveries.
const gone = 410

// end ends a delivery after an attempt.
func end(d *hearth.WebhookDelivery, state hearth.DeliveryState, a hearth.DeliveryAttempt) {
	keep(d, a)
	d.State, d.NextAt, d.EndedAt = state, time.Time{}, a.At.Add(a.Took).Truncate(time.Millisecond)
}

// keep adds an attempt to those that are kept of a delivery.
func keep(d *hearth.WebhookDelivery, a hearth.DeliveryAttempt) {
	a.Took = a.Took.Truncate(time.Millisecond)
	d.Attempts = append(d.Attempts, a)
	d.Attempts = d.Attempts[max(0, len(d.Attempts)-hearth.MaxDeliveryAttempts):]
}

// note makes of a webhook what came of an attempt: one that fails for long, or whose receiver is gone, is disabled.
func (s *Service) note(ctx context.Context, w hearth.Webhook, out guardedhttp.Outcome) error {
	var change func(hearth.Webhook) (hearth.Webhook, error)
	var effects hearth.SideEffects
	failing := func(w hearth.Webhook) bool {
		return !w.FailingSince.IsZero() && out.At.Sub(w.FailingSince) >= hearth.MaxFailing
	}
	switch {
	case !w.Enabled:
	case out.Succeeded() && !w.FailingSince.IsZero():
		change = func(w hearth.Webhook) (hearth.Webhook, error) {
			w.FailingSince = time.Time{}
			return w, nil
		}
	case out.Succeeded():
	case out.Status == gone, failing(w):
		reason := hearth.WebhookFailing
		if out.Status == gone {
			reason = hearth.WebhookGone
		}
		now := s.now()
		effects.Audit = []hearth.AuditEntry{{
			At: now, ActorID: "system", Action: "webhook.disable", Target: "webhook:" + w.ID, Result: "ok",
			Changes: map[string]hearth.Change{"reason": {After: reason}},
		}}
		notice, err := json.Marshal(hearth.WebhookNotice{
			WebhookID: w.ID, Name: w.Name, UserID: w.UserID, OrganizationID: w.OrganizationID, Reason: reason, At: now,
		})
		if err != nil {
			return err
		}
		effects.Jobs = []hearth.OutboxJob{{
			ID: queue.NewID(now), Kind: hearth.JobWebhookDisabled, Queue: string(queue.Notification), Payload: notice,
		}}
		change = func(w hearth.Webhook) (hearth.Webhook, error) {
			if !w.Enabled || out.Status != gone && !failing(w) {
				return w, audited.ErrUnchanged
			}
			w.Enabled, w.DisabledReason, w.UpdatedAt = false, reason, now
			w.Version++
			return w, nil
		}
	case w.FailingSince.IsZero():
		change = func(w hearth.Webhook) (hearth.Webhook, error) {
			if !w.FailingSince.IsZero() {
				return w, audited.ErrUnchanged
			}
			w.FailingSince = out.At
			return w, nil
		}
	}
	if change == nil {
		return nil
	}
	_, err := s.o.Store.UpdateWebhook(ctx, w.ID, change, effects)
	if errors.Is(err, audited.ErrUnchanged) || hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	return err
}
