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
	for _, s := range record.Schemas() {
		if s.View != "" || s.Shared {
			continue
		}
		if err := makeTable(ctx, db, s); err != nil {
			return fmt.Errorf("make the table %s: %w", s.Name, err)
		}
	}
	return nil
}

// indexOf makes an index, unless there is one of its name.
func indexOf(s *record.Schema, i record.Index) string {
	unique, name, while := ``, s.Name+`_by_`+strings.Join(i.Fields, `_`), ``
	if i.Unique || s.Claim != nil && slices.Equal(i.Fields, []string{s.Claim.Field}) {
		unique = `UNIQUE `
	}
	for n, c := range i.While {
		name += `_while_` + c.Field
		while += []string{` WHERE `, ` AND `}[min(n, 1)] + literally(c)
	}
	return `CREATE ` + unique + `INDEX IF NOT EXISTS ` + name + ` ON ` + s.Name + `(` + strings.Join(i.Fields, `, `) + `)` + while
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
