package tsdbtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"

	"pgregory.net/rapid"

	"hearth/internal/tsdb"
	"hearth/internal/tsdb/codec"
)

// backendModel does random things to a backend and to maps, and compares.
type backendModel struct {
	*rapid.T
	p *processes

	scopes, devices []int64
	rows            map[int64]tsdb.Row
	docs            map[tsdb.Key]tsdb.Doc
	horizon         int64
}

func (m *backendModel) makeDevices() {
	for _, scope := range scopes {
		device, err := m.p.all[0].AddDevice(context.Background(), scope)
		must(m, err)
		homes, err := m.p.all[0].Backend.Homes(context.Background(), []int64{device})
		must(m, err)
		m.devices, m.scopes = append(m.devices, device), append(m.scopes, homes[device])
	}
}

func (m *backendModel) backend(t *rapid.T) tsdb.Backend {
	return m.p.all[rapid.IntRange(0, len(m.p.all)-1).Draw(t, "process")].Backend
}

func (m *backendModel) reopen(*rapid.T) {
	m.p.close()
	m.p.open()
}

func (m *backendModel) append(t *rapid.T) {
	n := rapid.IntRange(0, 4).Draw(t, "logs")
	batch := &tsdb.Batch{Size: n}
	for i, scope := range m.scopes {
		batch.Series = append(batch.Series, codec.Series{Scope: scope, Device: m.devices[i], Event: 1})
	}
	for i := range n {
		if rapid.IntRange(0, 5).Draw(t, "gone") == 0 {
			continue
		}
		batch.Entries = append(batch.Entries, codec.Entry{
			At: rapid.Int64Range(-3, 3).Draw(t, "at"), Seq: uint64(i), Series: uint32(rapid.IntRange(0, len(m.scopes)-1).Draw(t, "scope")),
		})
	}
	if n == 0 {
		return
	}
	must(m, m.backend(t).Append(context.Background(), batch))
	if batch.First == 0 {
		m.Fatal("a batch has no number")
	}
	for _, row := range batch.Rows {
		m.rows[row.ID] = *row
	}
}

// drawKey draws one of a few keys, so that they meet.
func (m *backendModel) drawKey(t *rapid.T, table tsdb.Table, scope int64) tsdb.Key {
	key := tsdb.Key{Table: table, Scope: scope, Major: rapid.Int64Range(-2, 3).Draw(t, "major"), Minor: rapid.Int64Range(-1, 2).Draw(t, "minor")}
	if key.Major == -2 {
		key.Major = math.MinInt64
	}
	return key
}

func drawTable(t *rapid.T) tsdb.Table {
	return tsdb.Table(rapid.IntRange(0, int(tsdb.TableCount)-1).Draw(t, "table"))
}

func drawBytes(t *rapid.T) []byte {
	return rapid.SampledFrom([][]byte{nil, {1}, []byte("some"), bytes.Repeat([]byte("long"), 1000)}).Draw(t, "data")
}

func (m *backendModel) update(t *rapid.T) {
	b := m.backend(t)
	part := b.Partition(rapid.SampledFrom(m.scopes).Draw(t, "of"))
	var change *tsdb.Change
	must(m, b.Update(context.Background(), "Test", part, func(s tsdb.Snapshot) (*tsdb.Change, error) {
		change = &tsdb.Change{}
		if rapid.Bool().Draw(t, "fold") {
			rows, err := s.Tail(context.Background(), math.MinInt64, math.MaxInt64)
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				if rapid.Bool().Draw(t, "this") {
					change.Folded = append(change.Folded, row.ID)
				}
			}
		}
		if rapid.Bool().Draw(t, "read") { // what is replaced may have been read before, or not
			if err := m.find(t, s, []int{part}, false); err != nil {
				return nil, err
			}
		}
		used := map[tsdb.Key]bool{}
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			key := m.drawKey(t, drawTable(t), rapid.SampledFrom(m.scopes).Draw(t, "scope"))
			if b.Partition(key.Scope) != part || used[key] {
				continue
			}
			used[key] = true
			if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
				change.Delete = append(change.Delete, key)
				continue
			}
			doc := tsdb.Doc{Key: key, Data: [3][]byte{drawBytes(t)}}
			if key.Table == tsdb.Cells {
				doc.Data[1], doc.Data[2] = drawBytes(t), drawBytes(t)
			}
			if key.Table == tsdb.Chunks || key.Table == tsdb.Sums {
				doc.Entries = rapid.Int64Range(1, 100).Draw(t, "entries")
				doc.MinAt, doc.MaxAt = -doc.Entries, doc.Entries+1
			}
			change.Put = append(change.Put, doc)
		}
		return change, nil
	}))
	m.apply(part, change)
}

// apply does a change to the model.
func (m *backendModel) apply(part int, change *tsdb.Change) {
	m.docs, m.rows = maps.Clone(m.docs), maps.Clone(m.rows)
	for _, doc := range change.Put {
		m.docs[doc.Key] = doc
	}
	for _, key := range change.Delete {
		delete(m.docs, key)
	}
	for _, id := range change.Folded {
		row := m.rows[id]
		row.Partitions = slices.DeleteFunc(slices.Clone(row.Partitions), func(p int) bool { return p == part })
		if m.rows[id] = row; len(row.Partitions) == 0 {
			delete(m.rows, id)
		}
	}
}

func (m *backendModel) moveHorizon(t *rapid.T) {
	b := m.backend(t)
	to := rapid.Int64Range(-5, 5).Draw(t, "horizon")
	if err := b.MoveHorizon(context.Background(), m.horizon+1, to); !errors.Is(err, tsdb.ErrBusy) {
		m.Fatalf("moving the horizon from where it is not: %v", err)
	}
	must(m, b.MoveHorizon(context.Background(), m.horizon, to))
	m.horizon = to
	if got, err := b.Horizon(context.Background()); err != nil || got != to {
		m.Fatalf("the horizon is %d, %v; want %d", got, err, to)
	}
}

// drawScopes draws the scopes of a view and the partitions that it is of.
func (m *backendModel) drawScopes(t *rapid.T, b tsdb.Backend) (picked []int64, parts []int) {
	if rapid.Bool().Draw(t, "all") {
		for p := range b.Partitions() {
			parts = append(parts, p)
		}
		return nil, parts
	}
	picked = []int64{}
	for _, scope := range m.scopes {
		if rapid.Bool().Draw(t, "scope") {
			picked, parts = append(picked, scope), append(parts, b.Partition(scope))
		}
	}
	slices.Sort(parts)
	return picked, slices.Compact(parts)
}

func (m *backendModel) view(t *rapid.T) {
	b := m.backend(t)
	picked, parts := m.drawScopes(t, b)
	must(m, b.View(context.Background(), tsdb.ViewOptions{Operation: "Test", Scopes: picked}, func(s tsdb.Snapshot) error {
		for range 4 {
			if err := m.find(t, s, parts, true); err != nil {
				return err
			}
		}
		return nil
	}))
}

// longView sees what was there when it began, whatever happens meanwhile. A snapshot may also say that it is not there any more,
// but not so early.
func (m *backendModel) longView(t *rapid.T) {
	b := m.backend(t)
	picked, parts := m.drawScopes(t, b)
	began := *m
	must(m, b.View(context.Background(), tsdb.ViewOptions{Operation: "Test", Scopes: picked, Slow: rapid.Bool().Draw(t, "slow")}, func(s tsdb.Snapshot) error {
		began.rows = maps.Clone(m.rows)
		if err := began.tail(t, s, parts, true); err != nil {
			return err
		}
		for range rapid.IntRange(1, 4).Draw(t, "meanwhile") {
			m.append(t)
			m.update(t)
			if err := began.find(t, s, parts, false); err != nil {
				return err
			}
		}
		return began.tail(t, s, parts, false)
	}))
}

// tail compares rows of the tail; withData also what is in them.
func (m *backendModel) tail(t *rapid.T, s tsdb.Snapshot, parts []int, withData bool) error {
	ctx := context.Background()
	from, to := rapid.Int64Range(-4, 4).Draw(t, "from"), rapid.Int64Range(-4, 5).Draw(t, "to")
	rows, err := s.Tail(ctx, from, to)
	if err != nil {
		return err
	}
	got := map[int64]tsdb.TailRow{}
	var ids []int64
	for i, row := range rows {
		if got[row.ID] = row; i > 0 && row.ID <= rows[i-1].ID {
			m.Fatalf("rows are not by ID: %+v", rows)
		}
		ids = append(ids, row.ID)
	}
	for id, row := range m.rows {
		want := row.TailRow
		want.Partitions = slices.DeleteFunc(slices.Clone(want.Partitions), func(p int) bool { return !slices.Contains(parts, p) })
		g, ok := got[id]
		delete(got, id)
		inRange := row.MaxAt >= from && row.MinAt < to && len(want.Partitions) > 0
		if inRange && !ok || ok && !sameRow(g, want) {
			m.Fatalf("the tail of %v, [%d, %d), has %+v; want %+v", parts, from, to, g, want)
		}
	}
	if len(got) > 0 {
		m.Fatalf("the tail of %v also has %+v", parts, got)
	}
	if !withData || len(ids) == 0 {
		return nil
	}
	seen := 0
	err = s.TailData(ctx, ids, func(id int64, data []byte) error {
		if seen++; !bytes.Equal(data, m.rows[id].Data) {
			m.Fatalf("row %d is %v, want %v", id, data, m.rows[id].Data)
		}
		return nil
	})
	if err == nil && seen != len(ids) {
		m.Fatalf("%d rows come of %v", seen, ids)
	}
	return err
}

// find compares the answer to a random search; withTail also the tail.
func (m *backendModel) find(t *rapid.T, s tsdb.Snapshot, parts []int, withTail bool) error {
	if s.Horizon() != m.horizon {
		m.Fatalf("the horizon is %d, want %d", s.Horizon(), m.horizon)
	}
	if withTail {
		if err := m.tail(t, s, parts, true); err != nil {
			return err
		}
	}
	b := m.p.all[0].Backend
	var inside []int64 // scopes
	for _, scope := range m.scopes {
		if slices.Contains(parts, b.Partition(scope)) {
			inside = append(inside, scope)
		}
	}
	if len(inside) == 0 {
		return nil
	}
	data := tsdb.Fields{rapid.Bool().Draw(t, "data"), rapid.Bool().Draw(t, "data"), rapid.Bool().Draw(t, "data")}
	if rapid.Bool().Draw(t, "get") {
		return m.get(t, s, inside, data)
	}
	q := tsdb.Query{Table: drawTable(t), Data: data, Major: drawRange(t), Minor: drawRange(t), Backward: rapid.Bool().Draw(t, "backward")}
	if rapid.Bool().Draw(t, "some") {
		for _, scope := range inside {
			if rapid.Bool().Draw(t, "scope") {
				q.Scopes = append(q.Scopes, scope)
			}
		}
	}
	if q.Table == tsdb.Chunks && rapid.Bool().Draw(t, "floor") {
		q.Floor, q.Minor = true, tsdb.Everything
		if q.Scopes == nil {
			q.Scopes = inside
		}
	}
	want := m.expect(q, inside)
	if rapid.Bool().Draw(t, "limited") {
		q.Limit = rapid.IntRange(1, 3).Draw(t, "limit")
	}
	var got []tsdb.Doc
	stop := rapid.IntRange(0, 20).Draw(t, "enough at")
	err := s.Find(context.Background(), q, func(d *tsdb.Doc) error {
		if stop > 0 && len(got) == stop {
			return tsdb.ErrEnough
		}
		got = append(got, clone(d))
		return nil
	})
	if err != nil {
		return err
	}
	n := len(want)
	if q.Limit > 0 {
		n = min(n, q.Limit)
	}
	if stop > 0 {
		n = min(n, stop)
	}
	if len(got) != n {
		m.Fatalf("%+v returns %d documents, want %d of %d", q, len(got), n, len(want))
	}
	for i := range got {
		if !want[got[i].Key] {
			m.Fatalf("%+v returns %+v, which is not there, or twice", q, got[i].Key)
		}
		delete(want, got[i].Key)
		m.same(got[i], data)
		for _, before := range got[:i] {
			order := cmp.Or(cmp.Compare(before.Major, got[i].Major), cmp.Compare(before.Minor, got[i].Minor))
			if before.Scope == got[i].Scope && (order < 0) == q.Backward {
				m.Fatalf("%+v returns %+v before %+v", q, before.Key, got[i].Key)
			}
		}
	}
	return nil
}

// drawRange draws a range around the keys of the model.
func drawRange(t *rapid.T) tsdb.Range {
	if rapid.Bool().Draw(t, "everything") {
		return tsdb.Everything
	}
	from := rapid.Int64Range(-2, 3).Draw(t, "from")
	return tsdb.Range{From: from, To: from + rapid.Int64Range(0, 3).Draw(t, "width")}
}

// expect returns the keys of the documents that a search without a limit finds.
func (m *backendModel) expect(q tsdb.Query, inside []int64) map[tsdb.Key]bool {
	out := map[tsdb.Key]bool{}
	for _, scope := range inside {
		if len(q.Scopes) > 0 && !slices.Contains(q.Scopes, scope) {
			continue
		}
		floor, some := int64(0), false
		for key := range m.docs {
			if key.Table == q.Table && key.Scope == scope && key.Major < q.Major.From && (!some || key.Major > floor) {
				floor, some = key.Major, true
			}
		}
		for key := range m.docs {
			if key.Table != q.Table || key.Scope != scope {
				continue
			}
			in := key.Major >= q.Major.From && key.Major <= q.Major.To && key.Minor >= q.Minor.From && key.Minor <= q.Minor.To
			if in || q.Floor && some && key.Major == floor {
				out[key] = true
			}
		}
	}
	return out
}

func (m *backendModel) get(t *rapid.T, s tsdb.Snapshot, inside []int64, data tsdb.Fields) error {
	table := drawTable(t)
	wanted := map[tsdb.Key]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "keys") {
		wanted[m.drawKey(t, table, rapid.SampledFrom(inside).Draw(t, "scope"))] = true
	}
	keys := make([]tsdb.Key, 0, len(wanted))
	for key := range wanted {
		keys = append(keys, key)
	}
	err := s.Get(context.Background(), keys, data, func(d *tsdb.Doc) error {
		if !wanted[d.Key] {
			m.Fatalf("%+v was not asked for, or comes twice", d.Key)
		}
		delete(wanted, d.Key)
		m.same(clone(d), data)
		return nil
	})
	for key := range wanted {
		if _, there := m.docs[key]; there && err == nil {
			m.Fatalf("%+v does not come", key)
		}
	}
	return err
}

func clone(d *tsdb.Doc) tsdb.Doc {
	out := *d
	for i := range out.Data {
		out.Data[i] = slices.Clone(out.Data[i])
	}
	return out
}

// same compares a document with the model's.
func (m *backendModel) same(got tsdb.Doc, data tsdb.Fields) {
	want, ok := m.docs[got.Key]
	if !ok || got.Entries != want.Entries || got.MinAt != want.MinAt || got.MaxAt != want.MaxAt {
		m.Fatalf("got %+v, want %+v, which is there: %v", got, want, ok)
	}
	for i := range got.Data {
		if !data[i] && got.Data[i] != nil || data[i] && !bytes.Equal(got.Data[i], want.Data[i]) {
			m.Fatalf("%+v: data %d is %v, want %v; asked for: %v", got.Key, i, got.Data[i], want.Data[i], data[i])
		}
	}
}
