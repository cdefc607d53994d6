-- Bundles of releases, whose files are with the web server, and rollouts of them.
CREATE TABLE bundle (
  sha256     {text} PRIMARY KEY,
  size_bytes BIGINT NOT NULL,
  version    TEXT   NOT NULL,
  compatible TEXT   NOT NULL,
  name       TEXT   NOT NULL,
  added_at   BIGINT NOT NULL
);

-- revision rises with each change; looked_after: whether a worker has still to do with it. txt: all of it, as JSON.
CREATE TABLE rollout (
  id           {text}  PRIMARY KEY,
  revision     BIGINT  NOT NULL,
  looked_after BOOLEAN NOT NULL,
  made_at      BIGINT  NOT NULL,
  txt          TEXT    NOT NULL
);
