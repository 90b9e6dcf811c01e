-- What Huawei sent, byte for byte. A store of 0.1.0 runs on these tables too: everything new may be left out.

-- The texts of CDRs. `id` is 8 times the number of the call plus the text's version, counted from 0: a call has room for 8
-- versions, which lie side by side, and a new call's text is appended.
CREATE TABLE cdr_texts (
    id   INTEGER PRIMARY KEY,
    text BLOB NOT NULL
) STRICT;

-- What of the CDR could not be used, a JSON array; NULL where all of it could.
ALTER TABLE calls ADD COLUMN warnings TEXT;

-- The bytes as they came, where they are not UTF-8; then `raw` has U+FFFD in their place. `digest` is that of the bytes.
ALTER TABLE parked ADD COLUMN raw_bytes BLOB;
ALTER TABLE events ADD COLUMN raw_bytes BLOB;
