-- +goose Up
-- Times are Unix milliseconds, 0 for none; span_from and span_to are NULL where the range is open.
CREATE TABLE exports (
  id           TEXT    PRIMARY KEY,
  user_id      TEXT    NOT NULL,
  type         TEXT    NOT NULL,
  format       TEXT    NOT NULL,
  compression  TEXT    NOT NULL,
  status       TEXT    NOT NULL,
  span_from    INTEGER,
  span_to      INTEGER,
  filters      TEXT    NOT NULL, -- JSON
  reach        TEXT    NOT NULL, -- JSON
  notify       INTEGER NOT NULL,
  step         TEXT    NOT NULL,
  processed    INTEGER NOT NULL,
  total        INTEGER NOT NULL,
  result       TEXT,             -- JSON, NULL before the end
  size         INTEGER NOT NULL, -- of the finished file, as in result
  fail_code    TEXT    NOT NULL,
  fail_message TEXT    NOT NULL,
  job          TEXT    NOT NULL,
  run          TEXT    NOT NULL,
  file         TEXT    NOT NULL,
  created_at   INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  completed_at INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL
);
CREATE INDEX exports_user ON exports(user_id, created_at, id);
CREATE INDEX exports_created ON exports(created_at, id);
CREATE INDEX exports_expires ON exports(expires_at) WHERE expires_at > 0;
CREATE INDEX exports_open ON exports(user_id, id) WHERE status IN ('queued', 'running');
