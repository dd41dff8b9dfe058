-- +goose Up
-- The version of a desired state changes as often as the state does: it moves to presence, whose rows are a few bytes.
ALTER TABLE presence ADD COLUMN desired_version INTEGER NOT NULL DEFAULT 0;
UPDATE presence SET desired_version = d.desired_version FROM devices d WHERE d.key = presence.device AND d.desired_version > 0;

DROP VIEW device_records;
ALTER TABLE devices DROP COLUMN desired_version;
CREATE VIEW device_records AS
  SELECT d.id, d.key, s.name AS scope, d.name, d.type, d.serial, d.status, d.tags, coalesce(d.metadata, '') AS metadata, d.interval,
    p.last_active_at, p.offline_at, d.last_error, d.owner_id, d.organization_id, d.idle, p.desired_version, d.version, d.created_at, d.updated_at
  FROM devices d JOIN scopes s ON s.key = d.scope JOIN presence p ON p.device = d.key;
