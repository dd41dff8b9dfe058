-- +goose Up
-- An index of targets changes a page for nearly every entry. This one is filled from the entries, many at a time and sorted, so that they share
-- its pages; audit_indexed says how far. The index audit_target goes once its entries are here (see indexTargets).
CREATE TABLE audit_targets (
  target TEXT    NOT NULL,
  at     INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (target, at, seq)
) WITHOUT ROWID;
CREATE TABLE audit_indexed (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL
);
INSERT INTO audit_indexed(one, seq) VALUES(1, 0);

-- +goose StatementBegin
CREATE TRIGGER audit_unindexed AFTER DELETE ON audit
BEGIN
  DELETE FROM audit_targets WHERE target = OLD.target AND at = OLD.at AND seq = OLD.seq;
END;
-- +goose StatementEnd

-- The audit, to be read by target.
CREATE VIEW audit_by_target AS
  SELECT t.seq, a.prev_hash, a.hash, t.at, a.actor_id, a.action, t.target, a.result, a.ip, a.user_agent, a.request_id, a.changes
  FROM audit_targets t CROSS JOIN audit a ON a.seq = t.seq
  UNION ALL
  SELECT seq, prev_hash, hash, at, actor_id, action, target, result, ip, user_agent, request_id, changes
  FROM audit NOT INDEXED WHERE seq > (SELECT seq FROM audit_indexed);
