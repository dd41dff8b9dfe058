-- +goose Up
-- Records of what was removed that are still to be removed, in small writes: those of a kind whose field has the value.
CREATE TABLE late_removals (
  id    INTEGER PRIMARY KEY,
  kind  TEXT NOT NULL,
  field TEXT NOT NULL,
  value TEXT NOT NULL
);
