"""How a store of an older release becomes one of this release: numbered SQL files, each run once in a transaction."""
