-- +goose Up
-- The oldest entries are removed up to what the newest entry of a trimming names; a restored audit begins behind one.
DROP TRIGGER audit_no_delete;
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN OLD.seq > coalesce(
  (SELECT CAST(substr(target, 7) AS INTEGER) FROM audit WHERE action = 'audit.trim' ORDER BY at DESC LIMIT 1), 0)
BEGIN
  SELECT RAISE(ABORT, 'audit entries are not removed before an entry says so');
END;
-- +goose StatementEnd
DROP TRIGGER audit_head_forward;
-- +goose StatementBegin
CREATE TRIGGER audit_head_forward BEFORE UPDATE ON audit_head
WHEN NEW.seq <> OLD.seq + 1 AND (OLD.seq <> 0 OR EXISTS (SELECT 1 FROM audit))
BEGIN
  SELECT RAISE(ABORT, 'the head of the audit moves one entry at a time');
END;
-- +goose StatementEnd
