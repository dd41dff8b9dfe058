package bridge

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"hearth"
	"hearth/internal/core/devices"
	"hearth/internal/core/telemetry"
	"hearth/internal/dialect"
	"hearth/internal/newid"
)

// batch is what messages say, to be stored in one step.
type batch struct {
	// timed logs have a time of their own, and are stored once however often they come.
	timed, untimed logs
}

// logs are those of several devices.
type logs struct {
	devices []string
	index   map[string]int64
	entries []hearth.LogEntry
}

func (l *logs) add(device string, e hearth.LogEntry) {
	if l.index == nil {
		l.index = map[string]int64{}
	}
	at, ok := l.index[device]
	if !ok {
		at = int64(len(l.devices))
		l.index[device], l.devices = at, append(l.devices, device)
	}
	e.Device = at
	l.entries = append(l.entries, e)
}

// handle stores what messages say and acknowledges them. An error ends the connection: the broker sends again what is not acknowledged.
func (r *broker) handle(ctx context.Context, c *connection, messages []arrival) error {
	for len(messages) > 0 {
		var b batch
		n := 0
		for n < len(messages) && len(b.timed.entries)+len(b.untimed.entries) < hearth.MaxLogBatch/2 {
			if err := r.read(ctx, c, &b, &messages[n]); err != nil {
				return err
			}
			n++
		}
		for _, l := range []*logs{&b.timed, &b.untimed} {
			if err := r.ingest(ctx, l, l == &b.timed); err != nil {
				return err
			}
		}
		if err := c.acknowledge(messages[:n]); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// read does what one message says, but for its readings, which it adds to the batch.
func (r *broker) read(ctx context.Context, c *connection, b *batch, m *arrival) error {
	r.translating.Lock()
	result := r.translator.Read(m.Message, m.at)
	r.translating.Unlock()
	if len(result.Reports) > 0 || result.Problem != "" {
		r.b.metrics.messages.Inc()
		r.counting.Lock()
		r.counts.Messages++
		r.counting.Unlock()
	}
	if result.Problem != "" {
		r.refuse(hearth.CodeValidationFailed, m.Topic, result.Problem)
	}
	if len(result.Subscribe) > 0 { // what is answered comes by the goroutine that reads, which may wait for this one
		go func() {
			if err := r.subscribe(c, result.Subscribe); err != nil {
				c.end(err)
			}
		}()
	}
	for _, answer := range result.Publish {
		if _, err := c.publish(answer); err != nil {
			r.refuse(hearth.CodeUnavailable, answer.Topic, err.Error())
		}
	}
	for i := range result.Reports {
		report := &result.Reports[i]
		k, err := r.device(ctx, report)
		if err == nil && k != nil && !k.gone {
			err = r.report(ctx, b, k, report, m)
		}
		if err != nil && !permanent(err) {
			return err
		}
		if err != nil {
			r.refuse(hearth.ErrorCode(err), m.Topic, messageOf(err))
		}
	}
	return nil
}

// permanent reports whether an error is the message's fault: sent again, it would fail again.
func permanent(err error) bool {
	switch hearth.ErrorCode(err) { //nolint:exhaustive // the others pass
	case hearth.CodeMalformedBody, hearth.CodeValidationFailed, hearth.CodeForbidden, hearth.CodeNotFound, hearth.CodeConflict:
		return true
	}
	return false
}

// attempt does something until it succeeds, fails for good, or ctx ends.
func attempt(ctx context.Context, do func() error) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := do()
		if err == nil || permanent(err) || ctx.Err() != nil {
			return err
		}
		wait(ctx, pause)
	}
}

// report does what a report of a device says.
func (r *broker) report(ctx context.Context, b *batch, k *known, report *dialect.Report, m *arrival) error {
	itself := hearth.Caller{DeviceID: k.id}
	for _, e := range report.Readings {
		switch {
		case e.At != 0:
			b.timed.add(k.id, e)
		case !m.Retained: // nobody says when a retained value was read
			e.At = m.at.UnixMilli()
			b.untimed.add(k.id, e)
		}
	}
	about := report.About
	if about == nil && report.State["power"] != nil && k.about.Type == "" {
		about = &dialect.About{Type: "switch"}
	}
	if about != nil && k.about != *about {
		if err := attempt(ctx, func() error { return r.describe(ctx, k, about) }); err != nil {
			return r.lost(k, err)
		}
		k.about = *about
	}
	if len(report.State) > 0 {
		patch, err := json.Marshal(report.State)
		if err == nil {
			err = attempt(ctx, func() error {
				_, err := r.b.o.Twins.Patch(ctx, itself, k.id, hearth.TwinReported, patch, nil)
				return err
			})
		}
		if err != nil {
			return r.lost(k, err)
		}
	}
	if report.Presence != dialect.Unknown {
		if err := attempt(ctx, func() error { return r.present(ctx, k, report.Presence == dialect.Online) }); err != nil {
			return r.lost(k, err)
		}
	}
	if report.Answer != nil {
		return attempt(ctx, func() error { return r.answered(ctx, k, report.Answer) })
	}
	return nil
}

// lost notes that a device is gone, if that is what an error says.
func (r *broker) lost(k *known, err error) error {
	if hearth.ErrorCode(err) != hearth.CodeNotFound {
		return err
	}
	r.forget(k)
	return nil
}

// forget has a device that users deleted not come back.
func (r *broker) forget(k *known) {
	k.gone = true
	delete(r.kept, k.id)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, k.id)
	if end := r.follows[k.id]; end != nil {
		end()
		delete(r.follows, k.id)
	}
}

// ingest stores logs. Those of devices that are gone are left out.
func (r *broker) ingest(ctx context.Context, l *logs, once bool) error {
	if len(l.entries) == 0 {
		return nil
	}
	err := r.appendLogs(ctx, l.devices, l.entries, once)
	if err == nil || !permanent(err) {
		return err
	}
	for at, device := range l.devices { // a device is gone
		var own []hearth.LogEntry
		for _, e := range l.entries {
			if e.Device == int64(at) {
				e.Device = 0
				own = append(own, e)
			}
		}
		if err := r.appendLogs(ctx, []string{device}, own, once); err != nil && !permanent(err) {
			return err
		} else if err != nil {
			r.dropped(ctx, device, err)
		}
	}
	return nil
}

// dropped notes that logs of a device could not be stored.
func (r *broker) dropped(ctx context.Context, device string, err error) {
	for _, k := range r.known {
		if k.id != device {
			continue
		}
		if _, missing := r.b.o.Devices.Device(ctx, r.caller, device); hearth.ErrorCode(missing) == hearth.CodeNotFound {
			r.forget(k)
			return
		}
	}
	r.refuse(hearth.ErrorCode(err), "", messageOf(err))
}

func (r *broker) appendLogs(ctx context.Context, ids []string, entries []hearth.LogEntry, once bool) error {
	err := attempt(ctx, func() error {
		_, err := r.b.o.Telemetry.Ingest(ctx, r.caller, telemetry.Batch{Devices: ids, Entries: slices.Clone(entries), SkipDuplicates: once})
		return err
	})
	if err == nil {
		r.b.metrics.readings.Add(float64(len(entries)))
		r.counting.Lock()
		r.counts.Readings += int64(len(entries))
		r.counting.Unlock()
	}
	return err
}

// messageOf returns an error in words for users.
func messageOf(err error) string {
	known, ok := err.(*hearth.Error) //nolint:errorlint // those of capabilities are not wrapped
	if !ok {
		return "the message cannot be stored"
	}
	if len(known.Fields) > 0 {
		return known.Fields[0].Location + " " + known.Fields[0].Message
	}
	return known.Message
}

// hearthText returns the beginning of a text that may be kept.
func hearthText(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", "")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// learn notes which devices there are.
func (r *broker) learn(ctx context.Context, links []hearth.IntegrationDevice) error {
	const each = 500
	for part := range slices.Chunk(links, each) {
		ids := make([]string, len(part))
		for i, link := range part {
			ids[i] = link.DeviceID
		}
		found, err := r.b.o.Devices.Resolve(ctx, r.caller, ids)
		if err != nil {
			return err
		}
		for i, link := range part {
			r.enter(link, found[i] == nil)
		}
	}
	return nil
}

// enter notes a device of the integration.
func (r *broker) enter(link hearth.IntegrationDevice, gone bool) *known {
	at := address{link.Dialect, link.Address}
	k := &known{id: link.DeviceID, gone: gone}
	r.known[at] = k
	if gone {
		return k
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[k.id] = at
	r.follows[k.id] = r.b.o.Commands.Follow(k.id, func() { r.due.add(k.id, dueNow{commands: true}) })
	return k
}

// device returns the device of a report, and makes it if it is new; nil where there is none to be made.
func (r *broker) device(ctx context.Context, report *dialect.Report) (*known, error) {
	at := address{report.Dialect, report.Device}
	if k := r.known[at]; k != nil || report.Known {
		return k, nil
	}
	if k, err := r.itsOwn(ctx, at); k != nil || err != nil {
		return k, err
	}
	const longest = 512
	if report.Device == "" || len(report.Device) > longest || !utf8.ValidString(report.Device) || strings.ContainsRune(report.Device, 0) {
		return nil, hearth.Errorf(hearth.CodeValidationFailed, "the address of a device is empty, too long or not UTF-8")
	}
	link := hearth.IntegrationDevice{
		DeviceID: newid.Of(r.i.CreatedAt, r.i.ID+"\n"+report.Dialect+"\n"+report.Device), IntegrationID: r.i.ID, Dialect: report.Dialect,
		Address: report.Device, CreatedAt: hearth.Millis(r.now()),
	}
	gone := false
	err := attempt(ctx, func() error {
		_, err := r.b.o.Store.IntegrationDevice(ctx, link.DeviceID)
		if hearth.ErrorCode(err) == hearth.CodeNotFound {
			return r.make(ctx, link, report)
		}
		if err != nil {
			return err
		}
		_, err = r.b.o.Devices.Device(ctx, r.caller, link.DeviceID) // another instance made it
		if gone = hearth.ErrorCode(err) == hearth.CodeNotFound; gone {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.enter(link, gone), nil
}

// itsOwn returns the device whose id is the address in the dialect JSON, or nil: a device of hearth that reports over an external broker. An
// integration of an organization has the organization's devices alone.
func (r *broker) itsOwn(ctx context.Context, at address) (*known, error) {
	if isID := uuid.Validate(at.device) == nil; at.dialect != hearth.DialectJSON || !isID {
		return nil, nil //nolint:nilnil // no device is a value
	}
	var found []*hearth.Device
	err := attempt(ctx, func() (err error) {
		found, err = r.b.o.Devices.Resolve(ctx, r.caller, []string{at.device})
		return err
	})
	if err != nil || found[0] == nil || r.i.OrganizationID != "" && found[0].Scope() != r.i.Scope() {
		return nil, err
	}
	return r.enter(hearth.IntegrationDevice{DeviceID: found[0].ID, Dialect: at.dialect, Address: at.device}, false), nil
}

// make makes a device. That it was made is stored next: a crash in between makes the same one again.
func (r *broker) make(ctx context.Context, link hearth.IntegrationDevice, report *dialect.Report) error {
	about := dialect.About{}
	if report.About != nil {
		about = *report.About
	}
	kind := about.Type
	switch {
	case kind != "":
	case report.State["power"] != nil:
		kind = "switch"
	case len(report.Readings) > 0:
		kind = "sensor"
	default:
		kind = "device"
	}
	metadata, err := json.Marshal(described(map[string]any{"dialect": link.Dialect, "address": link.Address}, about))
	if err != nil {
		return err
	}
	name := about.Name
	if strings.TrimSpace(name) == "" {
		name = link.Address
	}
	made := devices.NewDevice{
		ID: link.DeviceID, Name: shortened(name, hearth.MaxDeviceName), Type: shortened(kind, hearth.MaxDeviceType), Metadata: metadata,
		Interval: quietInterval, OrganizationID: r.i.OrganizationID,
	}
	_, err = r.b.o.Devices.Create(ctx, r.caller, made, nil)
	isNew := err == nil
	if err != nil && hearth.ErrorCode(err) != hearth.CodeConflict {
		return err
	}
	if err := r.b.o.Store.AddIntegrationDevice(ctx, link); err != nil {
		return err
	}
	if isNew {
		r.counting.Lock()
		r.counts.Devices++
		r.counting.Unlock()
	}
	return nil
}

// quietInterval is the heartbeat interval of devices that their broker does not call online or offline, in seconds: some report once an hour.
const quietInterval = 1200

// shortened returns the beginning of a text that a field of a device may have.
func shortened(text string, most int) string {
	runes := []rune(strings.ReplaceAll(strings.ToValidUTF8(text, "�"), "\x00", ""))
	return string(runes[:min(len(runes), most)])
}

// described returns metadata with what a device says of itself.
func described(metadata map[string]any, about dialect.About) map[string]any {
	for name, value := range map[string]string{
		"manufacturer": about.Manufacturer, "model": about.Model, "sw_version": about.Version, "area": about.Area,
	} {
		if value != "" {
			metadata[name] = shortened(value, maxText)
		}
	}
	return metadata
}

// describe changes a device as it says of itself. A name and a type that users gave stay.
func (r *broker) describe(ctx context.Context, k *known, about *dialect.About) error {
	device, err := r.b.o.Devices.Device(ctx, r.caller, k.id)
	if err != nil {
		return err
	}
	metadata := map[string]any{}
	if device.Metadata != nil {
		if err := json.Unmarshal(device.Metadata, &metadata); err != nil {
			return err
		}
	}
	address, _ := metadata["address"].(string)
	encoded, err := json.Marshal(described(metadata, *about))
	if err != nil {
		return err
	}
	change := devices.Change{Metadata: (*json.RawMessage)(&encoded)}
	if name := shortened(about.Name, hearth.MaxDeviceName); strings.TrimSpace(name) != "" && device.Name == shortened(address, hearth.MaxDeviceName) {
		change.Name = &name
	}
	if about.Type != "" && about.Type != "sensor" && (device.Type == "device" || device.Type == "sensor") {
		change.Type = &about.Type
	}
	_, err = r.b.o.Devices.Update(ctx, r.caller, k.id, change, nil)
	return err
}

// present notes that a device is online or offline.
func (r *broker) present(ctx context.Context, k *known, online bool) error {
	kept := r.kept[k.id]
	switch {
	case online && kept != nil:
		r.b.o.Devices.HeardFrom(kept)
		return nil
	case online:
		kept, err := r.b.o.Devices.Connect(ctx, hearth.Caller{DeviceID: k.id}, silence)
		if err != nil {
			return err
		}
		r.kept[k.id] = kept
		r.due.add(k.id, dueNow{missed: true, back: k.away})
		k.away = false
		return nil
	}
	k.away = true
	if kept == nil {
		device, err := r.b.o.Devices.Device(ctx, r.caller, k.id)
		if err != nil || device.Connection(r.now()) != hearth.Online {
			return err
		}
		if kept, err = r.b.o.Devices.Connect(ctx, hearth.Caller{DeviceID: k.id}, silence); err != nil {
			return err
		}
	}
	delete(r.kept, k.id)
	return r.b.o.Devices.Disconnect(ctx, true, kept)
}

// answered ends the command that an answer is of.
func (r *broker) answered(ctx context.Context, k *known, answer *dialect.Answer) error {
	itself := hearth.Caller{DeviceID: k.id}
	id := answer.CommandID
	if id == "" {
		pending, err := r.b.o.Commands.Pending(ctx, []string{k.id})
		if err != nil || pending[0] == 0 {
			return err
		}
		for seq := int64(0); id == ""; {
			c, err := r.b.o.Commands.After(ctx, itself, k.id, seq)
			if err != nil || c == nil {
				return err
			}
			if seq = c.Seq; answer.Matches(c.Name, c.Params) {
				id = c.ID
			}
		}
	}
	final := answer.CommandAnswer
	if !final.OK && strings.TrimSpace(final.Error) == "" {
		final.Error = "the device refused the command"
	}
	final.Error = shortened(final.Error, hearth.MaxCommandError)
	err := r.b.o.Commands.Answer(ctx, itself, k.id, id, final)
	if hearth.ErrorCode(err) == hearth.CodeNotFound { // the answer to another program's request
		return nil
	}
	return err
}
