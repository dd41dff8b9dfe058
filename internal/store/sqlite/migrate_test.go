package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"hearth"
)

// TestWhatIsThereIsFoundAfterAnUpgrade: a database of schema 23 had no text to search in.
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
		INSERT INTO devices(key, id, scope, owner_id, name, type, status, interval, created_at, updated_at)
		SELECT i, 'd'||i, 1, 'ann', 'Café '||i, 't', 'active', 60, 1, 1 FROM n`, devices)
	exec(`INSERT INTO presence(device) SELECT key FROM devices`)
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
	for query, want := range map[string]int{"zoe": users, "ZO2@": 1} {
		list, err := s.Users(t.Context(), hearth.UserFilter{Query: query}, hearth.Page{})
		if err != nil || len(list.Items) != want {
			t.Errorf("%q finds %d users, %v; want %d", query, len(list.Items), err, want)
		}
	}
}
