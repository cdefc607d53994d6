-- What queries need of a twin's documents beside its spec: labels, model, gateway.
CREATE TABLE label (
  twin  INTEGER NOT NULL,
  name  TEXT    NOT NULL,
  value TEXT    NOT NULL,
  PRIMARY KEY (twin, name)
) WITHOUT ROWID;

CREATE INDEX label_by_value ON label (name, value, twin);

ALTER TABLE twin ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE twin ADD COLUMN gateway TEXT NOT NULL DEFAULT '';

-- A spec that is no JSON is told when twins are loaded.
UPDATE twin SET
  model = coalesce(json_extract(spec, '$.model'), ''),
  gateway = coalesce(json_extract(spec, '$.gateway'), '')
  WHERE json_valid(spec);
INSERT INTO label
  SELECT twin.id, json_extract(one.value, '$[0]'), json_extract(one.value, '$[1]')
  FROM (SELECT id, spec FROM twin WHERE json_valid(spec)) AS twin, json_each(twin.spec, '$.labels') AS one;
