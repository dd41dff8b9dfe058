-- +goose Up
-- The newest trimming is the one with the highest number: a clock that was put back does not change which one that is.
DROP TRIGGER audit_no_delete;
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
WHEN OLD.seq > coalesce((SELECT CAST(substr(target, 7) AS INTEGER) FROM audit
  WHERE seq = (SELECT max(seq) FROM audit INDEXED BY audit_action WHERE action = 'audit.trim')), 0)
BEGIN
  SELECT RAISE(ABORT, 'audit entries are not removed before an entry says so');
END;
-- +goose StatementEnd
