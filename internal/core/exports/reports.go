package exports

import (
	"context"
	"iter"
	"slices"
	"sort"

	"hearth"
)

// reportChunk is how many devices a report asks about at once: their figures are of one snapshot, whatever the store.
const reportChunk = hearth.MaxLimit

// reportRow is a row of a report, in a Parquet file or as cells.
type reportRow interface {
	usageRow | deviceRow
	cells(dst []cell) []cell
}

// usageColumns are the usage report's: for each device and event, over the range, the number of logs, and of those that are no
// strings the total, mean, extremes and percentiles (within 1 %).
var usageColumns = []string{ // never written to
	"device_id", "device_name", "device_type", "event", "count", "total", "average", "min", "max", "p50", "p95", "p99",
}

type usageRow struct {
	DeviceID   string  `parquet:"device_id,dict"`
	DeviceName string  `parquet:"device_name,dict"`
	DeviceType string  `parquet:"device_type,dict"`
	Event      string  `parquet:"event,dict"`
	Count      int64   `parquet:"count"`
	Total      float64 `parquet:"total"`
	// These are null where all values are strings.
	Average *float64 `parquet:"average,optional"`
	Min     *float64 `parquet:"min,optional"`
	Max     *float64 `parquet:"max,optional"`
	P50     *float64 `parquet:"p50,optional"`
	P95     *float64 `parquet:"p95,optional"`
	P99     *float64 `parquet:"p99,optional"`
}

func (u usageRow) cells(dst []cell) []cell {
	return append(dst, textCell(u.DeviceID), textCell(u.DeviceName), textCell(u.DeviceType), textCell(u.Event), countCell(u.Count),
		numberCell(u.Total), optionalNumber(u.Average), optionalNumber(u.Min), optionalNumber(u.Max),
		optionalNumber(u.P50), optionalNumber(u.P95), optionalNumber(u.P99))
}

// deviceColumns are the device report's: each device as it is now, with the number of its logs in the range and their total.
var deviceColumns = []string{ // never written to
	"device_id", "device_name", "device_type", "status", "connection", "last_active_at", "owner_id", "organization_id", "created_at",
	"log_count", "total_value",
}

type deviceRow struct {
	DeviceID       string  `parquet:"device_id"`
	DeviceName     string  `parquet:"device_name"`
	DeviceType     string  `parquet:"device_type,dict"`
	Status         string  `parquet:"status,dict"`
	Connection     string  `parquet:"connection,dict"`
	LastActiveAt   int64   `parquet:"last_active_at,optional,timestamp(millisecond)"`
	OwnerID        string  `parquet:"owner_id,dict"`
	OrganizationID string  `parquet:"organization_id,optional,dict"`
	CreatedAt      int64   `parquet:"created_at,timestamp(millisecond)"`
	LogCount       int64   `parquet:"log_count"`
	TotalValue     float64 `parquet:"total_value"`
}

func (d deviceRow) cells(dst []cell) []cell {
	return append(dst, textCell(d.DeviceID), textCell(d.DeviceName), textCell(d.DeviceType), textCell(d.Status), textCell(d.Connection),
		optionalTime(d.LastActiveAt), textCell(d.OwnerID), optionalText(d.OrganizationID), optionalTime(d.CreatedAt),
		countCell(d.LogCount), numberCell(d.TotalValue))
}

func wanted(events []string, event string) bool {
	return len(events) == 0 || slices.Contains(events, event)
}

// devices returns the report's devices in chunks: those that were named, or all within reach, the oldest first.
func (r *running) devices(ctx context.Context) iter.Seq2[[]hearth.Device, error] {
	e := r.export
	pick := func(devices []hearth.Device) []hearth.Device {
		return slices.DeleteFunc(devices, func(d hearth.Device) bool {
			return !e.Filters.IncludeInactive && d.Status == hearth.StatusInactive
		})
	}
	return func(yield func([]hearth.Device, error) bool) {
		if len(e.Filters.DeviceIDs) > 0 {
			for ids := range slices.Chunk(e.Filters.DeviceIDs, reportChunk) {
				devices, err := r.s.o.Devices.DevicesByID(ctx, ids)
				sort.Slice(devices, func(i, j int) bool { return slices.Index(ids, devices[i].ID) < slices.Index(ids, devices[j].ID) })
				if !yield(pick(devices), err) || err != nil {
					return
				}
			}
			return
		}
		page := hearth.Page{Limit: reportChunk, Sort: "created_at", Count: true}
		for {
			list, err := r.s.o.Devices.Devices(ctx, hearth.DeviceFilter{Reach: e.Reach, Now: r.s.now()}, page)
			if page.Count && err == nil {
				r.total.Store(list.Total)
			}
			if !yield(pick(list.Items), err) || err != nil || list.Next.IsZero() {
				return
			}
			page.Cursor, page.Count = list.Next, false
		}
	}
}

// groups returns the sums over the devices' logs in the range, by device and event.
func (r *running) groups(ctx context.Context, devices []hearth.Device, sketch bool) (map[int64][]hearth.Rollup, error) {
	if len(devices) == 0 {
		return nil, nil
	}
	keys := make([]int64, len(devices))
	for i, d := range devices {
		keys[i] = d.Key
	}
	answer, err := r.s.o.Logs.Rollups(ctx, hearth.RollupQuery{
		Reach: r.export.Reach, Devices: keys, Span: r.export.Span(),
		Groupings: []hearth.Grouping{{ByDevice: true, ByEvent: true, Sketch: sketch}},
	})
	if err != nil {
		return nil, err
	}
	groups := map[int64][]hearth.Rollup{}
	for _, group := range answer[0] {
		if wanted(r.export.Filters.Events, group.Event) {
			groups[group.Device] = append(groups[group.Device], group)
		}
	}
	return groups, nil
}

// usage returns the rows of the usage report: a row for each device and event with logs.
func (r *running) usage(ctx context.Context) iter.Seq2[usageRow, error] {
	return func(yield func(usageRow, error) bool) {
		for devices, err := range r.devices(ctx) {
			var groups map[int64][]hearth.Rollup
			if err == nil {
				groups, err = r.groups(ctx, devices, true)
			}
			if err != nil {
				yield(usageRow{}, err)
				return
			}
			for _, d := range devices {
				for _, g := range groups[d.Key] {
					row := usageRow{DeviceID: d.ID, DeviceName: d.Name, DeviceType: d.Type, Event: g.Event, Count: g.Count, Total: g.Sum}
					if g.Numbers() > 0 {
						between := func(v float64) *float64 { return new(min(max(v, g.Min), g.Max)) } // rounding must not carry past the values
						row.Average, row.Min, row.Max = between(g.Sum/float64(g.Numbers())), &g.Min, &g.Max
						row.P50, row.P95, row.P99 = between(g.Sketch.Quantile(0.5)), between(g.Sketch.Quantile(0.95)), between(g.Sketch.Quantile(0.99))
					}
					if !yield(row, nil) {
						return
					}
				}
			}
		}
	}
}

// fleet returns the rows of the device report.
func (r *running) fleet(ctx context.Context) iter.Seq2[deviceRow, error] {
	return func(yield func(deviceRow, error) bool) {
		for devices, err := range r.devices(ctx) {
			var groups map[int64][]hearth.Rollup
			if err == nil {
				groups, err = r.groups(ctx, devices, false)
			}
			if err != nil {
				yield(deviceRow{}, err)
				return
			}
			now := r.s.now()
			for _, d := range devices {
				row := deviceRow{
					DeviceID: d.ID, DeviceName: d.Name, DeviceType: d.Type, Status: string(d.Status), Connection: string(d.Connection(now)),
					OwnerID: d.OwnerID, OrganizationID: d.OrganizationID, CreatedAt: d.CreatedAt.UnixMilli(),
				}
				if !d.LastActiveAt.IsZero() {
					row.LastActiveAt = d.LastActiveAt.UnixMilli()
				}
				for _, g := range groups[d.Key] {
					row.LogCount += g.Count
					row.TotalValue += g.Sum
				}
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// writeReport writes the rows of a report.
func writeReport[T reportRow](r *running, out *sink, columns []string, rows iter.Seq2[T, error]) error {
	r.enter(stepWriting)
	if r.export.Format == hearth.FormatParquet {
		file := newParquet[T](out, r.export.Compression)
		for row, err := range rows {
			if err == nil {
				err = file.add(row)
			}
			if err != nil {
				return err
			}
			r.records.Add(1)
		}
		return file.close()
	}
	style, err := styleOf(r.export.CSV)
	if err != nil {
		return err
	}
	text := newTextRows(r.export.Format, style, columns)
	out.buf = text.begin(out.buf)
	var cells []cell
	for row, err := range rows {
		if err != nil {
			return err
		}
		cells = row.cells(cells[:0])
		out.buf = text.row(out.buf, cells)
		r.records.Add(1)
		if err := out.full(); err != nil {
			return err
		}
	}
	out.buf = text.end(out.buf)
	return nil
}
