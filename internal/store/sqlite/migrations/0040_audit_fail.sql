-- +goose Up
-- What guards the chain ends a statement where it is: SQLite then keeps no copy of each page that a statement of many entries changes, as it does
-- where all of the statement may have to be undone. No entry that does not follow the newest is stored, as before.
DROP TRIGGER audit_chain;
-- +goose StatementBegin
CREATE TRIGGER audit_chain BEFORE INSERT ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_head WHERE seq = NEW.seq - 1 AND hash = NEW.prev_hash)
BEGIN
  SELECT RAISE(FAIL, 'an audit entry must follow the newest one');
END;
-- +goose StatementEnd
DROP TRIGGER audit_head_forward;
-- +goose StatementBegin
CREATE TRIGGER audit_head_forward BEFORE UPDATE ON audit_head
WHEN NEW.seq <> OLD.seq + 1 AND (OLD.seq <> 0 OR EXISTS (SELECT 1 FROM audit))
BEGIN
  SELECT RAISE(FAIL, 'the head of the audit moves one entry at a time');
END;
-- +goose StatementEnd
