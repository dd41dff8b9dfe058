-- +goose Up
-- Idempotency records say what was created; older ones, without an operation, hold an encrypted HTTP answer in created.
ALTER TABLE once RENAME TO idempotency;
ALTER TABLE idempotency RENAME COLUMN answer TO created;
ALTER TABLE idempotency ADD COLUMN operation TEXT NOT NULL DEFAULT '';
ALTER TABLE idempotency ADD COLUMN first_log INTEGER NOT NULL DEFAULT 0;
ALTER TABLE idempotency DROP COLUMN status;
DROP INDEX once_expires;
CREATE INDEX idempotency_expires ON idempotency(expires_at);
