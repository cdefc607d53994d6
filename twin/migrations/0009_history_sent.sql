-- What of the history the cloud has. span_unsent: spans that hold, or may hold, readings beyond history_sent.tick that
-- were not sent; whatever changes a span puts it there. mark tells two states of one span apart.
CREATE TABLE span_unsent (
  id   INTEGER PRIMARY KEY,
  mark INTEGER NOT NULL
);
INSERT INTO span_unsent SELECT id, 0 FROM span;
CREATE TRIGGER span_put AFTER INSERT ON span BEGIN
  INSERT OR REPLACE INTO span_unsent VALUES (new.id, random());
END;
CREATE TRIGGER span_changed AFTER UPDATE OF packed ON span BEGIN
  INSERT OR REPLACE INTO span_unsent VALUES (new.id, random());
END;
CREATE TRIGGER span_dropped AFTER DELETE ON span BEGIN
  DELETE FROM span_unsent WHERE id = old.id;
END;

-- log names this history; readings up to tick, and gaps up to change, have been sent; turn counts the pieces.
CREATE TABLE history_sent (
  log    TEXT    NOT NULL,
  tick   INTEGER NOT NULL,
  change INTEGER NOT NULL,
  turn   INTEGER NOT NULL
);
INSERT INTO history_sent VALUES (lower(hex(randomblob(8))), 0, 0, 0);

-- Readings that were dropped before the cloud had them.
ALTER TABLE gap ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gap ADD COLUMN unsent_first INTEGER;
ALTER TABLE gap ADD COLUMN unsent_last INTEGER;
UPDATE gap SET unsent = count, unsent_first = first, unsent_last = last;
