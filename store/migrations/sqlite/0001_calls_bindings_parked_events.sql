-- What the store remembers. All times are epoch milliseconds, UTC. Every `number` counts rows in the order of their
-- commit and is never used twice, so that it can serve as a cursor.

-- One row per call, whatever the number of pushes that brought it. `call_id` is the hash of the call key; that it is
-- unique is what makes a call be claimed once. `push_id` holds the claim. `record` is the callback's body, byte for byte,
-- so that whoever asks for a claim again is given the same record. No outcome and a past `claim_deadline` reads as
-- "unknown": that is derived and never written.
CREATE TABLE calls (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    call_id         TEXT    NOT NULL UNIQUE,
    app_key         TEXT    NOT NULL,
    session_id      TEXT    NOT NULL,
    icid            TEXT    NOT NULL,
    push_id         TEXT    NOT NULL,
    received_at     INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    claim_deadline  INTEGER NOT NULL,
    ak              TEXT,
    subscription_id TEXT,
    record          TEXT    NOT NULL,
    duplicates      INTEGER NOT NULL DEFAULT 0,
    -- The outcome: its class for filters, and the whole of it as JSON. Both are set together, once.
    outcome_class   TEXT,
    outcome         TEXT,
    duration_ms     INTEGER,
    reported_at     INTEGER,
    CHECK ((outcome_class IS NULL) = (outcome IS NULL)),
    CHECK ((outcome IS NULL) = (reported_at IS NULL))
) STRICT;

-- One index for each filter of GET /v1/calls. SQLite appends the row's number to each, so that a filtered page is read
-- newest first without sorting. The first also finds calls without an outcome.
CREATE INDEX calls_by_outcome_class ON calls (outcome_class);
CREATE INDEX calls_by_ak ON calls (ak);
CREATE INDEX calls_by_subscription_id ON calls (subscription_id);
CREATE INDEX calls_by_app_key ON calls (app_key);
CREATE INDEX calls_by_recorded_at ON calls (recorded_at);

-- Every registration that changed a binding. Rows are never changed or removed here: a CDR may come hours after unbinding.
CREATE TABLE bindings (
    subscription_id TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    registered_at   INTEGER NOT NULL,
    -- The row as registered, as JSON.
    binding         TEXT    NOT NULL,
    PRIMARY KEY (subscription_id, version)
) STRICT, WITHOUT ROWID;

-- CDRs that could not be used, as they came. `digest` is the SHA-256 of application and text: the same text pushed again
-- is counted in `duplicates`, not kept again. `push_id` is the last push that brought it, so that asking again with the
-- same push is not counted.
CREATE TABLE parked (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    digest      TEXT    NOT NULL UNIQUE,
    app_key     TEXT    NOT NULL,
    push_id     TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    raw         TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    duplicates  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Call and number status events, as they came; counted like parked CDRs.
CREATE TABLE events (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    digest      TEXT    NOT NULL UNIQUE,
    app_key     TEXT    NOT NULL,
    push_id     TEXT    NOT NULL,
    event_type  TEXT    NOT NULL,
    raw         TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    duplicates  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The one row that a readiness check writes to learn whether the store can commit.
CREATE TABLE readiness (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    checked_at INTEGER NOT NULL
) STRICT;
