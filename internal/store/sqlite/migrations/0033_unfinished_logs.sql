-- +goose Up
-- Batches of logs that are stored by several writes: no reader sees rows of log_tail with these numbers before the last write removes the row.
CREATE TABLE log_unfinished (
  first INTEGER PRIMARY KEY,
  last  INTEGER NOT NULL,
  at    INTEGER NOT NULL -- when it began, Unix ms
);
