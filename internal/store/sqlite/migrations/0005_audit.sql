-- +goose Up
-- Lists are newest first, cut by one of these; seq, the row's key, breaks ties.
DROP INDEX audit_actor;
DROP INDEX audit_target;
CREATE INDEX audit_actor ON audit(actor_id, at);
CREATE INDEX audit_target ON audit(target, at);
CREATE INDEX audit_action ON audit(action, at);

-- The newest entry, kept apart from the entries, so that removing the newest ones shows.
CREATE TABLE audit_head (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  seq  INTEGER NOT NULL,
  hash TEXT    NOT NULL
);
INSERT INTO audit_head(one, seq, hash) SELECT 1, coalesce(max(seq), 0), '' FROM audit;
UPDATE audit_head SET hash = coalesce((SELECT hash FROM audit ORDER BY seq DESC LIMIT 1), '');

-- +goose StatementBegin
CREATE TRIGGER audit_chain BEFORE INSERT ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_head WHERE seq = NEW.seq - 1 AND hash = NEW.prev_hash)
BEGIN
  SELECT RAISE(ABORT, 'an audit entry must follow the newest one');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_next AFTER INSERT ON audit
BEGIN
  UPDATE audit_head SET seq = NEW.seq, hash = NEW.hash;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit entries are never changed');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'audit entries are never removed');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_head_forward BEFORE UPDATE ON audit_head
WHEN NEW.seq <> OLD.seq + 1
BEGIN
  SELECT RAISE(ABORT, 'the head of the audit moves one entry at a time');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head
BEGIN
  SELECT RAISE(ABORT, 'the head of the audit is never removed');
END;
-- +goose StatementEnd
