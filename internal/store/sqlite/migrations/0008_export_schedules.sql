-- +goose Up
-- Times are Unix milliseconds, 0 for none.
CREATE TABLE export_schedules (
  id           TEXT    PRIMARY KEY,
  user_id      TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  every        TEXT    NOT NULL,
  minute       INTEGER NOT NULL, -- of the day
  weekday      INTEGER NOT NULL,
  day          INTEGER NOT NULL, -- of the month
  time_zone    TEXT    NOT NULL,
  type         TEXT    NOT NULL,
  format       TEXT    NOT NULL,
  compression  TEXT    NOT NULL,
  filters      TEXT    NOT NULL, -- JSON
  enabled      INTEGER NOT NULL,
  next_at      INTEGER NOT NULL,
  last_at      INTEGER NOT NULL,
  last_export  TEXT    NOT NULL,
  fail_code    TEXT    NOT NULL,
  fail_message TEXT    NOT NULL,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL
);
CREATE INDEX export_schedules_user ON export_schedules(user_id, created_at, id);
CREATE INDEX export_schedules_created ON export_schedules(created_at, id);
CREATE INDEX export_schedules_due ON export_schedules(id, next_at) WHERE next_at > 0;

-- The schedule that ordered an export; '' where a person did.
ALTER TABLE exports ADD COLUMN schedule TEXT NOT NULL DEFAULT '';
