-- Calls that ended and did not reach their business, for reconciliation. A store of 0.1.0 runs on these tables too, and what it writes is
-- found as well: `outcome_class` and `outcome` stay as it knows them ('answered', whatever the status), and the rest is derived from them.

-- How a call ended that was not delivered: 'rejected' (a reply with a status other than 2xx), else the class of its outcome. NULL for
-- calls that were delivered and for those without an outcome.
ALTER TABLE calls ADD COLUMN undelivered TEXT GENERATED ALWAYS AS (
    CASE
        WHEN outcome_class <> 'answered' THEN outcome_class
        WHEN json_extract(outcome, '$.status') NOT BETWEEN 200 AND 299 THEN 'rejected'
    END
) VIRTUAL;

-- Most calls are delivered, and these indexes do not know of them.
CREATE INDEX calls_undelivered ON calls (undelivered) WHERE undelivered IS NOT NULL;
CREATE INDEX calls_undelivered_by_ak ON calls (ak, undelivered) WHERE undelivered IS NOT NULL;
