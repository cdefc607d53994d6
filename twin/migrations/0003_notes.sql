-- A few words that a dialect keeps beside the twins, such as version numbers of its own protocol.
CREATE TABLE note (
  owner TEXT NOT NULL,
  name  TEXT NOT NULL,
  text  TEXT NOT NULL,
  PRIMARY KEY (owner, name)
) WITHOUT ROWID;
