-- A checksum of each reading of the tail; readings of older releases have none, and are packed within minutes. Spans
-- carry that of zlib.
ALTER TABLE reading ADD COLUMN sum INTEGER;
