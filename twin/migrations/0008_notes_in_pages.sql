-- With a row number of its own a note of some kilobytes lies in one page. In the index of a table without, more than a
-- quarter of a page goes to pages aside, which are drawn anew at each write: three more of them in each commit.
ALTER TABLE note RENAME TO note_aside;
CREATE TABLE note (
  owner TEXT NOT NULL,
  name  TEXT NOT NULL,
  text  TEXT NOT NULL,
  sum   INTEGER,
  PRIMARY KEY (owner, name)
);
INSERT INTO note (owner, name, text, sum) SELECT owner, name, text, sum FROM note_aside;
DROP TABLE note_aside;
