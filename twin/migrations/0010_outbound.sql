-- Readings that wait for other systems, one queue for each push. A number is never given twice, so that the place up to
-- which one was delivered, which is kept elsewhere, is never taken for another's. A queue without a name is emptied.
CREATE TABLE outbound_queue (
  id   INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE
);

-- Whose readings they are. It stays when the twin has gone: what was accepted is still to be delivered.
CREATE TABLE outbound_series (
  id        INTEGER PRIMARY KEY,
  namespace TEXT NOT NULL,
  device    TEXT NOT NULL,
  property  TEXT NOT NULL,
  unit      TEXT NOT NULL,
  route     TEXT NOT NULL,
  UNIQUE (namespace, device, property, unit, route)
);

-- As they came, in the commit of their leaves. value, quality and reason as in reading.
CREATE TABLE outbound (
  queue   INTEGER NOT NULL,
  tick    INTEGER NOT NULL,
  series  INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  value,
  quality INTEGER NOT NULL,
  reason  TEXT    NOT NULL,
  sum     INTEGER NOT NULL,
  PRIMARY KEY (queue, tick)
) WITHOUT ROWID;

-- Older ones of a queue that is long, packed in the order of ticks.
CREATE TABLE outbound_chunk (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  queue  INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  count  INTEGER NOT NULL,
  bytes  INTEGER NOT NULL,
  packed BLOB    NOT NULL
);
CREATE INDEX outbound_chunk_by_queue ON outbound_chunk (queue, last, first, count, bytes);

-- Readings that were dropped before they were delivered: between which times of arrival, how many, and why.
CREATE TABLE outbound_gap (
  queue INTEGER NOT NULL,
  why   TEXT    NOT NULL,
  first INTEGER NOT NULL,
  last  INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (queue, why)
) WITHOUT ROWID;
