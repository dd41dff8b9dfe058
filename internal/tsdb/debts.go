package tsdb

// maxOwed is how many documents folding the logs of a scope may change before those who store more of them have to fold.
const maxOwed = 2048

// maxOwing bounds the keys of documents that are kept for it.
const maxOwing = 8 * maxOwed

// debts are what folding the rows of a partition's tail costs that this engine has stored. Several rows owe a document once.
type debts struct {
	rows map[int64][]debt // by the row's ID
	// owing is how many rows owe the documents of a key, of what each scope owes, in documents.
	owing map[Key]int
	of    map[int64]int
}

// debt is what folding costs, in documents: those of a key, which several rows may owe, or what a row costs besides, by a key of its own.
type debt struct {
	key  Key
	docs int
}

// rowKey names what folding a row costs besides the documents that others change too.
func rowKey(row, scope int64) Key { return Key{Table: TableCount, Scope: scope, Minor: row} }

// debtsOf returns what folding a row costs. A row of few documents is cheap, since it is folded with others of the same ones.
func debtsOf(row *Row) (debts []debt) {
	logs := map[int64]int{}
	for i := range row.chunk.Entries {
		logs[row.chunk.Series[row.chunk.Entries[i].Series].Scope]++
	}
	own := row.size / bytesADocument
	if isNarrow(row.chunk.Series, row.chunk.Entries, logsADocument) {
		own++
	} else {
		s := newSpread()
		for i := range row.chunk.Entries {
			s.add(&row.chunk.Series[row.chunk.Entries[i].Series], row.chunk.Entries[i].At)
		}
		for key := range s.keys {
			debts = append(debts, debt{key, docsOf(key)})
		}
	}
	for scope, n := range logs {
		if docs := own*n/row.Entries + n/logsADocument; docs > 0 {
			debts = append(debts, debt{rowKey(row.ID, scope), docs})
		}
	}
	return debts
}

// owe notes what folding a row costs.
func (o *debts) owe(row int64, owed []debt) {
	if o.rows == nil {
		o.rows, o.owing, o.of = map[int64][]debt{}, map[Key]int{}, map[int64]int{}
	}
	if len(o.owing)+len(owed) > maxOwing {
		owed = sumOf(row, owed)
	}
	o.rows[row] = owed
	for _, d := range owed {
		if o.owing[d.key]++; o.owing[d.key] == 1 {
			o.of[d.key.Scope] += d.docs
		}
	}
}

// sumOf returns the debts of a row as one for each scope.
func sumOf(row int64, owed []debt) []debt {
	scopes := map[int64]int{}
	for _, d := range owed {
		scopes[d.key.Scope] += d.docs
	}
	sums := make([]debt, 0, len(scopes))
	for scope, docs := range scopes {
		sums = append(sums, debt{rowKey(row, scope), docs})
	}
	return sums
}

// settled forgets what rows cost that are not in the tail any more, of those that were there before.
func (o *debts) settled(before map[int64]bool, left []int64) {
	for _, id := range left {
		delete(before, id)
	}
	for id := range before {
		for _, d := range o.rows[id] {
			if o.owing[d.key]--; o.owing[d.key] > 0 {
				continue
			}
			delete(o.owing, d.key)
			if o.of[d.key.Scope] -= d.docs; o.of[d.key.Scope] <= 0 {
				delete(o.of, d.key.Scope)
			}
		}
		delete(o.rows, id)
	}
}
