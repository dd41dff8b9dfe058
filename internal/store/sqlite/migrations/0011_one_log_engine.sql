-- +goose Up
-- The log engine changes what is stored of logs from a snapshot, if the version is still the snapshot's.
ALTER TABLE log_state ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log_state DROP COLUMN pending;
ALTER TABLE log_state DROP COLUMN trimmed;

-- Months say how many logs a scope has.
DROP TABLE log_counts;

-- clean_at is when no logs of a deleted device were found any more (Unix ms), 0 before.
DROP INDEX log_dead_scope;
ALTER TABLE log_dead DROP COLUMN seq;
ALTER TABLE log_dead DROP COLUMN next_day;
ALTER TABLE log_dead ADD COLUMN clean_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX log_dead_due ON log_dead(clean_at, scope);
