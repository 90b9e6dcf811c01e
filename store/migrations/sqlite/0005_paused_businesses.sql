-- Businesses that get no callbacks for now. A store that does not know of this grants their calls as it always did.

-- A business is paused while `resumed_at` is not set. Afterwards it stays here until all of its calls that waited are due, which is done in
-- small steps.
CREATE TABLE paused_businesses (
    ak         TEXT    NOT NULL PRIMARY KEY,
    paused_at  INTEGER NOT NULL,
    resumed_at INTEGER
) STRICT, WITHOUT ROWID;

-- A call of a paused business waits with `waits_for` = 'paused' and without `due_at`. These are the calls of one business that are not due.
CREATE INDEX calls_paused ON calls (ak) WHERE waits_for = 'paused' AND due_at IS NULL;
