package sqlite

import (
	"cmp"
	"context"
	"slices"

	"hearth"
	"hearth/internal/store/record"
)

// columnOf returns what an order compares first.
func columnOf(o record.DeviceOrder) string {
	if o.By == "last_active_at" {
		return "p.last_active_at"
	}
	return "d." + o.By
}

// compareDevices compares devices as an order has them.
func compareDevices(o record.DeviceOrder, a, b hearth.Device) int {
	if o.Desc {
		a, b = b, a
	}
	var c int
	switch o.By {
	case "name":
		c = cmp.Compare(a.Name, b.Name)
	case "created_at":
		c = a.CreatedAt.Compare(b.CreatedAt)
	default:
		c = a.LastActiveAt.Compare(b.LastActiveAt)
	}
	return cmp.Or(c, cmp.Compare(a.ID, b.ID))
}

// deviceFilters are the conditions of a filter; each is true at once when its parameter is unset, without reading the
// row. The parameters are those of filterArguments.
const deviceFilters = ` AND (?4='' OR d.type=?4) AND (?5='' OR d.status=?5)
	AND (?6='' OR EXISTS(SELECT 1 FROM json_each(d.tags) WHERE value=?6))
	AND (?7='' OR instr(d.search, ?7)>0)
	AND (?8='' OR ?8=CASE WHEN p.last_active_at=0 THEN 'never' WHEN ` + offlineAt + `>?9 THEN 'online' ELSE 'offline' END)`

func filterArguments(scope hearth.Scope, key any, id string, f hearth.DeviceFilter) []any {
	return []any{
		string(scope), key, id, f.Type, string(f.Status), f.Tag, record.Fold(f.Query), string(f.Connection), millis(f.Now), f.Serial,
	}
}

// devicesWhere is the part after FROM of every question about the devices of a reach: of one scope, or all. The outer loop
// is over devices, by the index that the order asks for, or by that of the serial.
func devicesWhere(all, serial bool) string {
	from := ` FROM devices d CROSS JOIN presence p ON p.device=d.key WHERE `
	if serial {
		from += `d.serial=?10 AND d.serial<>'' AND `
	}
	if all {
		return from + `TRUE`
	}
	return from + `d.scope=(SELECT key FROM scopes WHERE name=?1)`
}

// devicesPage is the statement for one page. By name and by created_at the rows come off the index of that order,
// (scope, …, id) or (…, id), and reading stops at the limit. By last_active_at the scope's devices are walked by the index
// (scope, created_at, id) and sorted, with their keys alone; whole rows are read for the page.
func devicesPage(o record.DeviceOrder, all, serial, cursor bool) string {
	direction, after := "", ">"
	if o.Desc {
		direction, after = " DESC", "<"
	}
	column, where := columnOf(o), devicesWhere(all, serial)
	if cursor {
		where += ` AND (` + column + `, d.id) ` + after + ` (?2, ?3)`
	}
	where += deviceFilters + ` ORDER BY ` + column + direction + `, d.id` + direction + ` LIMIT ?11`
	if o.By != "last_active_at" {
		return `SELECT ` + deviceColumns + where
	}
	return `SELECT ` + deviceColumns + ` FROM (SELECT d.key` + where + `) page
		CROSS JOIN devices d ON d.key=page.key CROSS JOIN presence p ON p.device=d.key
		ORDER BY p.last_active_at` + direction + `, d.id` + direction
}

// Devices implements hearth.DeviceStore.
func (s *Store) Devices(ctx context.Context, filter hearth.DeviceFilter, page hearth.Page) (hearth.List[hearth.Device], error) {
	list := hearth.List[hearth.Device]{Total: -1}
	order, err := record.DeviceOrderOf(page.Sort)
	if err != nil {
		return list, err
	}
	var key any
	if !page.Cursor.IsZero() {
		if key, err = order.Key(page.Cursor); err != nil {
			return list, err
		}
	}
	scopes := filter.Reach.Scopes
	if filter.Reach.All {
		scopes = []hearth.Scope{""}
	}
	statement := devicesPage(order, filter.Reach.All, filter.Serial != "", key != nil)
	size := page.Size()
	err = s.read(ctx, "Devices", func(r *reader) error {
		for _, scope := range scopes {
			arguments := append(filterArguments(scope, key, page.Cursor.ID, filter), size+1)
			devices, err := scanDevices(r.query(statement, arguments...))
			if err != nil {
				return err
			}
			list.Items = append(list.Items, devices...)
		}
		if page.Count {
			list.Total, err = countDevices(r, scopes, filter)
		}
		return err
	})
	if err != nil {
		return hearth.List[hearth.Device]{Total: -1}, err
	}
	if len(scopes) > 1 {
		slices.SortFunc(list.Items, func(a, b hearth.Device) int { return compareDevices(order, a, b) })
	}
	if len(list.Items) > size {
		list.Items = slices.Clip(list.Items[:size])
		list.Next = order.Cursor(list.Items[size-1])
		list.Next.Sort = page.Sort
	}
	return list, nil
}

// countOfScope counts all devices of a scope but those that are not there yet, by an index alone.
const countOfScope = `SELECT count(*)-(SELECT count(*) FROM devices_unfinished u CROSS JOIN devices n ON n.key BETWEEN u.first AND u.last WHERE n.scope=s.key)
	FROM scopes s CROSS JOIN devices d ON d.scope=s.key WHERE s.name=?`

// countDevices is served by any index that starts with the scope, as far as the filter allows.
func countDevices(r *reader, scopes []hearth.Scope, filter hearth.DeviceFilter) (total int64, err error) {
	statement := `SELECT count(*)` + devicesWhere(filter.Reach.All, filter.Serial != "") + deviceFilters
	plain := filter.Type == "" && filter.Status == "" && filter.Tag == "" && filter.Serial == "" && filter.Query == "" && filter.Connection == ""
	for _, scope := range scopes {
		var count int64
		switch {
		case plain && filter.Reach.All:
			err = r.row(`SELECT count(*) FROM presence`).Scan(&count)
		case plain:
			err = r.row(countOfScope, string(scope)).Scan(&count)
		default:
			err = r.row(statement, filterArguments(scope, nil, "", filter)...).Scan(&count)
		}
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}
