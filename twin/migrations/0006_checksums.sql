-- A checksum of each row (twin/checksum.py); those that are there get theirs in the same transaction.
ALTER TABLE meta ADD COLUMN sum INTEGER;
ALTER TABLE twin ADD COLUMN sum INTEGER;
ALTER TABLE label ADD COLUMN sum INTEGER;
ALTER TABLE leaf ADD COLUMN sum INTEGER;
ALTER TABLE feed ADD COLUMN sum INTEGER;
ALTER TABLE run  ADD COLUMN sum INTEGER;
ALTER TABLE note ADD COLUMN sum INTEGER;
