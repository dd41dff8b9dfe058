-- +goose Up
-- Times are Unix milliseconds, 0 for none.
CREATE TABLE notifications (
  id         TEXT    PRIMARY KEY,
  user_id    TEXT    NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  type       TEXT    NOT NULL,
  title      TEXT    NOT NULL,
  body       TEXT    NOT NULL,
  data       TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  read_at    INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX notifications_user ON notifications(user_id, created_at, id);
CREATE INDEX notifications_unread ON notifications(user_id, created_at, id) WHERE read_at = 0;
CREATE INDEX notifications_read ON notifications(read_at) WHERE read_at > 0;

CREATE TABLE notification_settings (
  user_id TEXT PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
  types   TEXT NOT NULL
) WITHOUT ROWID;

-- Who is told when a device goes offline and comes back, and what they know of it.
CREATE TABLE device_watches (
  device_id TEXT NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
  user_id   TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  told      TEXT NOT NULL,
  PRIMARY KEY (device_id, user_id)
) WITHOUT ROWID;
CREATE INDEX device_watches_user ON device_watches(user_id, device_id);
