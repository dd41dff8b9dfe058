package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"hearth"
	"hearth/internal/core/telemetry"
	"hearth/internal/mqtt/packet"
)

// kind is what an item of a session's queue is.
type kind uint8

const (
	// kindOther was published on a topic that is not the device's. kindEnd is the last item: the connection has ended. kindAck: the device
	// acknowledged a message. The others are what it published.
	kindOther kind = iota
	kindEnd
	kindAck
	kindLogs
	kindBeat
	kindReported
	kindResult
)

// itemSize is about what an item costs without its payload, in bytes.
const itemSize = 160

// item is something that was read.
type item struct {
	kind kind
	id   uint16 // of the packet; 0 at QoS 0
	size int    // about, in bytes
	// topic is where it was published, and wrong why it can never be stored.
	topic string
	wrong error

	reason  packet.Reason // of kindAck
	entries []hearth.LogEntry
	timed   bool // entries have a time of their own
	status  hearth.DeviceStatus
	patch   json.RawMessage
	command string
	answer  hearth.CommandAnswer
}

// willing reports whether a will may be published on the topic.
func willing(topic string) bool {
	_, value := strings.CutPrefix(topic, "t/")
	return topic == "t" || topic == "h" || topic == "r" || value
}

// parse reads what was published on a topic; ok is false for a topic that is not the device's to publish on. The item keeps nothing of payload.
func (s *Server) parse(topic string, payload []byte) (one item, ok bool) {
	one = item{topic: topic}
	now := s.o.Clock.Now().UnixMilli()
	event, isValue := strings.CutPrefix(topic, "t/")
	command, isResult := strings.CutPrefix(topic, "c/")
	switch {
	case topic == "t":
		one.kind = kindLogs
		one.entries, one.timed, one.wrong = s.readers.telemetry(payload, now)
	case isValue:
		one.kind = kindLogs
		entry, stored, err := plain(event, payload, now)
		if one.wrong = err; err == nil && stored {
			one.entries = []hearth.LogEntry{entry}
		}
	case topic == "h":
		one.kind = kindBeat
		one.status, one.wrong = status(payload)
	case topic == "r":
		one.kind = kindReported
		one.patch, one.wrong = bytes.Clone(payload), strict(payload)
	case isResult:
		one.kind, one.command = kindResult, command
		one.answer, one.wrong = answer(payload)
	default:
		return one, false
	}
	const perEntry = 64
	one.size = itemSize + len(topic) + len(one.patch) + len(one.answer.Result) + perEntry*len(one.entries)
	return one, true
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
	one, ok := s.server.parse(p.Topic, p.Payload)
	if !ok {
		one.wrong = hearth.Errorf(hearth.CodeForbidden, "a device may not publish on this topic")
		s.push(one)
		return refuse(packet.NotAuthorized, "a device may not publish on this topic")
	}
	one.id = p.ID
	s.push(one)
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
	total := 0
	for i := range items {
		total += len(items[i].entries)
	}
	s.limit(classMessages, len(items))
	s.limit(classPoints, total)
	entries := make([]hearth.LogEntry, 0, min(total, hearth.MaxLogBatch))
	for i := range items {
		if len(entries) > 0 && len(entries)+len(items[i].entries) > hearth.MaxLogBatch {
			if err := s.ingest(entries, items[0].timed); err != nil {
				return err
			}
			entries = entries[:0:0]
		}
		entries = append(entries, items[i].entries...)
	}
	if len(entries) == 0 {
		return nil
	}
	return s.ingest(entries, items[0].timed)
}

// ingest stores entries. Those that have a time of their own are stored once, however often the device sends them.
func (s *session) ingest(entries []hearth.LogEntry, once bool) error {
	return s.attempt(func(ctx context.Context) error {
		_, err := s.server.o.Telemetry.Ingest(ctx, s.caller, telemetry.Batch{
			Devices: []string{s.caller.DeviceID}, Entries: slices.Clone(entries), SkipDuplicates: once, // it changes what it gets
		})
		return err
	})
}

// one does what one message asks for.
func (s *session) one(m *item) error {
	o := &s.server.o
	if m.kind == kindAck {
		return s.acknowledged(m.id, m.reason)
	}
	s.limit(classMessages, 1)
	return s.attempt(func(ctx context.Context) error {
		switch m.kind { //nolint:exhaustive // process does the others
		case kindBeat:
			_, err := o.Devices.Heartbeat(ctx, s.caller, s.caller.DeviceID, m.status)
			return err
		case kindReported:
			_, err := o.Twins.Patch(ctx, s.caller, s.caller.DeviceID, hearth.TwinReported, m.patch, nil)
			return err
		default:
			return o.Commands.Answer(ctx, s.caller, s.caller.DeviceID, m.command, m.answer)
		}
	})
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

// limit waits until the device may send n more units of a class. What the device sends meanwhile is not read.
func (s *session) limit(class string, n int) {
	limiter := s.server.o.Limiter
	for part := n; limiter != nil && n > 0; {
		wait, limit, err := limiter.Take(s.server.ctx, class, s.caller.Key(), min(part, n))
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
	if err := s.server.o.Devices.Failed(ctx, s.caller.DeviceID, failure); err != nil && !permanent(err) {
		s.server.log.WarnContext(ctx, "what a device sent wrong was not stored", "device", s.caller.DeviceID, "err", err)
	}
}

// giveUp closes the connection because the server cannot store what was read: the device sends it again.
func (s *session) giveUp(err error) {
	s.server.metrics.refused(refusedUnavailable)
	s.server.log.Warn("a device is disconnected: what it sent cannot be stored now", "device", s.caller.DeviceID, "err", err)
	reason := packet.ServerBusy
	if hearth.ErrorCode(err) == hearth.CodeStorageFull {
		reason = packet.QuotaExceeded
	}
	s.end(ending{reason: reason, text: "the server cannot store messages now"})
}

// published stores a message without an acknowledgement: a will.
func (s *session) published(ctx context.Context, p packet.Publish) {
	one, ok := s.server.parse(p.Topic, p.Payload)
	err := one.wrong
	switch {
	case !ok || err != nil:
	case one.kind == kindLogs:
		if len(one.entries) > 0 {
			err = s.ingest(one.entries, one.timed)
		}
	default:
		err = s.one(&one)
	}
	if err != nil {
		s.failed(p.Topic, err)
		s.server.log.DebugContext(ctx, "a will was not stored", "device", s.caller.DeviceID, "err", err)
	}
}
