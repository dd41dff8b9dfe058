-- +goose Up
-- Logs are kept as a log-structured tree: an append is one row of log_tail; folding moves tail rows into log_chunks and
-- adds them to the rollups (log_sums, log_days) in one transaction. Blobs are of package tsdb.
CREATE TABLE log_state (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  folded  INTEGER NOT NULL, -- the highest number that has left the tail
  horizon INTEGER NOT NULL, -- logs from before are invisible, Unix ms
  pending INTEGER NOT NULL, -- 1 while logs from before the horizon may still be stored
  trimmed INTEGER NOT NULL  -- logs that folding dropped for being older than the horizon, not yet reported
);
INSERT INTO log_state VALUES (1, 0, -9223372036854775808, 0, 0);

CREATE TABLE log_events (
  key  INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

-- Rows never change once they are written. seq to last are the numbers that the row stands for.
CREATE TABLE log_tail (
  seq     INTEGER PRIMARY KEY,
  last    INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  min_at  INTEGER NOT NULL,
  max_at  INTEGER NOT NULL,
  data    BLOB    NOT NULL
);

-- The chunks of a scope part its time line: each holds the logs from its (low_at, low_seq) up to the next chunk's.
CREATE TABLE log_chunks (
  key      INTEGER PRIMARY KEY,
  scope    INTEGER NOT NULL,
  low_at   INTEGER NOT NULL,
  low_seq  INTEGER NOT NULL,
  entries  INTEGER NOT NULL,
  min_at   INTEGER NOT NULL,
  max_at   INTEGER NOT NULL,
  data     BLOB    NOT NULL
);
CREATE UNIQUE INDEX log_chunks_low ON log_chunks(scope, low_at, low_seq);

-- Sums of a scope by hour (level 0), day (1) and month (2), buckets counted from 1970. Rows are short, so that a trend
-- reads few pages.
CREATE TABLE log_sums (
  scope   INTEGER NOT NULL,
  level   INTEGER NOT NULL,
  bucket  INTEGER NOT NULL,
  entries INTEGER NOT NULL,
  min_at  INTEGER NOT NULL,
  max_at  INTEGER NOT NULL,
  totals  BLOB    NOT NULL, -- by event
  PRIMARY KEY (scope, level, bucket)
) WITHOUT ROWID;

-- The long parts of those sums: sketches by event and, for days and months, cells by device (empty if every device has
-- one event) and by device and event.
CREATE TABLE log_cells (
  scope    INTEGER NOT NULL,
  level    INTEGER NOT NULL,
  bucket   INTEGER NOT NULL,
  sketches BLOB    NOT NULL,
  devices  BLOB    NOT NULL,
  cells    BLOB    NOT NULL,
  PRIMARY KEY (scope, level, bucket)
);

-- Days of up to 32 devices (grp is the device's key / 32): sums by hour and sketches by day. With a rowid: a question
-- about one device skips the other groups in the index, without their data.
CREATE TABLE log_days (
  scope INTEGER NOT NULL,
  day   INTEGER NOT NULL,
  grp   INTEGER NOT NULL,
  data  BLOB    NOT NULL,
  PRIMARY KEY (scope, day, grp)
);

-- The number of folded logs of each scope.
CREATE TABLE log_counts (
  scope   INTEGER PRIMARY KEY,
  entries INTEGER NOT NULL
);

-- Deleted devices whose logs are still stored: no reader sees them.
CREATE TABLE log_dead (
  device   INTEGER PRIMARY KEY,
  scope    INTEGER NOT NULL,
  seq      INTEGER NOT NULL, -- no log of the device has a higher number
  next_day INTEGER NOT NULL  -- days before this one are rid of it
);
CREATE INDEX log_dead_scope ON log_dead(scope, next_day);

CREATE TABLE import_checkpoints (
  id   TEXT    PRIMARY KEY,
  rows INTEGER NOT NULL,
  mark BLOB    NOT NULL
);
