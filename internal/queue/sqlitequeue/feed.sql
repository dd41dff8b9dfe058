-- What processes of one file tell one another; see feed.go.
CREATE TABLE feed (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  message BLOB NOT NULL
) STRICT;

CREATE INDEX feed_at ON feed (at);
