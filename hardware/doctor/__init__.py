"""Looks at the machine that a gateway runs on: what is there by its stable name, and what is wrong with it.

/sys, /dev, /proc, ioctls ──inventory──┐
settings, documents, keys, hub ────────┴─> checks (pure) ──> findings: code, level, what was seen, what to do
"""
