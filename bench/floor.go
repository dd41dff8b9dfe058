package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the same driver as hearth's
)

// serveFloor is the least that an HTTP server in Go can do for the same requests: decode the JSON, answer the JSON.
func serveFloor(ctx context.Context, addr string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/devices/{id}/heartbeat", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Status string `json:"status"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"device_id": r.PathValue("id"), "status": in.Status, "connection": "online", "last_active_at": time.Now().UTC().Format(time.RFC3339Nano),
		})
	})
	list := make([]map[string]any, 50)
	for i := range list {
		list[i] = map[string]any{
			"id": "0192c3a4-7e1b-7c44-9f6e-1a2b3c4d5e6f", "name": "bench device", "type": "sensor", "status": "active", "connection": "online",
			"tags": []string{}, "metadata": nil, "heartbeat_interval": 60, "last_active_at": "2026-03-01T12:00:00.000Z",
			"owner_id": "0192c3a4-7e1b-7c44-9f6e-1a2b3c4d5e6f", "organization_id": nil, "version": 1,
			"created_at": "2026-03-01T12:00:00.000Z", "updated_at": "2026-03-01T12:00:00.000Z",
		}
	}
	mux.HandleFunc("GET /api/v1/devices", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"items": list, "next_cursor": "x"})
	})
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// row is one log as the bare loop stores it.
type row struct {
	device int64
	event  string
	value  float64
	at     int64
}

// bareLoop is the least that SQLite can do for the same rows: one table, one index by device and time, one prepared
// insert a row, one transaction a batch, fsynced.
type bareLoop struct{ db *sql.DB }

func openBareLoop(dir string) (*bareLoop, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE logs(device INTEGER NOT NULL, event TEXT NOT NULL, value REAL NOT NULL, at INTEGER NOT NULL);
		CREATE INDEX logs_device_at ON logs(device, at)`); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &bareLoop{db}, nil
}

func (b *bareLoop) insert(ctx context.Context, rows []row) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	stmt, err := tx.PrepareContext(ctx, `INSERT INTO logs(device, event, value, at) VALUES(?,?,?,?)`)
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	for _, r := range rows {
		if _, err := stmt.Exec(r.device, r.event, r.value, r.at); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
