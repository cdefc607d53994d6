"""Staged rollouts: one release to many gateways, wave by wave, with a stop when too many fail."""
