-- {text} orders by code point; {real} keeps a float as it is, -0.0 too; {id} counts up and gives no number twice.
-- site: 0 edge, 1 cloud. quality: 0 good, 1 uncertain, 2 bad.

-- Starts of the whole store, the newest last.
CREATE TABLE run (
  seq {id},
  id  TEXT NOT NULL UNIQUE
);

-- One row for each gateway; a transaction on a gateway begins with the lock on it.
-- state: what SQL does not look at, as JSON.
CREATE TABLE gateway (
  name         {text}  PRIMARY KEY,
  tick         BIGINT  NOT NULL,
  cursor       BIGINT  NOT NULL,
  session      TEXT    NOT NULL,
  heard_at     BIGINT  NOT NULL,
  online       BOOLEAN NOT NULL,
  worker       TEXT    NOT NULL,
  worker_until BIGINT  NOT NULL,
  mended       BIGINT  NOT NULL,
  state        TEXT    NOT NULL
){sparse};

-- One life of a twin at one gateway. Those that no document names wait, unseen, for one.
-- edge_tick, cloud_tick: the greatest tick of its slots of each site; 0 if there are none.
CREATE TABLE twin (
  id         {id},
  gateway    {text}  NOT NULL,
  kind       {text}  NOT NULL,
  namespace  {text}  NOT NULL,
  name       {text}  NOT NULL,
  uid        {text}  NOT NULL,
  documented BOOLEAN NOT NULL,
  version    BIGINT  NOT NULL,
  model      {text}  NOT NULL,
  shape      BIGINT  NOT NULL,
  edge_tick  BIGINT  NOT NULL,
  cloud_tick BIGINT  NOT NULL,
  UNIQUE (gateway, kind, namespace, name, uid)
);
CREATE UNIQUE INDEX twin_documented ON twin (kind, namespace, name) WHERE documented;
CREATE INDEX twin_by_edge_tick ON twin (gateway, edge_tick);
CREATE INDEX twin_by_cloud_tick ON twin (gateway, cloud_tick);

-- Apart from the twin, because that row is written with each change of a leaf: what its spec says of it alone.
CREATE TABLE spec (
  twin BIGINT PRIMARY KEY,
  spec TEXT   NOT NULL
);

-- What specs say of properties: the same for all twins of one model that change nothing of it. digest is of properties.
CREATE TABLE shape (
  id         {id},
  digest     {text} NOT NULL UNIQUE,
  properties TEXT   NOT NULL
);

-- What queries need of it: units, and conflicts that are not decided by the latest write.
CREATE TABLE shape_property (
  shape    BIGINT NOT NULL,
  property {text} NOT NULL,
  conflict TEXT   NOT NULL,
  unit     {text} NOT NULL,
  PRIMARY KEY (shape, property)
){clustered};

CREATE TABLE label (
  twin  BIGINT NOT NULL,
  name  {text} NOT NULL,
  value {text} NOT NULL,
  PRIMARY KEY (twin, name)
){clustered};
CREATE INDEX label_by_value ON label (name, value, twin);

-- The greatest version that a twin of this key ever had and has no more.
CREATE TABLE ended (
  kind      {text} NOT NULL,
  namespace {text} NOT NULL,
  name      {text} NOT NULL,
  version   BIGINT NOT NULL,
  PRIMARY KEY (kind, namespace, name)
){clustered};

-- A value has one of four shapes: a float (num); an integer of 64 bits (num the nearest float, rest what is missing
-- from it); text (txt; U+0000 is written as U+0001 U+0001, U+0001 as U+0001 U+0002); anything else as json.
-- A slot without any is a tombstone.
CREATE TABLE reported (
  twin     BIGINT   NOT NULL,
  property {text}   NOT NULL,
  num      {real},
  rest     SMALLINT,
  txt      {text},
  json     {text},
  tick     BIGINT   NOT NULL,
  seen     BIGINT   NOT NULL,
  by       {text}   NOT NULL,
  at       BIGINT   NOT NULL,
  quality  SMALLINT NOT NULL,
  reason   {text}   NOT NULL,
  PRIMARY KEY (twin, property)
){clustered_sparse};
-- For conditions on numbers without one on a label: the twins that fit, not all that have the property.
CREATE INDEX reported_by_number ON reported (property, num) WHERE num IS NOT NULL;
-- The same for short texts that are equal, and for true and false.
CREATE INDEX reported_by_text ON reported (property, txt) WHERE length(txt) <= 64;
CREATE INDEX reported_by_word ON reported (property, json) WHERE length(json) <= 5;

CREATE TABLE desired (
  twin     BIGINT   NOT NULL,
  property {text}   NOT NULL,
  site     SMALLINT NOT NULL,
  gateway  {text}   NOT NULL,
  num      {real},
  rest     SMALLINT,
  txt      {text},
  json     {text},
  tick     BIGINT   NOT NULL,
  seen     BIGINT   NOT NULL,
  by       {text}   NOT NULL,
  at       BIGINT   NOT NULL,
  quality  SMALLINT NOT NULL,
  reason   {text}   NOT NULL,
  PRIMARY KEY (twin, property, site)
){clustered};
-- The feed reads the cloud's slots in tick order.
CREATE INDEX desired_by_tick ON desired (gateway, tick) WHERE site = 1;

CREATE TABLE document (
  gateway    {text} NOT NULL,
  kind       {text} NOT NULL,
  namespace  {text} NOT NULL,
  name       {text} NOT NULL,
  uid        TEXT   NOT NULL,
  generation BIGINT NOT NULL,
  hash       TEXT   NOT NULL,
  gone       TEXT   NOT NULL,
  raw        TEXT,
  PRIMARY KEY (gateway, kind, namespace, name)
){clustered};

CREATE TABLE note (
  gateway {text} NOT NULL,
  owner   {text} NOT NULL,
  name    {text} NOT NULL,
  txt     TEXT   NOT NULL,
  PRIMARY KEY (gateway, owner, name)
){clustered};

CREATE TABLE command (
  seq        {id},
  gateway    {text} NOT NULL,
  id         {text} NOT NULL,
  expires_at BIGINT NOT NULL,
  kind       TEXT   NOT NULL,
  namespace  TEXT   NOT NULL,
  name       TEXT   NOT NULL,
  desired    TEXT   NOT NULL,
  by         TEXT   NOT NULL,
  outcome    TEXT,
  code       TEXT   NOT NULL,
  message    TEXT   NOT NULL,
  remedy     TEXT   NOT NULL,
  UNIQUE (gateway, id)
);
CREATE INDEX command_waiting ON command (gateway, seq) WHERE outcome IS NULL;

CREATE TABLE audit (
  seq     {id},
  at      BIGINT NOT NULL,
  account {text} NOT NULL,
  action  TEXT   NOT NULL,
  subject TEXT   NOT NULL,
  what    TEXT   NOT NULL,
  outcome TEXT   NOT NULL
);
CREATE INDEX audit_by_account ON audit (account, seq);

-- History: readings are in tables of their own, one for each period (history_tables.py).
CREATE TABLE series (
  id        {id},
  gateway   {text} NOT NULL,
  kind      {text} NOT NULL,
  namespace {text} NOT NULL,
  name      {text} NOT NULL,
  uid       {text} NOT NULL,
  property  {text} NOT NULL,
  UNIQUE (kind, namespace, name, uid, property, gateway)
);

{reading}

-- Readings that are missing: totals of the gateway's, by cause, and (site 1) what the cloud has dropped itself.
CREATE TABLE gap (
  series   BIGINT   NOT NULL,
  why      {text}   NOT NULL,
  site     SMALLINT NOT NULL,
  first    BIGINT   NOT NULL,
  last     BIGINT   NOT NULL,
  readings BIGINT   NOT NULL,
  PRIMARY KEY (series, why, site)
){clustered};
