-- Times are milliseconds since 1970 in UTC; 0 is none.
CREATE TABLE jobs (
  id           TEXT PRIMARY KEY NOT NULL,
  kind         TEXT NOT NULL,
  queue        TEXT NOT NULL,
  payload      BLOB NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('pending', 'running', 'scheduled', 'retrying', 'completed', 'dead')),
  attempt      INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  losses       INTEGER NOT NULL DEFAULT 0,
  unique_key   TEXT NOT NULL DEFAULT '',
  scheduled_at INTEGER NOT NULL,
  step         TEXT NOT NULL DEFAULT '',
  done         INTEGER NOT NULL DEFAULT 0,
  total        INTEGER NOT NULL DEFAULT 0,
  last_error   TEXT NOT NULL DEFAULT '',
  cancelling   INTEGER NOT NULL DEFAULT 0,
  cancelled    INTEGER NOT NULL DEFAULT 0,
  created_at   INTEGER NOT NULL,
  started_at   INTEGER NOT NULL DEFAULT 0,
  finished_at  INTEGER NOT NULL DEFAULT 0,
  worker       TEXT NOT NULL DEFAULT '',
  lease        INTEGER NOT NULL DEFAULT 0,
  lease_until  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Claim: what is due, oldest first; kind is there so that jobs of unknown kinds are passed over in the index.
CREATE INDEX jobs_due ON jobs (queue, scheduled_at, id, kind) WHERE state IN ('pending', 'scheduled', 'retrying');
-- Enqueue and Retry: one unfinished job a key.
CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key)
  WHERE unique_key <> '' AND state IN ('pending', 'scheduled', 'retrying', 'running');
-- Rescue.
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
-- Cancelling.
CREATE INDEX jobs_cancelling ON jobs (worker) WHERE state = 'running' AND cancelling = 1;
-- List by state.
CREATE INDEX jobs_state ON jobs (state, id);
-- Purge.
CREATE INDEX jobs_ended ON jobs (state, finished_at) WHERE state IN ('completed', 'dead');

-- Counts, kept by triggers: the backlog is checked on every Enqueue and read by every scrape of the metrics.
CREATE TABLE counts (
  queue TEXT NOT NULL,
  state TEXT NOT NULL,
  jobs  INTEGER NOT NULL,
  PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_added AFTER INSERT ON jobs BEGIN
  INSERT INTO counts (queue, state, jobs) VALUES (new.queue, new.state, 1)
    ON CONFLICT (queue, state) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs BEGIN
  UPDATE counts SET jobs = jobs - 1 WHERE queue = old.queue AND state = old.state;
END;
CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN new.state <> old.state BEGIN
  UPDATE counts SET jobs = jobs - 1 WHERE queue = old.queue AND state = old.state;
  INSERT INTO counts (queue, state, jobs) VALUES (new.queue, new.state, 1)
    ON CONFLICT (queue, state) DO UPDATE SET jobs = jobs + 1;
END;

-- The last slot of each periodic job.
CREATE TABLE slots (
  name TEXT PRIMARY KEY NOT NULL,
  at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
