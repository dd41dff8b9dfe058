-- +goose Up
-- What heartbeats answer of the twin stands with the device.
ALTER TABLE devices ADD COLUMN desired_version INTEGER NOT NULL DEFAULT 0;

DROP VIEW device_records;
CREATE VIEW device_records AS
  SELECT d.id, d.key, s.name AS scope, d.name, d.type, d.serial, d.status, d.tags, coalesce(d.metadata, '') AS metadata, d.interval,
    p.last_active_at, d.owner_id, d.organization_id, d.idle, d.desired_version, d.version, d.created_at, d.updated_at
  FROM devices d JOIN scopes s ON s.key = d.scope JOIN presence p ON p.device = d.key;
