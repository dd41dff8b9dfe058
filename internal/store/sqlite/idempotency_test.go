package sqlite

import (
	"bytes"
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
)

// TestIdempotencyRecordsSurviveAnUpgrade: a record of a program that stored HTTP answers is there, without an operation.
func TestIdempotencyRecordsSurviveAnUpgrade(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hearth.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	expires := time.Now().Add(time.Hour)
	_, err = db.ExecContext(t.Context(), `INSERT INTO once(caller, key, fingerprint, status, answer, created_at, expires_at)
		VALUES('user:ann', 'k', 'f', 201, x'00fe', 1, ?)`, expires.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.IdempotencyRecord(t.Context(), "user:ann", "k")
	if err != nil || got.Operation != "" || !bytes.Equal(got.Created, []byte{0, 0xfe}) || got.Fingerprint != "f" || got.FirstLog != 0 ||
		got.ExpiresAt.UnixMilli() != expires.UnixMilli() {
		t.Errorf("got %+v, %v", got, err)
	}
}
