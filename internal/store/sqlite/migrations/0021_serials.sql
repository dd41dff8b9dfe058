-- +goose Up
ALTER TABLE devices ADD COLUMN serial TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX devices_scope_serial ON devices(scope, serial) WHERE serial <> '';
CREATE INDEX devices_serial ON devices(serial) WHERE serial <> '';

DROP VIEW device_records;
CREATE VIEW device_records AS
  SELECT d.id, d.key, s.name AS scope, d.name, d.type, d.serial, d.status, d.tags, coalesce(d.metadata, '') AS metadata, d.interval,
    p.last_active_at, d.owner_id, d.organization_id, d.idle, d.version, d.created_at, d.updated_at
  FROM devices d JOIN scopes s ON s.key = d.scope JOIN presence p ON p.device = d.key;
