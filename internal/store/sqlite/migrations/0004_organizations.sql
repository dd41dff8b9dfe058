-- +goose Up
-- Times are Unix milliseconds.
CREATE TABLE organizations (
  id         TEXT    PRIMARY KEY,
  name       TEXT    NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX organizations_created ON organizations(created_at, id);

CREATE TABLE members (
  organization_id TEXT    NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
  user_id         TEXT    NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  role            TEXT    NOT NULL,
  joined_at       INTEGER NOT NULL,
  PRIMARY KEY (organization_id, user_id)
) WITHOUT ROWID;
CREATE INDEX members_user ON members(user_id, organization_id, role);
CREATE INDEX members_joined ON members(organization_id, joined_at, user_id);

CREATE TABLE invitations (
  id              TEXT    PRIMARY KEY,
  organization_id TEXT    NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
  email           TEXT    NOT NULL,
  role            TEXT    NOT NULL,
  hash            BLOB    NOT NULL UNIQUE,
  invited_by      TEXT    NOT NULL,
  created_at      INTEGER NOT NULL,
  expires_at      INTEGER NOT NULL,
  UNIQUE (organization_id, email)
) WITHOUT ROWID;
CREATE INDEX invitations_email ON invitations(email, expires_at);
CREATE INDEX invitations_expires ON invitations(expires_at);
