"""One promise of the contract: its name, what it needs of adapter and line, and the check that proves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from mappers.sdk.driver import Capability
from mappers.testkit.adapter import Adapter
from mappers.testkit.bench import Bench
from mappers.testkit.line import Ability, Line


class Want(StrEnum):
    """What an adapter may leave out."""

    WRITABLE = "writable"
    MISSING = "missing"
    ABSENT = "absent"
    TEXT = "text"
    LOCKED = "locked"
    WRONG = "wrong"


Need = Ability | Want | Capability


@dataclass(frozen=True, slots=True)
class Promise:
    """One check."""

    name: str
    text: str
    needs: tuple[Need, ...]
    prove: Callable[[Bench], Awaitable[None]]

    def exemption(self, adapter: Adapter) -> str:
        """Why the check does not apply, by the adapter's word or the driver's capabilities; empty if it does."""
        if self.name in adapter.exempt:
            return adapter.exempt[self.name]
        for need in self.needs:
            if isinstance(need, Capability):
                if need not in adapter.mapper.capabilities:
                    return f"the driver has no {need}"
            elif str(need) in adapter.exempt and not isinstance(need, Ability):
                return adapter.exempt[str(need)]
        return ""

    def exemption_of_line(self, adapter: Adapter, line: Line) -> str:
        """Why the check does not apply, because its line cannot fail so. Raises AssertionError if nobody says why."""
        for need in self.needs:
            lacking = isinstance(need, Ability) and need not in line.abilities
            if not (lacking or (isinstance(need, Want) and not has(adapter, need))):
                continue
            if str(need) in adapter.exempt:
                return adapter.exempt[str(need)]
            whose = f"{type(line).__name__} cannot" if lacking else f"{type(adapter).__name__} has no"
            message = f"{whose} {need}: give it one, or say in `exempt` why not: {{{str(need)!r}: '...'}}"
            raise AssertionError(message)
        return ""


@dataclass(slots=True)
class Promises:
    """The promises of one module."""

    promises: list[Promise] = field(default_factory=list)

    def __call__(
        self, *needs: Need
    ) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[[Bench], Awaitable[None]]]:
        """Add the decorated check; its name and docstring are the promise's."""

        def add(prove: Callable[[Bench], Awaitable[None]]) -> Callable[[Bench], Awaitable[None]]:
            name = getattr(prove, "__name__", "").replace("_", "-")
            self.promises.append(Promise(name, (prove.__doc__ or "").strip(), needs, prove))
            return prove

        return add


def has(adapter: Adapter, want: Want) -> bool:
    """Whether an adapter supplies it."""
    if want is Want.WRITABLE:
        return any(one.writable for one in adapter.points)
    if want is Want.WRONG:
        return bool(adapter.wrong)
    return getattr(adapter, str(want)) is not None
