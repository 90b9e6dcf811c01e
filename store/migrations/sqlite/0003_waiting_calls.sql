-- Calls that wait in the store until a worker takes them: for a late binding, or because an operator released them. A store of
-- 0.1.0 runs on these tables too: everything new may be left out.

-- A call waits while `waits_for` is set ('binding' or 'released'), and with it `due_at`; then it has no outcome, and its `push_id` is 32 zeros: nobody holds
-- its claim, and a store that does not know of waiting grants it to nobody. From `due_at` on a worker may take it.
ALTER TABLE calls ADD COLUMN waits_for TEXT;
ALTER TABLE calls ADD COLUMN waits_since INTEGER;
ALTER TABLE calls ADD COLUMN due_at INTEGER;
-- The push that brought a call which waits for its binding: asking again, it is told so.
ALTER TABLE calls ADD COLUMN brought_by TEXT;
-- When a worker took the call under its `push_id`.
ALTER TABLE calls ADD COLUMN taken_at INTEGER;

-- Most calls never wait, and these indexes do not know of them: the works that are due, oldest first; the list of waiting calls; the
-- calls a new binding is for; the works of a worker.
CREATE INDEX calls_due ON calls (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX calls_waiting ON calls (number, waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX calls_held ON calls (subscription_id) WHERE waits_for = 'binding';
CREATE INDEX calls_taken ON calls (push_id) WHERE taken_at IS NOT NULL;

-- What became of calls before they were released. `release` counts the releases of a call from 1. `push_id` held the claim and never
-- does again.
CREATE TABLE releases (
    call_number INTEGER NOT NULL,
    release     INTEGER NOT NULL,
    released_at INTEGER NOT NULL,
    push_id     TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    duration_ms INTEGER,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (call_number, release)
) STRICT, WITHOUT ROWID;
CREATE INDEX releases_by_push_id ON releases (push_id);

-- The business of the application when the CDR came, and the call that was made of the CDR when it was released.
ALTER TABLE parked ADD COLUMN ak TEXT;
ALTER TABLE parked ADD COLUMN call_id TEXT;
