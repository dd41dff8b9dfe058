-- +goose Up
-- The version of a desired state is read with the device from its twin: a change of it writes nothing else.
DROP VIEW device_records;
ALTER TABLE presence DROP COLUMN desired_version;
CREATE VIEW device_records AS
  SELECT d.id, d.key, s.name AS scope, d.name, d.type, d.serial, d.status, d.tags, coalesce(d.metadata, '') AS metadata, d.interval,
    p.last_active_at, p.offline_at, d.last_error, d.owner_id, d.organization_id, d.idle, coalesce(t.desired_version, 0) AS desired_version, d.version,
    d.created_at, d.updated_at
  FROM devices d JOIN scopes s ON s.key = d.scope JOIN presence p ON p.device = d.key LEFT JOIN device_twins t ON t.device_id = d.id;
