"""What runs in virtual machines proved, and how long it took: a table of docs/hardware.md, written by the runs."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/hardware.md"
BEGIN: Final = "<!-- proven: written by make test-vm and make test-vm-io -->"
END: Final = "<!-- /proven -->"
HEAD: Final = ("| what | figure | on |", "|---|---|---|")


def proved(board: str, what: str, figure: str = "") -> None:
    """Note a result that was seen just now; it takes the place of that of an earlier run."""
    print(f"{board}: {what}: {figure}")  # noqa: T201 - for who runs it
    with PAGE.open("r+", encoding="utf-8") as page:
        fcntl.flock(page, fcntl.LOCK_EX)
        text = with_row(page.read(), f"`{board}`: {what}", figure, time.strftime("%Y-%m-%d", time.gmtime()))
        page.seek(0)
        page.write(text)
        page.truncate()


def seconds(since_s: float) -> str:
    """The time that went by since an instant of the monotonic clock."""
    return f"{time.monotonic() - since_s:.0f} s"


def with_row(text: str, what: str, figure: str, day: str) -> str:
    """A page with a row of the table set; rows are in the order of what they are about. Pure."""
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    rows = {line.split(" | ")[0]: line for line in inside.splitlines() if line.startswith("| ") and line not in HEAD}
    rows[f"| {what}"] = f"| {what} | {figure} | {day} |"
    table = "\n".join([*HEAD, *(rows[key] for key in sorted(rows))])
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
