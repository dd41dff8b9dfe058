-- +goose Up
-- A row while the store is being restored from an archive or another store: nobody serves from it.
CREATE TABLE restore_state (
  one        INTEGER PRIMARY KEY CHECK (one = 1),
  source     TEXT    NOT NULL,
  started_at INTEGER NOT NULL, -- Unix milliseconds
  done       TEXT    NOT NULL  -- JSON: records by kind
);
