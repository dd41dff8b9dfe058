-- +goose Up
-- Devices that changed hands: their logs are hidden in the scopes of hidden (a JSON list of keys) until they are moved from there.
-- moving_at is when a device set out that has not arrived yet (Unix ms), clean_at when no logs were found in those scopes any more.
CREATE TABLE log_moves (
  device    INTEGER PRIMARY KEY,
  hidden    TEXT    NOT NULL,
  moving_at INTEGER NOT NULL,
  clean_at  INTEGER NOT NULL
);
