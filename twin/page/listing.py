"""Which twins a page shows, and how they stand. Pure: twins and a wish in, names and counts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from twin.model import Quality
from twin.wire.api import TwinBody

PAGE: Final = 24
"""Twins of one page, if nobody asks for more."""
MOST: Final = 200

Standing = Literal["good", "pending", "uncertain", "bad", "silent"]


class Wish(BaseModel):
    """What somebody wants to see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = ""
    twin: str = ""
    text: str = Field("", max_length=200)
    standing: Literal["", "pending", "bad"] = ""
    page: int = Field(0, ge=0, le=1_000_000)
    size: int = Field(PAGE, ge=1, le=MOST)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of twins by name, and how many there are of each standing; ``pages`` is 1 at least."""

    names: tuple[str, ...] = ()
    matching: int = 0
    pages: int = 1
    page: int = 0
    total: int = 0
    pending: int = 0
    bad: int = 0


def listing(twins: Mapping[str, TwinBody], wish: Wish) -> Listing:
    """The twins that fit a wish, in the order of their names. A page that is past the last is the last."""
    if wish.twin:
        found = (wish.twin,) if wish.twin in twins else ()
        return Listing(found, len(found), total=len(found))
    prefix = f"{wish.kind}/" if wish.kind else ""
    of_kind = [name for name in twins if name.startswith(prefix)]
    stands = {name: standing(twins[name]) for name in of_kind}
    words = wish.text.lower().split()
    matching = sorted(
        name for name in of_kind if _fits(stands[name], wish.standing) and _says(twins[name], name, words)
    )
    pages = max(1, -(-len(matching) // wish.size))
    page = min(wish.page, pages - 1)
    return Listing(
        names=tuple(matching[page * wish.size : (page + 1) * wish.size]),
        matching=len(matching),
        pages=pages,
        page=page,
        total=len(of_kind),
        pending=sum(bool(twins[name].delta) for name in of_kind),
        bad=sum(one in ("bad", "uncertain") for one in stands.values()),
    )


def standing(twin: TwinBody) -> Standing:
    """The worst that is to be said of a twin: a bad quality before a delta; silent if it has reported nothing."""
    qualities = {leaf.quality for leaf in twin.reported.values()}
    if Quality.BAD in qualities:
        return "bad"
    if Quality.UNCERTAIN in qualities:
        return "uncertain"
    if twin.delta:
        return "pending"
    return "good" if qualities else "silent"


def _fits(found: Standing, wanted: str) -> bool:
    return not wanted or found == wanted or (wanted == "bad" and found == "uncertain")


def _says(twin: TwinBody, name: str, words: Iterable[str]) -> bool:
    """Whether each word stands somewhere in the name, the model, the labels or the names of the properties."""
    parts = (name, twin.model, twin.gateway, *twin.reported, *twin.desired)
    labels = (f"{key}={value}" for key, value in twin.labels.items())
    text = "\n".join((*parts, *labels)).lower()
    return all(word in text for word in words)
