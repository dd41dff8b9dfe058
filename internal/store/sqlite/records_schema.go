package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hearth/internal/store/record"
)

// columnTypes are the definitions of columns. What a record of before did not have is empty.
var columnTypes = map[record.Type]string{ // never written to
	record.Text: `TEXT NOT NULL DEFAULT ''`, record.Number: `INTEGER NOT NULL DEFAULT 0`, record.Flag: `INTEGER NOT NULL DEFAULT 0`,
	record.Bytes: `BLOB NOT NULL DEFAULT x''`, record.Moment: `INTEGER NOT NULL DEFAULT 0`, record.OpenMoment: `INTEGER`, record.Document: `TEXT`,
}

// makeTables makes the tables, columns and indexes of the described kinds that are not there. What the migrations made stays.
func makeTables(ctx context.Context, db *sql.DB) error {
	tables, err := tablesOf(ctx, db)
	if err != nil {
		return fmt.Errorf("read the tables: %w", err)
	}
	for _, s := range record.Schemas() {
		if s.View != "" || s.Shared || tables[s.Name].has(s) {
			continue
		}
		if err := makeTable(ctx, db, s); err != nil {
			return fmt.Errorf("make the table %s: %w", s.Name, err)
		}
	}
	return nil
}

// table is what a table has: the names of its columns and indexes, and the fields of its whole indexes, with commas between.
type table struct{ columns, indexes, indexed []string }

// tablesOf returns all tables, by name, in one read.
func tablesOf(ctx context.Context, db *sql.DB) (map[string]*table, error) {
	rows, err := db.QueryContext(ctx, `SELECT m.name, c.name, '', 0 FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type='table'
		UNION ALL SELECT m.name, i.name, ifnull((SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)), ''), 1+i.partial
		FROM sqlite_schema m, pragma_index_list(m.name) i WHERE m.type='table'`)
	if err != nil {
		return nil, err
	}
	all := map[string]*table{}
	for rows.Next() {
		var of, name, fields string
		var what int
		if err := rows.Scan(&of, &name, &fields, &what); err != nil {
			return nil, closed(rows, err)
		}
		t := all[of]
		if t == nil {
			t = &table{}
			all[of] = t
		}
		switch what {
		case 0:
			t.columns = append(t.columns, name)
		case 1:
			t.indexed = append(t.indexed, fields)
			fallthrough
		default:
			t.indexes = append(t.indexes, name)
		}
	}
	return all, closed(rows, nil)
}

// has reports whether the table has all that s describes.
func (t *table) has(s *record.Schema) bool {
	if t == nil {
		return false
	}
	for _, f := range s.Fields() {
		if !slices.Contains(t.columns, f.Name) {
			return false
		}
	}
	for _, i := range s.Indexes {
		if !slices.Contains(t.indexes, nameOf(s, i)) && (len(i.While) > 0 || !slices.Contains(t.indexed, strings.Join(i.Fields, `,`))) {
			return false
		}
	}
	return true
}

// nameOf returns the name of an index.
func nameOf(s *record.Schema, i record.Index) string {
	var name strings.Builder
	name.WriteString(s.Name + `_by_` + strings.Join(i.Fields, `_`))
	for _, c := range i.While {
		name.WriteString(`_while_` + c.Field)
	}
	return name.String()
}

// indexOf makes an index, unless there is one of its name.
func indexOf(s *record.Schema, i record.Index) string {
	unique, while := ``, ``
	if i.Unique || s.Claim != nil && slices.Equal(i.Fields, []string{s.Claim.Field}) {
		unique = `UNIQUE `
	}
	for n, c := range i.While {
		while += []string{` WHERE `, ` AND `}[min(n, 1)] + literally(c)
	}
	return `CREATE ` + unique + `INDEX IF NOT EXISTS ` + nameOf(s, i) + ` ON ` + s.Name + `(` + strings.Join(i.Fields, `, `) + `)` + while
}

func makeTable(ctx context.Context, db *sql.DB, s *record.Schema) (err error) {
	transaction, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, transaction.Rollback())
		}
	}()
	have, err := texts(ctx, transaction, `SELECT name FROM pragma_table_info('`+s.Name+`')`)
	if err != nil {
		return err
	}
	var columns []string
	for _, f := range s.Fields() {
		if !slices.Contains(have, f.Name) {
			columns = append(columns, quoted(f.Name)+` `+columnTypes[f.Type])
		}
	}
	var statements []string
	if len(have) == 0 {
		statements = append(statements, `CREATE TABLE `+s.Name+`(`+strings.Join(columns, `, `)+`, PRIMARY KEY(`+strings.Join(s.ID, `, `)+`)) WITHOUT ROWID`)
	} else {
		for _, column := range columns {
			statements = append(statements, `ALTER TABLE `+s.Name+` ADD COLUMN `+column)
		}
	}
	indexed, err := texts(ctx, transaction, `SELECT (SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno))
		FROM pragma_index_list('`+s.Name+`') i WHERE NOT i.partial`)
	if err != nil {
		return err
	}
	for _, i := range s.Indexes {
		if len(i.While) == 0 && slices.Contains(indexed, strings.Join(i.Fields, `,`)) {
			continue
		}
		statements = append(statements, indexOf(s, i))
	}
	for _, statement := range statements {
		if _, err := transaction.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return transaction.Commit()
}
