-- +goose Up
-- Devices that are stored by several writes: no reader sees those with these keys, which have no row in presence before the last write removes
-- this one.
CREATE TABLE devices_unfinished (
  first INTEGER PRIMARY KEY,
  last  INTEGER NOT NULL,
  at    INTEGER NOT NULL -- when the last of them was stored, Unix ms; 0 if they are to be removed
);

-- What a write leaves to be written by later, shorter ones. What belongs to devices waits for them to be finished, and goes with them.
CREATE TABLE late_writes (
  id      INTEGER PRIMARY KEY,
  devices INTEGER NOT NULL, -- their first key
  effects TEXT    NOT NULL  -- JSON: audit entries and jobs
);
