-- History: every reading of the properties that keep it, in two steps.
-- reading: as they came, in the commit of their leaves; one append each. quality as in leaf, value as in leaf.
CREATE TABLE reading (
  tick     INTEGER PRIMARY KEY,
  twin     INTEGER NOT NULL,
  property TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  value,
  quality  INTEGER NOT NULL,
  reason   TEXT    NOT NULL
);

-- One property of one twin with history. A number is never given twice, so that what is left of a twin that was
-- removed can go piece by piece and never comes back under another.
CREATE TABLE series (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  twin       INTEGER NOT NULL,
  property   TEXT    NOT NULL,
  thin       INTEGER NOT NULL,
  max_age_ms INTEGER NOT NULL,
  UNIQUE (twin, property)
);

-- Neighbouring readings of one series, packed. The order of ids is the order in which space is made.
CREATE TABLE span (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  series  INTEGER NOT NULL,
  first   INTEGER NOT NULL,
  last    INTEGER NOT NULL,
  count   INTEGER NOT NULL,
  bytes   INTEGER NOT NULL,
  thinned INTEGER NOT NULL,
  packed  BLOB    NOT NULL
);
CREATE INDEX span_by_series ON span (series, first, last, count, thinned, bytes);

-- What was dropped: how many readings between two times, and why. change rises with each change of any gap, so that
-- another site can ask for those it has not seen.
CREATE TABLE gap (
  series INTEGER NOT NULL,
  why    TEXT    NOT NULL,
  first  INTEGER NOT NULL,
  last   INTEGER NOT NULL,
  count  INTEGER NOT NULL,
  change INTEGER NOT NULL,
  PRIMARY KEY (series, why)
) WITHOUT ROWID;
CREATE INDEX gap_by_change ON gap (change);

-- Series of removed twins whose spans are still to be deleted.
CREATE TABLE series_removed (
  id INTEGER PRIMARY KEY
);
