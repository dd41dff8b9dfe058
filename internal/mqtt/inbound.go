package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"hearth"
	"hearth/internal/core/telemetry"
	"hearth/internal/mqtt/packet"
	"hearth/internal/mqtt/thingsboard"
)

// kind is what an item of a session's queue is.
type kind uint8

const (
	// kindOther was published on a topic that is not the device's. kindEnd is the last item: the connection has ended. kindResume: the session
	// was there before. kindExpiry: the time for which it is kept has changed. kindAck: the device acknowledged a message. Those after it are what it published.
	kindOther kind = iota
	kindEnd
	kindSubscribe
	kindUnsubscribe
	kindResume
	kindExpiry
	kindAck
	kindLogs
	kindBeat
	kindReported
	kindResult
	// kindAsk is a request for attributes, kindCall a call of the server. kindConnect and kindDisconnect: a device behind the session's comes or goes.
	kindAsk
	kindCall
	kindConnect
	kindDisconnect
)

// itemSize is about what an item costs without its payload, in bytes.
const itemSize = 360

// item is something that was read.
type item struct {
	kind kind
	id   uint16 // of the packet; 0 at QoS 0
	size int    // about, in bytes
	// topic is where it was published, and wrong why it can never be stored.
	topic string
	wrong error
	// serial is that of the device behind the session's that it is about; "": the session's own. Entries of several have their index into serials.
	serial  string
	serials []string

	filters  []packet.Filter // of kindSubscribe
	topics   []string        // of kindUnsubscribe
	reason   packet.Reason   // of kindAck
	entries  []hearth.LogEntry
	timed    bool // entries have a time of their own
	status   hearth.DeviceStatus
	patch    json.RawMessage
	command  string
	number   int64 // of the command, where it has no id
	expiry   time.Duration
	answer   hearth.CommandAnswer
	ask      thingsboard.Ask
	answerTo string // the topic of the answer to kindAsk and kindCall
	// deviceType is that of a device that kindConnect makes.
	deviceType string
}

// received queues what the device published.
func (s *session) received(p packet.Publish) error {
	s.server.metrics.messages.Inc()
	if p.Alias != 0 {
		if err := s.alias(&p); err != nil {
			return err
		}
	}
	switch {
	case p.QoS > 1:
		return refuse(packet.QoSNotSupported, "QoS 2 is not supported")
	case p.Retain && s.version == packet.V5:
		return refuse(packet.RetainNotSupported, "messages are not retained")
	}
	one, more, ok := s.parse(p.Topic, p.Payload)
	if !ok {
		one.wrong = hearth.Errorf(hearth.CodeForbidden, "a device may not publish on this topic")
		s.push(one)
		return refuse(packet.NotAuthorized, "a device may not publish on this topic")
	}
	if len(more) == 0 {
		one.id = p.ID
	} else {
		more[len(more)-1].id = p.ID // it is acknowledged once all of it is stored
	}
	s.push(one)
	for i := range more {
		s.push(more[i])
	}
	return nil
}

// alias sets the topic that an alias stands for, or lets it stand for the packet's.
func (s *session) alias(p *packet.Publish) error {
	switch {
	case p.Alias > maxAliases:
		return refuse(packet.TopicAliasInvalid, "a topic alias is greater than 32")
	case p.Topic == "":
		if p.Topic = s.aliases[p.Alias]; p.Topic == "" {
			return refuse(packet.TopicAliasInvalid, "a topic alias stands for nothing")
		}
	case len(p.Topic) <= maxAliased:
		if s.aliases == nil {
			s.aliases = map[uint16]string{}
		}
		s.aliases[p.Alias] = p.Topic
	}
	return nil
}

// maxAliased is the longest topic that an alias stands for: longer ones are no device's.
const maxAliased = 256

// process stores what was read, in its order, and acknowledges it. It reports whether that was the end of the session.
func (s *session) process(batch []item) (ended bool) {
	for len(batch) > 0 {
		n := 1
		var err error
		switch first := &batch[0]; {
		case first.kind == kindEnd:
			s.mu.Lock()
			why := *s.stop
			s.mu.Unlock()
			s.finish(why)
			return true
		case first.wrong != nil:
			err = first.wrong
		case first.kind == kindSubscribe:
			err = s.subscribe(first.id, first.filters)
		case first.kind == kindUnsubscribe:
			err = s.unsubscribe(first.id, first.topics)
		case first.kind == kindResume:
			err = s.resubscribed()
		case first.kind == kindAck:
			err = s.acknowledged(first.id, first.reason, batch[1:])
		case first.kind == kindExpiry:
			s.expiry = first.expiry
			err = s.save()
		case first.kind == kindLogs:
			for n < len(batch) && batch[n].kind == kindLogs && batch[n].wrong == nil && batch[n].timed == first.timed {
				n++
			}
			err = s.logs(batch[:n])
			if n > 1 && permanent(err) { // one of them is at fault
				n = 1
				err = s.logs(batch[:1])
			}
		default:
			err = s.one(first)
		}
		if err != nil && !permanent(err) {
			s.giveUp(err)
			if batch = batch[len(batch)-1:]; batch[0].kind != kindEnd {
				return false // nothing of it is acknowledged
			}
			continue
		}
		s.acknowledge(batch[:n], err)
		batch = batch[n:]
	}
	return false
}

// permanent reports whether an error is the message's fault: sent again, it would fail again.
func permanent(err error) bool {
	switch hearth.ErrorCode(err) { //nolint:exhaustive // the others pass
	case hearth.CodeMalformedBody, hearth.CodeValidationFailed, hearth.CodeForbidden, hearth.CodeNotFound, hearth.CodeConflict,
		hearth.CodeQuotaExceeded:
		return true
	}
	return false
}

// logs stores the logs of several messages in one step.
func (s *session) logs(items []item) error {
	batch := logBatch{session: s, index: map[string]int64{}, timed: items[0].timed}
	for i := range items {
		if err := batch.add(&items[i]); err != nil {
			return err
		}
	}
	batch.limit()
	return batch.store()
}

// logBatch is what several messages have to be stored, of one device or more.
type logBatch struct {
	session *session
	timed   bool
	parties []*party
	index   map[string]int64 // of parties, by serial
	// messages and points count what is each device's. entries are those of a step each.
	messages, points []int
	steps            [][]hearth.LogEntry
}

// of returns the index of the device with that serial.
func (b *logBatch) of(serial string) (int64, error) {
	if at, ok := b.index[serial]; ok {
		return at, nil
	}
	p, err := b.session.party(serial, "", true)
	if err != nil {
		return 0, err
	}
	at := int64(len(b.parties))
	b.index[serial], b.parties = at, append(b.parties, p)
	b.messages, b.points = append(b.messages, 0), append(b.points, 0)
	return at, nil
}

// add adds a message. It is stored in one step.
func (b *logBatch) add(one *item) error {
	serials := one.serials
	if serials == nil {
		serials = []string{one.serial}
	}
	index := make([]int64, len(serials))
	for i, serial := range serials {
		at, err := b.of(serial)
		if err != nil {
			return err
		}
		index[i] = at
		b.messages[at]++
	}
	last := len(b.steps) - 1
	if last < 0 || len(b.steps[last])+len(one.entries) > hearth.MaxLogBatch {
		b.steps = append(b.steps, nil)
		last++
	}
	for _, entry := range one.entries {
		entry.Device = index[entry.Device]
		b.points[entry.Device]++
		b.steps[last] = append(b.steps[last], entry)
	}
	return nil
}

// limit waits until the devices may send what is in the batch.
func (b *logBatch) limit() {
	for i, p := range b.parties {
		b.session.limitOf(p, b.messages[i], b.points[i])
	}
}

// store stores what is in the batch. Entries that have a time of their own are stored once, however often the device sends them.
func (b *logBatch) store() error {
	s := b.session
	ids := make([]string, len(b.parties))
	for i, p := range b.parties {
		ids[i] = p.caller.DeviceID
	}
	for _, entries := range b.steps {
		if len(entries) == 0 {
			continue
		}
		err := s.attempt(func(ctx context.Context) (err error) {
			caller := s.own.caller
			if s.gateway {
				if caller, err = s.server.o.Devices.ForGateway(ctx, caller); err != nil {
					return err
				}
			}
			_, err = s.server.o.Telemetry.Ingest(ctx, caller, telemetry.Batch{
				Devices: ids, Entries: slices.Clone(entries), SkipDuplicates: b.timed, // it changes what it gets
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// one does what one message asks for.
func (s *session) one(m *item) error {
	p, err := s.party(m.serial, m.deviceType, m.kind != kindDisconnect)
	if m.kind == kindDisconnect && hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	s.limitOf(p, 1, 0)
	return s.attempt(func(ctx context.Context) error { return s.do(ctx, p, m) })
}

// do does what a message about a device asks for.
func (s *session) do(ctx context.Context, p *party, m *item) error {
	o, device := &s.server.o, p.caller.DeviceID
	switch m.kind { //nolint:exhaustive // process does the others
	case kindBeat:
		_, err := o.Devices.Heartbeat(ctx, p.caller, device, m.status)
		return err
	case kindReported:
		_, err := o.Twins.Patch(ctx, p.caller, device, hearth.TwinReported, m.patch, nil)
		return err
	case kindAsk:
		twin, err := o.Twins.Twin(ctx, p.caller, device)
		if err == nil {
			s.reply(p, m.answerTo, m.ask.Answer(twin.Desired, twin.Reported))
		}
		return err
	case kindCall:
		s.reply(p, m.answerTo, m.patch)
	case kindDisconnect:
		s.drop(ctx, p, true)
	case kindResult:
		if m.command == "" {
			return o.Commands.AnswerNumber(ctx, p.caller, device, m.number, m.answer)
		}
		return o.Commands.Answer(ctx, p.caller, device, m.command, m.answer)
	}
	return nil
}

// attempt does something until it succeeds or fails for good; a server that cannot do it has the time of patience to recover.
func (s *session) attempt(do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do(ctx)
		if err == nil || permanent(err) || ctx.Err() != nil {
			return err
		}
		if !s.pause(pause) {
			return err
		}
	}
}

// pause waits, and reports whether the session is still to go on.
func (s *session) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stopping:
	case <-s.server.ctx.Done():
	}
	return false
}

// limitOf waits until a device may send that many more messages and values; one behind a gateway has limits of its own, and the gateway one for all.
func (s *session) limitOf(p *party, messages, points int) {
	s.limit(classMessages, p.caller.Key(), messages)
	s.limit(classPoints, p.caller.Key(), points)
	if p != s.own {
		s.limit(classGateway, s.own.caller.Key(), messages)
	}
}

// limit waits until n more units of a class may be sent for a key. What the device sends meanwhile is not read.
func (s *session) limit(class, key string, n int) {
	limiter := s.server.o.Limiter
	for part := n; limiter != nil && n > 0; {
		wait, limit, err := limiter.Take(s.server.ctx, class, key, min(part, n))
		switch {
		case err != nil || limit == 0:
			return
		case wait == 0:
			n -= min(part, n)
		case min(part, n) > limit:
			part = limit // more at once is never allowed
		default:
			s.slowed(class)
			if !s.pause(wait) {
				return
			}
		}
	}
}

// slowed shows the device's users, once a minute, that a limit holds it back.
func (s *session) slowed(class string) {
	s.server.metrics.refused(refusedLimit)
	if now := time.Now(); now.Sub(s.slowedAt) > time.Minute {
		s.slowedAt = now
		s.failed("", &hearth.Error{Code: hearth.CodeRateLimited, Message: "the limit " + class + " holds the device back: messages are read more slowly"})
	}
}

// acknowledge acknowledges messages, which failed for good if err is set.
func (s *session) acknowledge(items []item, err error) {
	reason, text := packet.Success, ""
	if err != nil {
		reason, text = packet.PayloadFormatInvalid, s.reasonText(messageOf(err))
		if code := hearth.ErrorCode(err); code == hearth.CodeNotFound || code == hearth.CodeForbidden || code == hearth.CodeConflict {
			reason = packet.TopicNameInvalid
		}
		if hearth.ErrorCode(err) == hearth.CodeQuotaExceeded {
			reason = packet.QuotaExceeded
		}
		s.server.metrics.refused(refusedPayload)
		s.failed(items[0].topic, err)
	}
	var out []byte
	for i := range items {
		if items[i].kind > kindAck && items[i].id != 0 {
			out = packet.AppendPuback(out, s.version, items[i].id, reason, text)
		}
	}
	_ = s.conn.write(out)
}

// messageOf returns an error in words for devices and their users.
func messageOf(err error) string {
	if known, ok := errors.AsType[*hearth.Error](err); ok {
		if len(known.Fields) > 0 {
			return known.Fields[0].Location + " " + known.Fields[0].Message
		}
		return known.Message
	}
	return "the message cannot be stored"
}

// failed shows the device's users what could not be stored; of several a second, one.
func (s *session) failed(topic string, err error) {
	now := time.Now()
	if now.Sub(s.failedAt) < time.Second {
		return
	}
	s.failedAt = now
	if len(topic) > maxAliased {
		topic = strings.ToValidUTF8(topic[:maxAliased], "") + "…"
	}
	failure := hearth.DeviceError{Code: hearth.ErrorCode(err), Message: messageOf(err), Topic: topic, At: s.server.o.Clock.Now()}
	ctx, cancel := context.WithTimeout(s.server.ctx, patience)
	defer cancel()
	if err := s.server.o.Devices.Failed(ctx, s.own.caller.DeviceID, failure); err != nil && !permanent(err) {
		s.server.log.WarnContext(ctx, "what a device sent wrong was not stored", "device", s.own.caller.DeviceID, "err", err)
	}
}

// giveUp closes the connection because the server cannot store what was read: the device sends it again.
func (s *session) giveUp(err error) {
	s.server.metrics.refused(refusedUnavailable)
	s.server.log.Warn("a device is disconnected: what it sent cannot be stored now", "device", s.own.caller.DeviceID, "err", err)
	reason := packet.ServerBusy
	if hearth.ErrorCode(err) == hearth.CodeStorageFull {
		reason = packet.QuotaExceeded
	}
	s.end(ending{reason: reason, text: "the server cannot store messages now"})
}

// published stores a message without an acknowledgement: a will.
func (s *session) published(ctx context.Context, p packet.Publish) {
	one, _, ok := s.parse(p.Topic, p.Payload)
	err := one.wrong
	switch {
	case !ok || err != nil:
	case one.kind == kindLogs:
		err = s.logs([]item{one})
	default:
		err = s.one(&one)
	}
	if err != nil {
		s.failed(p.Topic, err)
		s.server.log.DebugContext(ctx, "a will was not stored", "device", s.own.caller.DeviceID, "err", err)
	}
}
