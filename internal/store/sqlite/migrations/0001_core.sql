-- +goose Up
-- Who devices belong to: "user:ID" or "org:ID", with a short number for rows that name it often.
CREATE TABLE scopes (
  key  INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

-- Times are Unix milliseconds, 0 for none.
CREATE TABLE devices (
  key             INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that logs of a removed device stay nobody's
  id              TEXT    NOT NULL UNIQUE,
  scope           INTEGER NOT NULL REFERENCES scopes(key),
  owner_id        TEXT    NOT NULL,
  organization_id TEXT    NOT NULL DEFAULT '',
  name            TEXT    NOT NULL,
  type            TEXT    NOT NULL,
  status          TEXT    NOT NULL,
  idle            INTEGER NOT NULL DEFAULT 0,
  tags            TEXT    NOT NULL DEFAULT '[]',
  metadata        TEXT,
  interval        INTEGER NOT NULL,
  version         INTEGER NOT NULL DEFAULT 1,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL
);
CREATE INDEX devices_scope_status ON devices(scope, status);
CREATE INDEX devices_scope_created ON devices(scope, created_at, id);
CREATE INDEX devices_scope_name ON devices(scope, name, id);
-- The same for an administrator's lists, which are of every scope.
CREATE INDEX devices_created ON devices(created_at, id);
CREATE INDEX devices_name ON devices(name, id);

-- One row a device, made with it; apart from devices, so that a heartbeat rewrites a few bytes.
CREATE TABLE presence (
  device         INTEGER PRIMARY KEY REFERENCES devices(key) ON DELETE CASCADE,
  last_active_at INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE device_tokens (
  id           TEXT    PRIMARY KEY,
  device       INTEGER NOT NULL REFERENCES devices(key) ON DELETE CASCADE,
  hash         BLOB    NOT NULL UNIQUE,
  created_at   INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX device_tokens_device ON device_tokens(device);

-- First answers to requests with an Idempotency-Key.
CREATE TABLE once (
  caller      TEXT    NOT NULL,
  key         TEXT    NOT NULL,
  fingerprint TEXT    NOT NULL,
  status      INTEGER NOT NULL,
  answer      BLOB    NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  PRIMARY KEY (caller, key)
) WITHOUT ROWID;
CREATE INDEX once_expires ON once(expires_at);

CREATE TABLE audit (
  seq        INTEGER PRIMARY KEY,
  prev_hash  TEXT    NOT NULL,
  hash       TEXT    NOT NULL,
  at         INTEGER NOT NULL,
  actor_id   TEXT    NOT NULL,
  action     TEXT    NOT NULL,
  target     TEXT    NOT NULL,
  result     TEXT    NOT NULL,
  ip         TEXT    NOT NULL,
  user_agent TEXT    NOT NULL,
  request_id TEXT    NOT NULL,
  changes    TEXT    NOT NULL
);
CREATE INDEX audit_at ON audit(at);
CREATE INDEX audit_actor ON audit(actor_id, seq);
CREATE INDEX audit_target ON audit(target, seq);

-- Jobs that a write caused and that the queue has not taken yet.
CREATE TABLE outbox (
  id      TEXT PRIMARY KEY,
  kind    TEXT    NOT NULL,
  queue   TEXT    NOT NULL,
  payload BLOB    NOT NULL,
  uniq    TEXT    NOT NULL,
  run_at  INTEGER NOT NULL
);
