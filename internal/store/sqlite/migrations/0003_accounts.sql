-- +goose Up
-- Times are Unix milliseconds, 0 for none.
CREATE TABLE users (
  id            TEXT    PRIMARY KEY,
  name          TEXT    NOT NULL,
  email         TEXT    NOT NULL UNIQUE,
  role          TEXT    NOT NULL,
  password_hash BLOB    NOT NULL,
  disabled      INTEGER NOT NULL DEFAULT 0,
  epoch         INTEGER NOT NULL DEFAULT 0,
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  last_login_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX users_created ON users(created_at, id);
CREATE INDEX users_role ON users(role, created_at, id);

CREATE TABLE sessions (
  id           TEXT    PRIMARY KEY,
  user_id      TEXT    NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  device       BLOB    NOT NULL,
  origin       BLOB    NOT NULL,
  created_at   INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  expires_at   INTEGER NOT NULL,
  ended_at     INTEGER NOT NULL DEFAULT 0,
  end_reason   TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions(user_id, ended_at, created_at);
CREATE INDEX sessions_device ON sessions(user_id, device);
CREATE INDEX sessions_expires ON sessions(expires_at);

-- Every refresh token of a session, spent ones too: a spent one used again ends the session.
CREATE TABLE refresh_tokens (
  hash    BLOB    PRIMARY KEY,
  session TEXT    NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  spent   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_session ON refresh_tokens(session);

-- Failed logins in a row, by a hash of the e-mail, whether an account has it or not.
CREATE TABLE login_tries (
  key          BLOB    PRIMARY KEY,
  failed       INTEGER NOT NULL,
  locked_until INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX login_tries_updated ON login_tries(updated_at);

CREATE TABLE password_resets (
  user_id    TEXT    PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
  id         TEXT    NOT NULL,
  hash       BLOB    NOT NULL UNIQUE,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX password_resets_expires ON password_resets(expires_at);
