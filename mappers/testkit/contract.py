"""The contract as a test class. A mapper's tests derive from it and name their adapter; that is all.

class TestContract(Contract):
    adapter = MyAdapter()
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest

from mappers.sdk.driver import Capability
from mappers.testkit.adapter import Adapter
from mappers.testkit.bench import bench_of
from mappers.testkit.checks import PROMISES
from mappers.testkit.line import Ability
from mappers.testkit.promise import Promise, Want
from mappers.testkit.tally import TALLY

CHECK_S: float = 60.0
"""The longest that a whole check may take."""


class Exempt(Exception):  # no error: a check that does not apply
    """A check that does not apply, and why."""


async def run(promise: Promise, adapter: Adapter, folder: Path) -> None:
    """Prove one promise. Raises AssertionError if it is broken, Exempt if it does not apply."""
    if why := promise.exemption(adapter):
        raise Exempt(why)
    async with asyncio.timeout(CHECK_S), bench_of(adapter, folder) as bench:
        if why := promise.exemption_of_line(adapter, bench.line):
            raise Exempt(why)
        await promise.prove(bench)


class Contract:
    """Every promise as a test of its own. One that does not apply is skipped with the adapter's reason."""

    adapter: ClassVar[Adapter]

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)
    def test_contract(self, promise: Promise, tmp_path: Path) -> None:
        """One promise."""
        name = self.adapter.mapper.name
        try:
            asyncio.run(run(promise, self.adapter, tmp_path))
        except Exempt as exempt:
            TALLY.exempt(name, promise.name, str(exempt))
            pytest.skip(f"exempt: {exempt}")
        TALLY.kept(name)

    def test_exemptions_are_of_checks_that_exist(self) -> None:
        """A reason for a check that is not there would hide a typing error."""
        known = {promise.name for promise in PROMISES} | {
            str(one) for kind in (Ability, Want, Capability) for one in kind
        }
        assert set(self.adapter.exempt) <= known
        assert all(self.adapter.exempt.values()), "an exemption needs its reason"
