-- Twins and their leaves.
-- value: numbers and text as SQLite's own types, anything else as a BLOB of JSON, NULL is a tombstone.
-- section: 0 reported, 1 desired. site: 0 edge, 1 cloud. quality: 0 good, 1 uncertain, 2 bad.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value NOT NULL
) WITHOUT ROWID;

CREATE TABLE twin (
  id        INTEGER PRIMARY KEY,
  kind      TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name      TEXT NOT NULL,
  uid       TEXT NOT NULL,
  version   INTEGER NOT NULL,
  spec      TEXT NOT NULL,
  UNIQUE (kind, namespace, name, uid)
);

CREATE TABLE leaf (
  twin     INTEGER NOT NULL,
  section  INTEGER NOT NULL,
  property TEXT    NOT NULL,
  site     INTEGER NOT NULL,
  value,
  tick     INTEGER NOT NULL,
  seen     INTEGER NOT NULL,
  by       TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  quality  INTEGER NOT NULL,
  reason   TEXT    NOT NULL,
  version  INTEGER NOT NULL,
  PRIMARY KEY (twin, section, property, site)
) WITHOUT ROWID;

-- The change feed reads one site's slots in tick order.
CREATE INDEX leaf_by_tick ON leaf (site, tick);
