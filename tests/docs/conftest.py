"""The pages as data: their blocks and links, and a demo that runs while the tests try what the pages show."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.typist import ROOT, run_edgetwin

START_S = 30.0


@dataclass(frozen=True)
class Block:
    """One fenced block: the words after the fence, and the text without its indentation."""

    page: str
    line: int
    words: tuple[str, ...]
    text: str

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One page; ``prose`` is its text without fenced blocks."""

    path: Path
    text: str
    blocks: tuple[Block, ...]
    prose: str

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))


def read_page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    blocks: list[Block] = []
    prose: list[str] = []
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        fence = re.fullmatch(r"(\s*)```(.*)", line)
        if fence is None:
            prose.append(line)
            continue
        inside: list[str] = []
        for _, next_line in lines:
            if next_line.strip() == "```":
                break
            inside.append(next_line.removeprefix(fence[1]) + "\n")
        else:
            pytest.fail(f"{path}:{number}: the block is never closed")
        blocks.append(Block(str(path.relative_to(ROOT)), number, tuple(fence[2].split()), "".join(inside)))
    return Page(path, text, tuple(blocks), "\n".join(prose))


@dataclass(frozen=True)
class CommandLine:
    """One line to type, with the output that the page shows."""

    place: str
    line: str
    output: str


@dataclass(frozen=True)
class Pages:
    """All pages."""

    pages: tuple[Page, ...]

    def __iter__(self) -> Iterator[Page]:
        return iter(self.pages)

    def __getitem__(self, name: str) -> Page:
        return next(page for page in self.pages if page.name == name)

    def blocks(self, kind: str) -> list[Block]:
        return [block for page in self.pages for block in page.blocks if block.kind == kind]

    def command_lines(self) -> list[CommandLine]:
        """Every line of ``sh`` blocks, every ``$`` line of ``console`` blocks."""
        found = [
            CommandLine(str(block), line, "")
            for block in self.blocks("sh")
            for line in block.text.splitlines()
            if line and not line.startswith("#")
        ]
        return found + [one for block in self.blocks("console") for one in lines_of(block)]


def lines_of(block: Block) -> list[CommandLine]:
    """Every ``$`` line of a ``console`` block, with its output."""
    found = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        found.append(CommandLine(str(block), line, output))
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def pages() -> Pages:
    """README, changelog and everything below docs/."""
    paths = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return Pages(tuple(map(read_page, paths)))


@dataclass(frozen=True)
class Demo:
    """A running demo; ``run`` is a command of a user beside it."""

    state: Path

    def run(self, *arguments: str, timeout_s: float = 30.0, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_edgetwin(self.state, arguments, environment, timeout_s)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`edgetwin demo` in a process of its own, once its devices have values."""
    state = tmp_path_factory.mktemp("demo")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", "from edgehub.cli import main; main()", "demo"],
        cwd=ROOT,
        env={**os.environ, "EDGETWIN_STATE": str(state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for_line(process, b"plant/tank: ")
        assert process.stdout is not None
        # Read all that it says: once the pipe is full, after two minutes of a slow run, it would wait for us.
        reader = threading.Thread(target=lambda out: [None for _ in out], args=(process.stdout,))
        reader.start()
        yield Demo(state)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    reader.join(timeout=30)
    process.stdout.close()
    assert process.returncode == 0


def wait_for_line(process: subprocess.Popen[bytes], start: bytes) -> None:
    assert process.stdout is not None
    deadline_s = time.monotonic() + START_S
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" + start not in said:
            if not selector.select(max(0.0, deadline_s - time.monotonic())):
                pytest.fail(f"the demo has no values after {START_S:g} s; it said {said.decode()}")
            chunk = os.read(process.stdout.fileno(), 65536)
            assert chunk, f"the demo ended; it said {said.decode()}"
            said += chunk


@pytest.fixture
def edgetwin(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command on a state folder of this test, without a hub."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_edgetwin(tmp_path / "state", arguments, environment, 60.0)

    return run
