"""One rule broken on purpose."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One rule broken. ``tests`` must fail with it."""

    name: str
    module: str
    was: str
    becomes: str
    tests: tuple[str, ...] = ("tests/twin/feed",)
