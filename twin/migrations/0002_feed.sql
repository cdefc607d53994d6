-- The change feed: how far each peer's rows are here, and the runs (starts of a store) of this site and of its peers.
-- site as in leaf. A run of our own: what was drawn here. A run of a peer: one whose rows we have taken.
CREATE TABLE feed (
  site   INTEGER PRIMARY KEY,
  cursor INTEGER NOT NULL
);

CREATE TABLE run (
  site  INTEGER NOT NULL,
  id    TEXT    NOT NULL,
  first INTEGER NOT NULL,
  PRIMARY KEY (site, id)
) WITHOUT ROWID;
