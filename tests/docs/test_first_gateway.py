"""The page for the first five minutes is typed from top to bottom, on a state folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgehub.commands.session import ExitCode
from tests.docs.typist import run_edgetwin

PAGE = "docs/first-gateway.md"
START_S = 120.0


def test_the_first_gateway_does_what_its_page_shows(pages, tmp_path):
    before, asked_while_it_runs, asked_after_its_end = steps(pages)

    assert [differs(one, tmp_path) for one in before] == [None] * len(before)
    with hub(tmp_path) as kill:
        assert [differs(one, tmp_path) for one in asked_while_it_runs] == [None] * len(asked_while_it_runs)
        kill()
        assert [differs(one, tmp_path) for one in asked_after_its_end] == [None] * len(asked_after_its_end)
    with hub(tmp_path):
        assert [differs(one, tmp_path) for one in asked_after_its_end] == [None] * len(asked_after_its_end)


def steps(pages):
    """The commands with an output, by the part of the page that they stand in."""
    page = pages[PAGE]
    runs = next(block.line for block in page.blocks if block.text == "./edgetwin run\n")
    end = next(number for number, line in enumerate(page.text.splitlines()) if line.startswith("## 5"))
    parts = [], [], []
    for one in pages.command_lines():
        name, _, line = one.place.rpartition(":")
        if name == PAGE and one.output:
            parts[(int(line) > runs) + (int(line) > end)].append(one)
    assert [len(part) for part in parts] == [1, 5, 1]
    return parts


def differs(one, state: Path) -> str | None:
    """What a command says instead of what the page shows; numbers and times may be others."""
    words = shlex.split(one.line)[1:]
    if words[0] == "set":
        words += ["--wait", "30"]  # a machine that runs all the tests may need more than the 2 s of a user
    done = run_edgetwin(state, tuple(words), {}, 60.0)
    said = done.stderr if done.returncode else done.stdout
    assert (done.returncode != 0) == one.output.startswith("error:"), f"{one.place}: {said}"
    return None if shape(said) == shape(one.output) else f"{one.place}: {said}"


def shape(text: str) -> str:
    numbers = re.sub(r"(?<![\w-])-?\d+(\.\d+)?", "0", re.sub(r"\d{4}-\S+Z", "TIME", text))
    return re.sub(r" +", " ", numbers).strip()


@contextmanager
def hub(state: Path) -> Iterator[Callable[[], None]]:
    """`edgetwin run`, once it serves values of the greenhouse."""
    with subprocess.Popen(
        [sys.executable, "-c", "from edgehub.cli import main; main()", "run"],
        env={**os.environ, "EDGETWIN_STATE": str(state)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for_values(state)
            yield lambda: end(process)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(timeout=30)


def wait_for_values(state: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        said = run_edgetwin(state, ("status",), {}, 60.0)  # it takes no lock that a hub needs to start
        if said.returncode in (ExitCode.DONE, ExitCode.NO):
            said = run_edgetwin(state, ("get", "garden/house-1"), {}, 60.0)
            if said.returncode == 0 and "hub" not in said.stderr and "good" in said.stdout:
                return
        if time.monotonic() > deadline_s:
            pytest.fail(f"no values after {START_S:g} s: {said.stdout}{said.stderr}")
        time.sleep(0.05)
