-- Later CDRs of calls, pushes that may be replays, and how much the events take. A store of the release before runs on these tables
-- too: what is new may be left out, and the triggers count for it.

-- Who brought a later version of a CDR's text first, and when its gateway received it. NULL for version 0: that is the push of the
-- call itself.
ALTER TABLE cdr_texts ADD COLUMN push_id TEXT;
ALTER TABLE cdr_texts ADD COLUMN received_at INTEGER;

-- How many times a push brought a further version that was not kept, because there was no room for it. `push_id` is the last such push, so that
-- asking again with the same push is not counted.
CREATE TABLE cdrs_not_kept (
    call_number INTEGER PRIMARY KEY,
    times       INTEGER NOT NULL,
    push_id     TEXT    NOT NULL
) STRICT;

-- Pushes whose signature had come with other texts before. What is remembered of signatures is in a table for each day,
-- `signatures_` and the number of the day since 1970, which the store makes and drops itself.
CREATE TABLE replays (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    push_id           TEXT    NOT NULL UNIQUE,
    app_key           TEXT    NOT NULL,
    scheme            TEXT    NOT NULL,
    received_at       INTEGER NOT NULL,
    first_push_id     TEXT    NOT NULL,
    first_received_at INTEGER NOT NULL,
    parked            INTEGER NOT NULL,
    -- The ids of the calls that the push named, a JSON array.
    call_ids          TEXT    NOT NULL
) STRICT;

-- What all events take, bytes: their bodies, and 256 for the rest of each.
CREATE TABLE event_bytes (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO event_bytes (id, bytes)
    SELECT 1, coalesce(sum(length(CAST(raw AS BLOB)) + coalesce(length(raw_bytes), 0) + 256), 0) FROM events;
CREATE TRIGGER event_kept AFTER INSERT ON events BEGIN
    UPDATE event_bytes
        SET bytes = bytes + length(CAST(NEW.raw AS BLOB)) + coalesce(length(NEW.raw_bytes), 0) + 256 WHERE id = 1;
END;
CREATE TRIGGER event_dropped AFTER DELETE ON events BEGIN
    UPDATE event_bytes
        SET bytes = bytes - length(CAST(OLD.raw AS BLOB)) - coalesce(length(OLD.raw_bytes), 0) - 256 WHERE id = 1;
END;
