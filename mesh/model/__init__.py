"""The words of the mesh as types. All values are immutable; a change replaces a whole service, route or policy.

services ─┐
routes ───┼─> table ──compile──> programme
policies ─┘
alarms
"""
