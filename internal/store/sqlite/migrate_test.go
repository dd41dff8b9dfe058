package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth"
)

// TestWhatIsThereIsFoundAfterAnUpgrade: a database of schema 23 had no text to search in, and the desired versions with the devices.
func TestWhatIsThereIsFoundAfterAnUpgrade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hearth.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := migrator(db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 23); err != nil {
		t.Fatal(err)
	}
	const devices, users = 2003, 3 // more than a page, and less
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO scopes(key, name) VALUES(1, 'user:ann')`)
	exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?)
		INSERT INTO devices(key, id, scope, owner_id, name, type, status, interval, desired_version, created_at, updated_at)
		SELECT i, 'd'||i, 1, 'ann', 'Café '||i, 't', 'active', 60, i%3, 1, 1 FROM n`, devices)
	exec(`INSERT INTO presence(device) SELECT key FROM devices`)
	exec(`CREATE TABLE device_twins(device_id TEXT NOT NULL DEFAULT '', desired_version INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(device_id)) WITHOUT ROWID`)
	exec(`INSERT INTO device_twins(device_id, desired_version) SELECT id, desired_version FROM devices WHERE desired_version>0`)
	for n := range users {
		exec(`INSERT INTO users(id, name, email, role, password_hash, created_at, updated_at) VALUES(?, 'Zoë', ?, 'user', x'00', 1, 1)`,
			fmt.Sprint(n), fmt.Sprintf("zo%d@example.com", n))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found, err := s.Devices(t.Context(), hearth.DeviceFilter{Reach: hearth.Reach{All: true}, Query: "CAFE"}, hearth.Page{Count: true})
	if err != nil || found.Total != devices {
		t.Errorf("%d devices are found, %v; want %d", found.Total, err, devices)
	}
	for id, want := range map[string]int64{"d1": 1, "d2": 2, "d3": 0} {
		if d, err := s.Device(t.Context(), id); err != nil || d.DesiredVersion != want {
			t.Errorf("%s has the desired version %d, %v; want %d", id, d.DesiredVersion, err, want)
		}
	}
	for query, want := range map[string]int{"zoe": users, "ZO2@": 1} {
		list, err := s.Users(t.Context(), hearth.UserFilter{Query: query}, hearth.Page{})
		if err != nil || len(list.Items) != want {
			t.Errorf("%q finds %d users, %v; want %d", query, len(list.Items), err, want)
		}
	}
}

// TestIndexesOfCommandsAreMadeAnew: a database of schema 33 has all commands in each index.
func TestIndexesOfCommandsAreMadeAnew(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	indexes := func(s *Store) (all []string) {
		t.Helper()
		err := s.read(t.Context(), "Test", func(r *reader) error {
			rows, err := r.conn.QueryContext(r.ctx, `SELECT sql FROM sqlite_schema WHERE type='index' AND tbl_name='commands' AND sql IS NOT NULL ORDER BY name`)
			if err != nil {
				return err
			}
			for rows.Next() {
				all = append(all, "")
				if err := rows.Scan(&all[len(all)-1]); err != nil {
					return closed(rows, err)
				}
			}
			return closed(rows, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := indexes(s)
	partial := 0
	for _, index := range want {
		if strings.Contains(index, " WHERE ") {
			partial++
		}
	}
	if partial != 3 {
		t.Errorf("%d indexes are partial, want 3: %q", partial, want)
	}
	err := s.write(t.Context(), "Test", func(t *tx) error {
		for _, statement := range []string{
			`DELETE FROM goose_db_version WHERE version_id>33`,
			`DROP TABLE devices_unfinished`,
			`DROP TABLE late_writes`,
			`DROP VIEW audit_by_target`,
			`DROP TRIGGER audit_unindexed`,
			`DROP TABLE audit_targets`,
			`DROP TABLE audit_indexed`,
			`CREATE INDEX audit_target ON audit(target, at)`,
			`DROP TABLE late_removals`,
			`DROP VIEW device_records`,
			`ALTER TABLE devices ADD COLUMN desired_version INTEGER NOT NULL DEFAULT 0`,
			`CREATE VIEW device_records AS SELECT 1`,
			`DROP INDEX commands_by_device_id_state_seq_id_while_turn`,
			`DROP INDEX commands_by_device_id_turn_id_while_turn`,
			`DROP INDEX commands_by_batch_state_while_batch`,
			`CREATE INDEX commands_by_device_id_state_seq_id ON commands(device_id, state, seq, id)`,
			`CREATE INDEX commands_by_device_id_turn_id ON commands(device_id, turn, id)`,
			`CREATE INDEX commands_by_batch_state ON commands(batch, state)`,
			`INSERT INTO commands(id, device_id, seq, turn, state) VALUES('a', 'd', 1, 0, 'delivered'), ('b', 'd', 2, 2, 'sent'), ('c', 'd', 3, 3, 'queued')`,
		} {
			if _, err := t.exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if got := indexes(s); !slices.Equal(got, want) {
		t.Errorf("the indexes are %q, want %q", got, want)
	}
	for state, id := range map[hearth.CommandState]string{hearth.CommandDelivered: "a", hearth.CommandSent: "b", hearth.CommandQueued: "c"} {
		list, err := s.Commands(t.Context(), hearth.CommandFilter{DeviceID: "d", State: state}, hearth.Page{Count: true})
		if err != nil || list.Total != 1 || len(list.Items) != 1 || list.Items[0].ID != id {
			t.Errorf("%s: %+v, %v; want the command %s", state, list, err, id)
		}
	}
	counts, err := s.CountPendingCommands(t.Context(), []string{"d"})
	if err != nil || counts["d"] != 2 {
		t.Errorf("%v are pending, %v; want 2", counts, err)
	}
}

// TestALostIndexIsMadeAnew: what the descriptions of records name, and no migration makes, is there after each start.
func TestALostIndexIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	indexes := func(column string) (all []string) {
		t.Helper()
		err := s.read(t.Context(), "Test", func(r *reader) (err error) {
			all, err = texts(r.ctx, r.conn, `SELECT `+column+` FROM sqlite_schema WHERE type='index' AND name LIKE '%!_by!_%' ESCAPE '!' ORDER BY name`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	want, names := indexes("sql"), indexes("name")
	if !slices.Contains(names, "commands_by_batch_state_while_batch") || len(names) < 20 {
		t.Fatalf("the indexes are %q", names)
	}
	err := s.write(t.Context(), "Test", func(t *tx) error {
		for _, name := range names {
			if _, err := t.exec(`DROP INDEX ` + name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s)
	if got := indexes("sql"); !slices.Equal(got, want) {
		t.Errorf("the indexes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
