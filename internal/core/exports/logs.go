package exports

import (
	"context"
	"errors"

	"hearth"
)

// logColumns are the names of a log's cells, in every format.
var logColumns = []string{"timestamp", "device_id", "device_name", "device_type", "event", "value"} // never written to

// checkEvery is how many rows pass between two looks at the context, and at the counter that others read.
const checkEvery = 1024

// maxKnown bounds the devices whose cells are kept.
const maxKnown = 100_000

// names returns the devices of a scan, asking for each once.
type names struct {
	ctx     context.Context //nolint:containedctx // it lives no longer than the scan
	devices Devices
	known   map[int64]*named
	text    *textRows
}

// named is a device as its logs' rows show it.
type named struct {
	id, name, kind string
	// cells are the device's three cells as they stand between timestamp and event.
	cells []byte
}

// of returns the device; nil for one that is gone, and whose logs go with it.
func (n *names) of(key int64) (*named, error) {
	if d, ok := n.known[key]; ok {
		return d, nil
	}
	found, err := n.devices.DevicesByKey(n.ctx, []int64{key})
	if err != nil {
		return nil, err
	}
	var d *named
	if len(found) > 0 {
		d = &named{id: found[0].ID, name: found[0].Name, kind: found[0].Type}
		if n.text != nil {
			d.cells = d.between(n.text)
		}
	}
	if len(n.known) >= maxKnown {
		clear(n.known)
	}
	n.known[key] = d
	return d, nil
}

// between returns the bytes from behind the timestamp to the event's first one.
func (d *named) between(text *textRows) []byte {
	if text.format == hearth.FormatCSV {
		out := append([]byte{text.style.separator}, d.id...)
		out = AppendCSVText(append(out, text.style.separator), d.name)
		out = AppendCSVText(append(out, text.style.separator), d.kind)
		return append(out, text.style.separator)
	}
	out := appendJSONText([]byte(`","device_id":`), d.id)
	out = appendJSONText(append(out, `,"device_name":`...), d.name)
	out = appendJSONText(append(out, `,"device_type":`...), d.kind)
	return append(out, `,"event":"`...)
}

// logRow is a log in a Parquet file.
type logRow struct {
	Timestamp  int64  `parquet:"timestamp,timestamp(millisecond),delta"`
	DeviceID   string `parquet:"device_id,dict"`
	DeviceName string `parquet:"device_name,dict"`
	DeviceType string `parquet:"device_type,dict"`
	Event      string `parquet:"event,dict"`
	// Value is 1 or 0 for a boolean, and 0 for a string.
	Value float64 `parquet:"value"`
	// ValueType is null for a number, ValueText for what is no string.
	ValueType string `parquet:"value_type,optional,dict"`
	ValueText string `parquet:"value_text,optional,dict"`
}

// scan says which logs the export is of.
func (r *running) scan(ctx context.Context) (hearth.LogScan, error) {
	e := r.export
	scan := hearth.LogScan{Reach: e.Reach, Span: e.Span()}
	if len(e.Filters.Events) > 0 {
		scan.Events = e.Filters.Events
	}
	if len(e.Filters.DeviceIDs) > 0 {
		devices, err := r.s.o.Devices.DevicesByID(ctx, e.Filters.DeviceIDs)
		if err != nil {
			return scan, err
		}
		scan.Devices = make([]int64, len(devices)) // not nil: the devices may be gone by now
		for i, d := range devices {
			scan.Devices[i] = d.Key
		}
	}
	return scan, nil
}

// countLogs returns how many logs the scan will find, as of now.
func (r *running) countLogs(ctx context.Context, scan hearth.LogScan) (total int64, err error) {
	if r.export.From.IsZero() && r.export.To.IsZero() && scan.Devices == nil && scan.Events == nil {
		return r.s.o.Logs.CountLogs(ctx, scan.Reach)
	}
	groups, err := r.s.o.Logs.Rollups(ctx, hearth.RollupQuery{
		Reach: scan.Reach, Devices: scan.Devices, Span: scan.Span, Groupings: []hearth.Grouping{{ByEvent: true}},
	})
	if err != nil {
		return 0, err
	}
	for _, group := range groups[0] {
		if wanted(scan.Events, group.Event) {
			total += group.Count
		}
	}
	return total, nil
}

// writeLogs writes the logs, oldest first.
func (r *running) writeLogs(ctx context.Context, out *sink) error {
	scan, err := r.scan(ctx)
	if err != nil {
		return err
	}
	total, err := r.countLogs(ctx, scan)
	if err != nil {
		return err
	}
	r.total.Store(total)
	r.enter(stepWriting)
	// The scan's connection is its own: asking for devices meanwhile needs another.
	devices := &names{ctx: ctx, devices: r.s.o.Devices, known: map[int64]*named{}}
	if r.export.Format == hearth.FormatParquet {
		return r.writeLogsParquet(ctx, out, scan, devices)
	}
	style, err := styleOf(r.export.CSV)
	if err != nil {
		return err
	}
	devices.text = newTextRows(r.export.Format, style, logColumns)
	return r.writeLogsText(ctx, out, scan, devices)
}

// writeLogsText is the hot loop: what is the same in every row of a device was encoded once, and nothing is allocated.
func (r *running) writeLogsText(ctx context.Context, out *sink, scan hearth.LogScan, devices *names) error {
	text := devices.text
	out.buf = text.begin(out.buf)
	isCSV, ndjson := r.export.Format == hearth.FormatCSV, r.export.Format == hearth.FormatNDJSON
	times := text.stamp
	var rows int64
	var last int64
	var device *named
	for entry, err := range r.s.o.Logs.ScanLogs(ctx, scan) {
		if err != nil {
			return err
		}
		if entry.Device != last || device == nil {
			if device, err = devices.of(entry.Device); err != nil {
				return err
			}
			last = entry.Device
		}
		if device == nil {
			continue
		}
		buf := out.buf
		if isCSV {
			buf = times.append(buf, entry.At)
			buf = append(buf, device.cells...)
			if entry.Event[0] == '-' { // the one character of an event's that begins a formula
				buf = append(buf, '\'')
			}
			buf = append(append(buf, entry.Event...), text.style.separator)
			buf = append(text.style.value(buf, entry.Value), '\r', '\n')
		} else {
			buf = times.append(append(text.between(buf), `{"timestamp":"`...), entry.At)
			buf = append(append(buf, device.cells...), entry.Event...)
			buf = append(appendJSON(append(buf, `","value":`...), entry.Value), '}')
			if ndjson {
				buf = append(buf, '\n')
			}
		}
		out.buf = buf
		rows++
		if rows%checkEvery == 0 {
			r.records.Store(rows)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if len(buf) >= sinkBuffer {
			if err := out.flush(); err != nil {
				return err
			}
		}
	}
	r.records.Store(rows)
	out.buf = text.end(out.buf)
	return ctx.Err()
}

func (r *running) writeLogsParquet(ctx context.Context, out *sink, scan hearth.LogScan, devices *names) error {
	file := newParquet[logRow](out, r.export.Compression)
	err := func() error {
		for entry, err := range r.s.o.Logs.ScanLogs(ctx, scan) {
			if err != nil {
				return err
			}
			device, err := devices.of(entry.Device)
			if err != nil {
				return err
			}
			if device == nil {
				continue
			}
			row := logRow{
				Timestamp: entry.At, DeviceID: device.id, DeviceName: device.name, DeviceType: device.kind, Event: entry.Event,
				Value: entry.Value.Number(), ValueText: entry.Value.Text(),
			}
			if kind := entry.Value.Kind(); kind != hearth.NumberKind {
				row.ValueType = kind.String()
			}
			if err := file.add(row); err != nil {
				return err
			}
			if n := r.records.Add(1); n%checkEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return ctx.Err()
	}()
	if err != nil {
		return err
	}
	return errors.Join(file.close(), ctx.Err())
}
