-- +goose Up
-- When a device that keeps a connection is offline (Unix ms; 0: its silence decides), and the latest thing that it sent and that could not
-- be stored (JSON; '': none).
ALTER TABLE presence ADD COLUMN offline_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN last_error TEXT NOT NULL DEFAULT '';

DROP VIEW device_records;
CREATE VIEW device_records AS
  SELECT d.id, d.key, s.name AS scope, d.name, d.type, d.serial, d.status, d.tags, coalesce(d.metadata, '') AS metadata, d.interval,
    p.last_active_at, p.offline_at, d.last_error, d.owner_id, d.organization_id, d.idle, d.desired_version, d.version, d.created_at, d.updated_at
  FROM devices d JOIN scopes s ON s.key = d.scope JOIN presence p ON p.device = d.key;
