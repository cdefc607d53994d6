-- What the cloud itself is to have run: the documents that were applied here and belong to no gateway, and the pods
-- made for Deployments.

-- Whether a gateway has all documents as they are here, said since the last change of them.
ALTER TABLE gateway ADD COLUMN agreed BOOLEAN NOT NULL DEFAULT false;

-- One row. revision rises with each change of the tables below; whoever changes them locks it first.
CREATE TABLE workload_state (
  one      INTEGER PRIMARY KEY,
  revision BIGINT  NOT NULL
);
INSERT INTO workload_state (one, revision) VALUES (1, 0);

-- owner: uid of the Deployment that a pod was made for. made: which template it was made from.
-- why: what keeps a pod from having a gateway.
CREATE TABLE workload (
  kind       {text} NOT NULL,
  namespace  {text} NOT NULL,
  name       {text} NOT NULL,
  uid        TEXT   NOT NULL,
  generation BIGINT NOT NULL,
  hash       TEXT   NOT NULL,
  owner      {text} NOT NULL,
  made       TEXT   NOT NULL,
  why        TEXT   NOT NULL,
  at         BIGINT NOT NULL,
  raw        TEXT   NOT NULL,
  PRIMARY KEY (kind, namespace, name)
){clustered_sparse};
CREATE INDEX workload_by_owner ON workload (owner) WHERE owner <> '';

-- What was put at a gateway, or is about to be; a row comes before the document and goes after it.
-- state: 0 it is to be there, 1 it is to go and the gateway may not know yet, 2 the gateway knows and its grace runs.
-- source, hash: what it was made from, and what was put there then.
CREATE TABLE placement (
  gateway   {text}   NOT NULL,
  kind      {text}   NOT NULL,
  namespace {text}   NOT NULL,
  name      {text}   NOT NULL,
  uid       TEXT     NOT NULL,
  owner     TEXT     NOT NULL,
  state     SMALLINT NOT NULL,
  since     BIGINT   NOT NULL,
  grace_s   BIGINT   NOT NULL,
  source    TEXT     NOT NULL,
  hash      TEXT     NOT NULL,
  PRIMARY KEY (gateway, kind, namespace, name)
){clustered};

-- Who of the workers does what only one may do.
CREATE TABLE lease (
  name    {text} PRIMARY KEY,
  holder  TEXT   NOT NULL,
  until   BIGINT NOT NULL,
  since   BIGINT NOT NULL
);
